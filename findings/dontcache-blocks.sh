#!/usr/bin/env bash
# preadv2 with RWF_DONTCACHE: a scan in small blocks reads the disk more than once for the same bytes.
#
# Guess:    the flag is the page cache without its stay: readahead works as always, and what was read is dropped when the reader
#           is past it. A scan of 16 MiB from front to end reads 16 MiB, in blocks of whatever size.
# Instead:  in blocks of 4 to 64 KiB it read 26 to 27 MiB, in blocks of 1 MiB 16 MiB. Each read drops the folio it ends in, and
#           readahead has made folios larger than the block: what is left of the folio goes with it and is read again. No error,
#           and nothing is left in the cache. Without the flag each of them read 16 MiB.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   filemap_read in mm/filemap.c calls filemap_end_dropbehind_read for every folio that it has copied from, also when it
#           has copied a part only. The flag came with Linux 6.14; ext4 has large folios since 6.16.
# Matters:  the flag is made for log scans, compaction and backups, which should not push out what is hot; they mostly read
#           records or pages. A limit on the bandwidth of the scan, or a bill for reads, is off by more than half, and the
#           throughput with it. Read blocks of a MiB or so with the flag, or use O_DIRECT.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	size      = 16 << 20
	dontCache = 0x80
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// fromDisk returns what the process has had read from disks.
func fromDisk() (n int) {
	text, err := os.ReadFile("/proc/self/io")
	must(err)
	_, after, _ := strings.Cut(string(text), "\nread_bytes: ")
	_, err = fmt.Sscan(after, &n)
	must(err)
	return n
}

// cached returns how many bytes of the file are in the page cache.
func cached(f *os.File) (n int) {
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	must(err)
	defer unix.Munmap(m)
	pages := make([]byte, size/4096)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), size, uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		panic(errno)
	}
	for _, page := range pages {
		n += int(page&1) * 4096
	}
	return n
}

// scan reads the file from front to end, out of an empty cache, and returns what that has read from disk and left in the cache.
func scan(f *os.File, block, flags int) (read, left int) {
	must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	before := fromDisk()
	buffer := make([]byte, block)
	for at := 0; at < size; at += block {
		n, err := unix.Preadv2(int(f.Fd()), [][]byte{buffer}, int64(at), flags)
		if errors.Is(err, unix.EOPNOTSUPP) {
			fmt.Println("TMPDIR is on a file system without RWF_DONTCACHE")
			os.Exit(2)
		}
		must(err)
		if n != block {
			panic("a short read")
		}
	}
	return fromDisk() - before, cached(f)
}

func main() {
	f, err := os.Create("file")
	must(err)
	_, err = f.Write(make([]byte, size))
	must(err)
	must(f.Sync())
	fine := true
	for _, block := range []int{4 << 10, 64 << 10, 1 << 20} {
		plain, _ := scan(f, block, 0)
		read, left := scan(f, block, dontCache)
		fmt.Printf("16 MiB in blocks of %4d KiB: %5.1f MiB from disk; with RWF_DONTCACHE %5.1f MiB, and %d bytes stay cached\n",
			block>>10, float64(plain)/(1<<20), float64(read)/(1<<20), left)
		more := read > size+size/4
		fine = fine && plain <= size+size/8 && more == (block < 1<<20)
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
go run .
