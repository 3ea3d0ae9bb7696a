package hlog

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// A file system without locks is refused, with what to do about it, unless the options allow it.
func TestOpen_FileSystemWithoutLocks(t *testing.T) {
	for _, errno := range []error{syscall.ENOSYS, syscall.ENOLCK, syscall.EOPNOTSUPP} {
		o := tiny()
		disk := fsx.NewErr(o.FS)
		disk.Inject(fsx.Fault{Class: fsx.ClassLock, Sticky: true, Err: errno})
		o.FS = disk
		if s, err := Open("/store", o); !errors.Is(err, errno) || !strings.Contains(err.Error(), "NoLock") {
			t.Errorf("%v: %v", errno, err)
			if err == nil {
				s.Close()
			}
		}
		o.NoLock = true
		for range 2 {
			s := mustOpen(t, "/store", o)
			must(t, s.Set([]byte("k"), []byte("v")))
			must(t, s.Close())
		}
		o.ReadOnly = true
		s := mustOpen(t, "/store", o)
		if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != "v" {
			t.Errorf("%v: %q, %v", errno, v, err)
		}
		must(t, s.Close())
	}
}

// NoLock does not open a directory that somebody has locked, nor one that could not be locked for another reason.
func TestOpen_NoLockIsForFileSystemsWithoutLocks(t *testing.T) {
	o := tiny()
	o.NoLock = true
	s := mustOpen(t, "/store", o)
	if _, err := Open("/store", o); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v, want ErrLocked", err)
	}
	must(t, s.Close())
	disk := fsx.NewErr(o.FS)
	disk.Inject(fsx.Fault{Class: fsx.ClassLock, Sticky: true, Err: syscall.EIO})
	o.FS = disk
	if _, err := Open("/store", o); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v, want EIO", err)
	}
}
