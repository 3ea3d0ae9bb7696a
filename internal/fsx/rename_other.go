//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package fsx

import "golang.org/x/sys/unix"

// renameat2 is a call of Linux.
func renameat2(int, string, int, string) error { return unix.ENOSYS }
