package fsx

import "golang.org/x/sys/unix"

// renameat2 gives a file a name that nothing has.
func renameat2(from int, oldName string, to int, newName string) error {
	return unix.Renameat2(from, oldName, to, newName, unix.RENAME_NOREPLACE)
}
