#!/usr/bin/env bash
# Shared mappings: the time of modification is that of the first write to a page, not that of the last, and no msync mends it.
#
# Guess:    a write through a shared mapping moves the file's mtime, at the latest when it is flushed: POSIX wants it between
#           the write and the next msync.
# Instead:  the kernel sees only the first write to a clean page. It sets mtime then; all further writes, until the page has
#           been written back, change the content and not the time, and neither does msync(MS_SYNC) after them. On tmpfs,
#           where nothing is written back, a flush in between does not help either.
# Seen:     mmap-go v1.2.0, golang.org/x/sys v0.47.0, Linux 6.18, ext4, go 1.26.
# Source:   file_update_time is called for the fault that makes a clean page writable (ext4_page_mkwrite, fs/ext4/inode.c),
#           and by nothing in mm/msync.c.
# Matters:  a backup that looks at size and mtime (rsync, restic) and reads the file between two writes has the old content
#           until something else is written, although the file was flushed since. Files that are written by mapping need a
#           time set by hand, or a pwrite of one byte after the flush.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/edsrzf/mmap-go"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func mtime() time.Time {
	info, err := os.Stat("file")
	must(err)
	return info.ModTime()
}

// unseen writes, makes a copy, writes and flushes, and reports whether mtime hides the second write.
func unseen() bool {
	f, err := os.Create("file")
	must(err)
	defer f.Close()
	must(f.Truncate(int64(os.Getpagesize())))
	m, err := mmap.Map(f, mmap.RDWR, 0)
	must(err)
	defer m.Unmap()
	m[0] = 1
	backup, err := os.ReadFile("file")
	must(err)
	seen := mtime()
	time.Sleep(200 * time.Millisecond) // many ticks of the clock of the file system
	m[1] = 1
	must(m.Flush()) // msync(MS_SYNC)
	now, err := os.ReadFile("file")
	must(err)
	fmt.Printf("after the copy and the flush: content differs %t, mtime differs %t\n", !bytes.Equal(backup, now), !mtime().Equal(seen))
	return !bytes.Equal(backup, now) && mtime().Equal(seen)
}

func main() {
	for range 5 { // the system may write the page back in between
		if unseen() {
			return
		}
	}
	fmt.Println("CHANGED")
	os.Exit(1)
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/edsrzf/mmap-go@v1.2.0 golang.org/x/sys@v0.47.0 >/dev/null 2>&1
go run .
