#!/usr/bin/env bash
# ftruncate to the size that a file has already: on ext4 it gives back all space that fallocate has given ahead.
#
# Guess:    a truncate that does not change the size does nothing. FALLOC_FL_KEEP_SIZE has reserved blocks beyond the end for
#           good: that is what it is for, and the file still has them after close and open.
# Instead:  16 MiB that were given ahead are gone after f.Truncate(size). No call says so: the size is what it was, st_blocks
#           is not, and the next append allocates anew (and may be ENOSPC).
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   ext4_setattr in fs/ext4/inode.c calls ext4_truncate also when the size stays, on purpose: there is no other call
#           that drops blocks beyond the end.
# Matters:  recovery that cuts a log at its last whole record truncates "to be safe", mostly to the size the log has: then each
#           opening throws the space ahead away, a full disk is met in the middle of a commit instead of at the reservation, and
#           each record's fdatasync carries an allocation again. Truncate only if the size differs; or truncate on purpose, when
#           a log is closed, to give the space back.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
kind=$(stat -f -c %T .)
case $kind in
ext2/ext3) ;; # what stat calls ext4
*) echo "TMPDIR is on $kind: this needs ext4"; exit 2 ;;
esac
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const ahead = 16 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// allocated returns the size of the file and the bytes it takes on disk.
func allocated(f *os.File) (size, bytes int64) {
	var s unix.Stat_t
	must(f.Sync())
	must(unix.Fstat(int(f.Fd()), &s))
	return s.Size, s.Blocks * 512
}

func main() {
	f, err := os.Create("log")
	must(err)
	_, err = f.Write(make([]byte, 4096))
	must(err)
	must(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, ahead))
	_, given := allocated(f)
	must(f.Close())
	f, err = os.OpenFile("log", os.O_RDWR, 0)
	must(err)
	size, kept := allocated(f)
	must(f.Truncate(size))
	after, left := allocated(f)
	fmt.Printf("given ahead: %d bytes, opened again: %d; truncated from %d to %d: %d\n", given, kept, size, after, left)
	if given < ahead || kept < ahead || after != size || left >= ahead {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
