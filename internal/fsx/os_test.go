package fsx

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
)

func aligned(n int) []byte { return mem.AlignedBytes(n, BlockSize) }

func openDirectOrSkip(t *testing.T, name string) File {
	t.Helper()
	f, err := OS().Open(name, Write|Create|Direct)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if !f.Direct() {
		t.Skip("this file system grants no direct I/O")
	}
	return f
}

func TestOS_DirectReadAcrossUnalignedEnd(t *testing.T) {
	f := openDirectOrSkip(t, filepath.Join(t.TempDir(), "f"))
	p := aligned(4 * BlockSize)
	for i := range p {
		p[i] = byte(i / 7)
	}
	if n, err := f.WriteAt(p, 0); n != len(p) || err != nil {
		t.Fatal(n, err)
	}
	for _, size := range []int64{4 * BlockSize, 3*BlockSize + 1, 2*BlockSize + 512, BlockSize - 1, 1, 0} {
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		got := aligned(6 * BlockSize)
		n, err := f.ReadAt(got, 0)
		if int64(n) != size || err != io.EOF || !bytes.Equal(got[:n], p[:size]) {
			t.Fatalf("size %d: read %d, %v", size, n, err)
		}
		if n, err := f.ReadAt(got, 8*BlockSize); n != 0 || err != io.EOF {
			t.Fatalf("past the end: read %d, %v", n, err)
		}
	}
}

func TestOS_LockThroughSymlink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	release, err := OS().Lock(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OS().Lock(link, false); !errors.Is(err, ErrLocked) {
		t.Fatalf("through a link: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = OS().Lock(link, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

// The registry alone must refuse: where flock is not to be had it is all there is.
func TestOS_LockRegistryAlone(t *testing.T) {
	dir := t.TempDir()
	release, err := OS().Lock(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := os.Remove(filepath.Join(dir, LockName)); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	registry.mu.Lock()
	l := registry.held[len(registry.held)-1]
	if err := l.close(); err != nil { // flock is gone, the registry stays
		t.Error(err)
	}
	l.files = nil
	registry.mu.Unlock()
	if _, err := OS().Lock(dir, false); !errors.Is(err, ErrLocked) {
		t.Fatalf("want ErrLocked, got %v", err)
	}
}

// A writer that removes LOCK, or comes where readers found none, still meets the lock on the directory itself.
func TestOS_LockSharedWithoutFile(t *testing.T) {
	dir := t.TempDir()
	release, err := OS().Lock(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, LockName)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a shared lock made the file: %v", err)
	}
	if out := lockInChild(t, dir, false); runtime.GOOS == "linux" && out != "locked" {
		t.Fatalf("a writer in another process: %s", out)
	}
	if out := lockInChild(t, dir, true); out != "taken" {
		t.Fatalf("a reader in another process: %s", out)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if out := lockInChild(t, dir, false); out != "taken" {
		t.Fatalf("after release: %s", out)
	}
}

func TestOS_LockAgainstProcess(t *testing.T) {
	dir := t.TempDir()
	release, err := OS().Lock(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, shared := range []bool{false, true} {
		if out := lockInChild(t, dir, shared); out != "locked" {
			t.Fatalf("shared=%v: %s", shared, out)
		}
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if out := lockInChild(t, dir, false); out != "taken" {
		t.Fatalf("after release: %s", out)
	}
}

// TestChildLock is the other process: it tries one lock and says what came of it.
func TestChildLock(t *testing.T) {
	dir := os.Getenv("FSX_LOCK_DIR")
	if dir == "" {
		t.Skip("runs as a child only")
	}
	release, err := OS().Lock(dir, os.Getenv("FSX_LOCK_SHARED") == "true")
	switch {
	case errors.Is(err, ErrLocked):
		os.Stdout.WriteString("result: locked\n")
	case err != nil:
		os.Stdout.WriteString("result: " + err.Error() + "\n")
	default:
		if err := release(); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("result: taken\n")
	}
}

func lockInChild(t *testing.T, dir string, shared bool) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildLock$")
	cmd.Env = append(os.Environ(), "FSX_LOCK_DIR="+dir, "FSX_LOCK_SHARED="+map[bool]string{true: "true"}[shared])
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, result, _ := strings.Cut(string(out), "result: ")
	result, _, _ = strings.Cut(result, "\n")
	return result
}

func TestOS_ListFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, make([]byte, 77), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "a")); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink(filepath.Join(dir, "nothing"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	got, err := OS().List(dir)
	if err != nil || len(got) != 1 || got[0] != (Entry{Name: "a", Size: 77}) {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestOS_ReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	release, err := OS().Lock(dir, true)
	if err != nil {
		t.Fatalf("a shared lock in a directory that cannot be written: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		return // root may write everywhere
	}
	if _, err := OS().Lock(dir, false); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("an exclusive lock there: %v", err)
	}
}

// Cold reads and flushes go through here: a call must not leave garbage behind.
func TestOS_NoAllocations(t *testing.T) {
	for _, f := range []Flag{Write | Create, Write | Create | Direct} {
		file, err := OS().Open(filepath.Join(t.TempDir(), "f"), f)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		p := aligned(BlockSize)
		n := testing.AllocsPerRun(20, func() {
			if _, err := file.WriteAt(p, 0); err != nil {
				t.Error(err)
			}
			if _, err := file.ReadAt(p, 0); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("direct=%v: %v allocations per write and read", file.Direct(), n)
		}
	}
}
