//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package fsx

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks an open file against other processes until it is unlocked or closed. It does not wait.
func lockFile(f *os.File, shared bool) error {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	err := flock(f, how|unix.LOCK_NB)
	switch {
	case err == unix.EWOULDBLOCK:
		return ErrLocked
	case err == unix.ENOSYS, err == unix.ENOLCK, err == unix.EOPNOTSUPP:
		return fmt.Errorf("%w: flock: %w", errors.ErrUnsupported, err)
	}
	return err
}

// sysFlock is the system call; in tests, that of a file system that has none.
var sysFlock = unix.Flock

// unlockFile ends the lock. Closing the file is not enough: a child that another goroutine has just forked shares it until
// it begins its own program.
func unlockFile(f *os.File) error { return flock(f, unix.LOCK_UN) }

func flock(f *os.File, how int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	err = raw.Control(func(fd uintptr) {
		for {
			errno = sysFlock(int(fd), how)
			if errno != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return errno
}
