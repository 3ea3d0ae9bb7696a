#!/usr/bin/env bash
# copy_file_range, and so io.Copy between two files: holes come out as zeros that take space.
#
# Guess:    io.Copy from an *os.File to an *os.File asks the kernel to copy (copy_file_range), and the kernel knows what is a
#           hole: a file of 64 MiB with 4 KiB of data takes 4 KiB at the other end, too.
# Instead:  the copy takes all 64 MiB. On file systems that share no extents (ext4) the call is a splice through the page
#           cache, which writes the zeros that a hole reads as. Space given ahead with fallocate comes out as written zeros as
#           well. cp is different: it looks for holes with SEEK_DATA by itself.
# Seen:     Linux 6.18, ext4, go 1.26. (btrfs and xfs with reflinks share the extents, and the holes with them.)
# Source:   vfs_copy_file_range in fs/read_write.c falls back to splice_file_range; os.(*File).ReadFrom calls it.
# Matters:  segment files of a store are full of holes: log that was punched out, a last segment that was given space ahead,
#           an mmap'd index that was made large. A backup by io.Copy or os.CopyFS takes the apparent size; on a disk that is
#           half full it does not fit. Copy the stretches between SEEK_DATA and SEEK_HOLE, and truncate to the size.
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
	"io"
	"os"
	"os/exec"
	"syscall"
)

const size = 64 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// allocated returns how many bytes of the file are no hole.
func allocated(name string) int64 {
	var s syscall.Stat_t
	must(syscall.Stat(name, &s))
	return s.Blocks * 512
}

func main() {
	in, err := os.Create("sparse")
	must(err)
	must(in.Truncate(size))
	_, err = in.WriteAt(make([]byte, 4096), size/2)
	must(err)
	must(in.Sync())
	_, err = in.Seek(0, io.SeekStart)
	must(err)
	out, err := os.Create("copied")
	must(err)
	n, err := io.Copy(out, in)
	must(err)
	must(out.Sync())
	must(exec.Command("cp", "sparse", "cp").Run())
	must(exec.Command("sync", "cp").Run())
	fmt.Printf("%d bytes, of which the source has %d on disk, io.Copy's %d, cp's %d\n",
		n, allocated("sparse"), allocated("copied"), allocated("cp"))
	if allocated("sparse") > 1<<20 || allocated("copied") < size || allocated("cp") > 1<<20 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
uname -sr
go run .
