//go:build !linux

package fsx

import "os"

// openDirect opens a file through the page cache: direct I/O is for Linux.
func openDirect(open opener, mode int, _ bool) (f *os.File, direct bool, err error) {
	f, err = open(mode)
	return f, false, err
}

func (o *osFile) setBuffered() bool { return false }

func (o *osFile) sync() error { return o.f.Sync() }

func (o *osFile) allocate(off, n int64) error { return o.grow(off + n) }
