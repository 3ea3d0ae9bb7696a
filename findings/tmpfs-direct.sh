#!/usr/bin/env bash
# tmpfs: O_DIRECT is accepted, and means nothing.
#
# Guess:    a file system without direct I/O refuses to open with O_DIRECT (EINVAL), as tmpfs always did: opening a file so is
#           how one finds out. Where the flag is accepted, offset and memory have to be aligned.
# Instead:  /dev/shm opens it, and takes 1,000 bytes from an odd address to offset 5. Only statx tells: STATX_DIOALIGN is not in
#           the mask that it returns, where ext4 gives the alignments.
# Seen:     Linux 6.18, golang.org/x/sys v0.47.0, go 1.26. Since Linux 6.6.
# Source:   shmem_file_open in mm/shmem.c sets FMODE_CAN_ODIRECT; generic_file_direct_write finds nothing to write to and the
#           page cache takes all.
# Matters:  tests on /dev/shm pass with a misaligned write that is EINVAL on the disk; a store that opens with the flag and goes by
#           the answer believes that it bypasses the page cache, leaves its own cache as large as for a disk, and reports
#           direct files where there are none. Ask statx, or try a write that must be refused.
set -euo pipefail
dir=$(mktemp -d)
shm=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$dir" "$shm"' EXIT
cd "$dir"
case $(stat -f -c %T "$dir") in
ext2/ext3) ;; # what stat calls ext4
*) echo "TMPDIR is not on ext4"; exit 2 ;;
esac
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// direct opens a file in dir with O_DIRECT, writes without alignment, and asks for the alignments.
func direct(dir string) (opened, written error, told bool) {
	fd, err := unix.Open(dir+"/file", unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT, 0o600)
	if err != nil {
		return err, nil, false
	}
	defer unix.Close(fd)
	_, written = unix.Pwrite(fd, make([]byte, 8192)[3:1003], 5)
	var s unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &s); err != nil {
		panic(err)
	}
	return nil, written, s.Mask&unix.STATX_DIOALIGN != 0 && s.Dio_offset_align > 0
}

func main() {
	fine := true
	for i, dir := range os.Args[1:] {
		opened, written, told := direct(dir)
		fmt.Printf("%s: open %v, misaligned write %v, statx tells of direct I/O: %v\n", []string{"ext4", "tmpfs"}[i], opened, written, told)
		if i == 0 {
			fine = fine && opened == nil && written == unix.EINVAL && told
		} else {
			fine = fine && opened == nil && written == nil && !told
		}
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run . "$dir" "$shm"
