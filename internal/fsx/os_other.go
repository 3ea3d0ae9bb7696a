//go:build !linux

package fsx

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// openDirect opens name through the page cache: direct I/O is for Linux.
func openDirect(open opener, name string, mode int, _ bool) (f *os.File, direct bool, err error) {
	f, err = open(name, mode, filePerm)
	return f, false, err
}

func (o *osFile) setBuffered() bool { return false }

func (o *osFile) sync() error { return o.f.Sync() }

func (o *osFile) allocate(off, n int64) error { return o.grow(off + n) }

// syncDir makes the names in dir durable. Windows cannot sync a directory; NTFS journals names by itself.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" {
		err = f.Sync()
	}
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return join(err, f.Close())
}

func remove(name string) error { return os.Remove(name) }
