//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package fsx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Without the call of Linux a file gets its new name as a link.
func TestRenameNew_ByLink(t *testing.T) {
	before := sysRenameNew
	sysRenameNew = func(int, string, int, string) error { return unix.ENOSYS }
	defer func() { sysRenameNew = before }()
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for _, name := range []string{a, b} {
		if err := os.WriteFile(name, []byte(filepath.Base(name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := OS().RenameNew(a, c); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
	if err := OS().RenameNew(b, c); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	// A link that was made, and that a network file system has called a failure.
	if err := os.Link(b, a); err != nil {
		t.Fatal(err)
	}
	if err := OS().RenameNew(b, a); err != nil {
		t.Errorf("the name that it has already: %v", err)
	}
	if err := OS().RenameNew(a, filepath.Join(dir, ".")+"/./a"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another spelling of its name: %v", err)
	}
	for name, want := range map[string]string{a: "b", c: "a"} {
		if got, err := os.ReadFile(name); string(got) != want || err != nil {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if err := OS().RenameNew(dir, dir+"-new"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a directory: %v", err)
	}
}
