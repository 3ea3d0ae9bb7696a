//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package fsx

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks an open file against other processes until it is closed. It does not wait.
func lockFile(f *os.File, shared bool) error {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	err = raw.Control(func(fd uintptr) {
		for {
			errno = unix.Flock(int(fd), how|unix.LOCK_NB)
			if errno != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if errno == unix.EWOULDBLOCK {
		return ErrLocked
	}
	return errno
}
