#!/usr/bin/env bash
# cachestat: pages that were dropped with POSIX_FADV_DONTNEED were never there, as far as "evicted" is concerned.
#
# Guess:    nr_evicted counts pages of the range that have been in the page cache and are no longer: evicted is the opposite of
#           cached.
# Instead:  1,024 pages that reclaim has taken (MADV_PAGEOUT here) are counted as evicted and as recently evicted; the same pages,
#           dropped with POSIX_FADV_DONTNEED, are 0. So are those that a direct write has invalidated.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   filemap_cachestat in mm/filemap.c counts the shadow entries that reclaim leaves in the page cache's tree;
#           invalidation (mm/truncate.c) leaves none.
# Matters:  a store that manages what is cached (advice after each flush, direct I/O beside mappings) and asks cachestat how much
#           of its log was pushed out sees what memory pressure did, and nothing of what it did itself. Zero evicted, zero cached does
#           not mean "not read yet": a warm-up that skips what was never cached, or an estimate of the working set from it,
#           is wrong after the first DONTNEED.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
kind=$(stat -f -c %T .)
[ "$kind" != tmpfs ] || { echo "TMPDIR is on tmpfs: this needs a disk"; exit 2; }
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const pages = 1024

type stat struct{ Cached, Dirty, Writeback, Evicted, RecentlyEvicted uint64 }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func statOf(f *os.File) (s stat) {
	var span [2]uint64 // all of the file
	_, _, errno := unix.Syscall6(unix.SYS_CACHESTAT, f.Fd(), uintptr(unsafe.Pointer(&span)), uintptr(unsafe.Pointer(&s)), 0, 0, 0)
	if errno != 0 {
		panic(errno)
	}
	return s
}

func read(f *os.File) {
	_, err := f.ReadAt(make([]byte, pages*4096), 0)
	must(err)
}

func main() {
	f, err := os.Create("file")
	must(err)
	_, err = f.Write(make([]byte, pages*4096))
	must(err)
	must(f.Sync())
	must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	advised := statOf(f)

	read(f)
	m, err := unix.Mmap(int(f.Fd()), 0, pages*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	must(unix.Madvise(m, unix.MADV_POPULATE_READ))
	must(unix.Madvise(m, unix.MADV_PAGEOUT))
	reclaimed := statOf(f)
	must(unix.Munmap(m))

	read(f)
	direct, err := os.OpenFile("file", os.O_WRONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		fmt.Println("TMPDIR is on a file system without direct I/O")
		os.Exit(2)
	}
	must(err)
	aligned, err := unix.Mmap(-1, 0, pages*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	must(err)
	_, err = direct.WriteAt(aligned, 0)
	must(err)
	written := statOf(f)

	for _, s := range []struct {
		name string
		stat
	}{{"POSIX_FADV_DONTNEED", advised}, {"MADV_PAGEOUT", reclaimed}, {"written with O_DIRECT", written}} {
		fmt.Printf("%d pages cached, then %-22s %4d cached, %4d evicted, %4d of them recently\n", pages, s.name+":", s.Cached, s.Evicted, s.RecentlyEvicted)
	}
	if advised.Cached+advised.Evicted+written.Cached+written.Evicted != 0 || reclaimed.Evicted < pages/2 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
