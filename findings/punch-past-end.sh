#!/usr/bin/env bash
# ext4: a hole punched behind the end of a file gives back nothing of the space that was given ahead there.
#
# Guess:    FALLOC_FL_PUNCH_HOLE frees the blocks of the range, and has to come with FALLOC_FL_KEEP_SIZE because it never
#           changes the size: what FALLOC_FL_KEEP_SIZE has reserved behind the end, the same flags with PUNCH_HOLE give back.
# Instead:  the call returns nil and all 16 MiB stay. A range that begins within the file frees what lies before the end and
#           leaves the rest. Only ftruncate gives it back, the one to the size that the file has, too.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   ext4_punch_hole in fs/ext4/inode.c returns 0 for an offset at or past the size, and cuts the range at the size.
#           XFS, which frees the range by its extents, does not have this.
# Matters:  a log that reserves a segment ahead and gives the unused part back when the segment is sealed, or a space monitor
#           that trims reservations on a disk that is nearly full, gets nil and not one block. ENOSPC comes as it would have
#           come. Truncate to the size, when nobody writes (truncate-same-size.sh says what else that does).
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

func main() {
	f, err := os.Create("log")
	must(err)
	page := int64(os.Getpagesize())
	_, err = f.Write(make([]byte, page))
	must(err)
	must(f.Sync())
	fd := int(f.Fd())
	kib := func() int64 {
		var st unix.Stat_t
		must(unix.Fstat(fd, &st))
		return st.Blocks / 2
	}
	punch := func(offset, length int64) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, offset, length)
	}
	written := kib()
	must(unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, ahead))
	reserved := kib()
	fmt.Printf("a file of %d KiB has %d KiB; with space given ahead %d\n", page>>10, written, reserved)
	must(punch(page, ahead-page))
	after := kib()
	fmt.Printf("a hole punched behind its end: nil, %d KiB\n", after)
	must(punch(0, ahead))
	whole := kib()
	fmt.Printf("a hole punched over all of it: nil, %d KiB\n", whole)
	must(f.Truncate(page))
	truncated := kib()
	fmt.Printf("truncated to the size it has: %d KiB\n", truncated)
	if reserved < ahead>>10 || after != reserved || whole < reserved-64 || truncated > 64 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
go run .
