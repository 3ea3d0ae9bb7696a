//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package fsx

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that forks a child shares its descriptors with it until the child begins its own program. A lock that is
// released meanwhile is free.
func TestLock_ReleasedWhileAChildSharesTheDescriptor(t *testing.T) {
	dir := t.TempDir()
	release, err := OS().Lock(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	registry.mu.Lock()
	for _, l := range registry.held {
		for _, f := range l.files {
			fd, err := unix.Dup(int(f.Fd())) // what fork does
			if err != nil {
				t.Error(err)
				continue
			}
			defer unix.Close(fd)
		}
	}
	registry.mu.Unlock()
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := OS().Lock(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
}

// A file system without flock says so. Then a directory can be locked against this process alone, and nothing is created.
func TestLock_FileSystemWithoutFlock(t *testing.T) {
	was := sysFlock
	defer func() { sysFlock = was }()
	for _, errno := range []error{unix.ENOSYS, unix.ENOLCK, unix.EOPNOTSUPP} {
		sysFlock = func(int, int) error { return errno }
		dir := t.TempDir()
		if _, err := OS().Lock(dir, false); !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, errno) {
			t.Fatalf("%v: %v", errno, err)
		}
		empty := t.TempDir()
		root, err := OS().OpenRoot(empty)
		if err != nil {
			t.Fatal(err)
		}
		release, err := LockHere(root, empty, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, shared := range []bool{false, true} {
			if _, err := LockHere(OS(), empty, shared); !errors.Is(err, ErrLocked) {
				t.Errorf("%v: again: %v", errno, err)
			}
		}
		if entries, err := OS().List(empty); err != nil || len(entries) > 0 {
			t.Errorf("%v: %v, %v", errno, entries, err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
		var ends []func() error
		for range 2 {
			release, err := LockHere(OS(), empty, true)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, release)
		}
		for _, release := range ends {
			if err := release(); err != nil {
				t.Fatal(err)
			}
		}
		if err := root.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
