#!/usr/bin/env bash
# preadv2 with RWF_NOWAIT: a read that must not wait is not without effect. It begins to read the page that it refuses.
#
# Guess:    RWF_NOWAIT on a page that is not cached says EAGAIN and does nothing more: a probe, like mincore, that can be
#           asked again, and says EAGAIN until somebody reads.
# Instead:  EAGAIN, and the page is on its way: a moment later the same probe returns the data, though nobody has read in
#           between. Each of 256 probes at random pages of a cold file was refused first, and served then. mincore on the same
#           pages brings nothing in.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   filemap_get_pages in mm/filemap.c starts page_cache_sync_ra before it looks at IOCB_NOWAIT; only IOCB_NOIO, which
#           user space cannot set, keeps it from it. preadv2(2) says only that the call does not wait.
# Matters:  a store that probes, and on EAGAIN reads by O_DIRECT or hands the read to a thread, reads everything twice, and
#           fills the page cache with what it meant to keep out of it; a measurement of residency by probes heats what it
#           measures. Put to use, it is an asynchronous buffered read: probe all, then read all.
# Needs:    TMPDIR on a disk's file system.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"math/rand"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	page  = 4096
	pages = 1 << 14
	asked = 256
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// served probes each of the pages and returns how many came at once.
func served(f *os.File, which []int) (n int) {
	b := make([]byte, page)
	for _, i := range which {
		switch _, err := unix.Preadv2(int(f.Fd()), [][]byte{b}, int64(i)*page, unix.RWF_NOWAIT); err {
		case nil:
			n++
		case unix.EAGAIN:
		default:
			panic(err)
		}
	}
	return n
}

// cached returns how many of the pages are in memory.
func cached(f *os.File, which []int) (n int) {
	m, err := unix.Mmap(int(f.Fd()), 0, pages*page, unix.PROT_READ, unix.MAP_SHARED)
	must(err)
	defer unix.Munmap(m)
	state := make([]byte, pages)
	if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), pages*page, uintptr(unsafe.Pointer(&state[0]))); e != 0 {
		panic(e)
	}
	for _, i := range which {
		n += int(state[i] & 1)
	}
	return n
}

func main() {
	must(os.WriteFile("file", make([]byte, pages*page), 0o600))
	f, err := os.OpenFile("file", os.O_RDWR, 0)
	must(err)
	must(f.Sync())
	must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	which := rand.Perm(pages)[:asked]

	cached(f, which)
	time.Sleep(100 * time.Millisecond)
	before := cached(f, which)
	first := served(f, which)
	for t := time.Now(); cached(f, which) < asked && time.Since(t) < 10*time.Second; {
		time.Sleep(time.Millisecond)
	}
	after := cached(f, which)
	second := served(f, which)
	fmt.Printf("of %d pages: cached after mincore %d; probes served %d; cached then %d; probes served then %d\n", asked, before, first, after, second)
	if before != 0 || first > asked/2 || after != asked || second != asked {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
