//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package fsx

import (
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
