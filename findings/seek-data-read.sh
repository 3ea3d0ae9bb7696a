#!/usr/bin/env bash
# SEEK_DATA: reading space that fallocate has given ahead turns it into data, for as long as it is in the page cache.
#
# Guess:    what SEEK_DATA calls a hole is a matter of what was written: space given ahead that nobody has written is a hole, and
#           a read, which changes nothing, leaves it one. So it is with true holes.
# Instead:  16 MiB given ahead are a hole; after one read(2) over them all 16 MiB are data; after POSIX_FADV_DONTNEED they are a
#           hole again. A map of what is data depends on who has read the file lately, and on how much memory is free.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   iomap_seek_data_iter in fs/iomap/seek.c asks the page cache about extents that are allocated and unwritten, because dirty
#           pages may lie over them, and mapping_seek_hole_data takes each page that is uptodate, clean or not. An extent that is
#           not allocated is not asked about. (fs/ext4 and XFS both end there.)
# Matters:  a scan for the end of a log that reads through its space ahead, a checksum over whole files, a backup agent: whatever
#           copies or counts by SEEK_DATA next (cp, tar --sparse, rsync, a copy of holes as holes) then writes zeros for all of the space
#           ahead, and two runs over an unchanged file disagree. Copy up to the end of the log that the store knows, or
#           drop the cache first.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
kind=$(stat -f -c %T .)
case $kind in
ext2/ext3 | xfs) ;; # the first is what stat calls ext4
*) echo "TMPDIR is on $kind: this needs ext4 or xfs"; exit 2 ;;
esac
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const size = 16 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// data returns how many bytes of the file SEEK_DATA and SEEK_HOLE call data.
func data(f *os.File) (n int64) {
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return n
		}
		must(err)
		at, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		must(err)
		n += at - from
	}
	return n
}

func read(f *os.File) {
	n, err := io.Copy(struct{ io.Writer }{io.Discard}, io.NewSectionReader(f, 0, size))
	must(err)
	if n != size {
		panic("not all was read")
	}
}

func main() {
	ahead, err := os.Create("ahead")
	must(err)
	must(unix.Fallocate(int(ahead.Fd()), 0, 0, size))
	must(ahead.Sync())
	before := data(ahead)
	read(ahead)
	after := data(ahead)
	must(unix.Fadvise(int(ahead.Fd()), 0, 0, unix.FADV_DONTNEED))
	dropped := data(ahead)
	fmt.Printf("given ahead: %d bytes of data, after a read %d, out of the cache %d\n", before, after, dropped)
	hole, err := os.Create("hole")
	must(err)
	must(hole.Truncate(size))
	read(hole)
	holed := data(hole)
	fmt.Printf("a hole:      %d bytes of data after a read\n", holed)
	if before != 0 || after != size || dropped != 0 || holed != 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
