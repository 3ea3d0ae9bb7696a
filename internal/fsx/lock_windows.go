package fsx

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks an open file against other processes until it is closed. It does not wait. Directories cannot be
// locked here.
func lockFile(f *os.File, shared bool) error {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if !shared {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	err = raw.Control(func(fd uintptr) {
		errno = windows.LockFileEx(windows.Handle(fd), flags, 0, 1, 0, new(windows.Overlapped))
	})
	if err != nil {
		return err
	}
	if errno == windows.ERROR_LOCK_VIOLATION {
		return ErrLocked
	}
	return errno
}

// unlockFile leaves it to closing the file: no other process shares it.
func unlockFile(*os.File) error { return nil }
