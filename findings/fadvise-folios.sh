#!/usr/bin/env bash
# posix_fadvise(DONTNEED): a file that was read in order does not leave the page cache page by page.
#
# Guess:    DONTNEED on a clean, whole, aligned page that nobody maps drops that page; done for each page, it drops the file.
# Instead:  readahead caches files in large folios, and a folio that reaches out of the range is left whole: after a read of 4
#           MiB in order, by 4 KiB, 1,020 of 1,024 pages were still there after DONTNEED on every page, and most after
#           DONTNEED on every 64 KiB. One call for all drops all; so do calls that each begin at 0. No call fails. With
#           FADV_RANDOM, which reads without readahead, page by page works.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   mapping_try_invalidate in mm/truncate.c asks find_lock_entries, which passes over folios that are not within the
#           range. Large folios: ext4 since Linux 6.16, XFS since 5.18; posix_fadvise(2) speaks of partial pages only.
# Matters:  a scan, a backup or a compaction that gives the cache back behind it, record by record or block by block, gives
#           back nothing, and pushes the hot set out as if it had never asked; it worked on the kernel before. So for
#           benchmarks that make parts of a file cold. The range has to begin at 0 each time, or be far larger than the
#           folios.
# Needs:    TMPDIR on ext4 or XFS of such a kernel.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	page  = 4096
	pages = 1024
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func drop(f *os.File, from, n int) {
	must(unix.Fadvise(int(f.Fd()), int64(from)*page, int64(n)*page, unix.FADV_DONTNEED))
}

// cached returns how many pages of the file are in memory.
func cached(f *os.File) (n int) {
	m, err := unix.Mmap(int(f.Fd()), 0, pages*page, unix.PROT_READ, unix.MAP_SHARED)
	must(err)
	defer unix.Munmap(m)
	state := make([]byte, pages)
	if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), pages*page, uintptr(unsafe.Pointer(&state[0]))); e != 0 {
		panic(e)
	}
	for _, s := range state {
		n += int(s & 1)
	}
	return n
}

// read makes the file cold, and reads it in order.
func read(f *os.File, advice int) {
	drop(f, 0, pages)
	if n := cached(f); n != 0 {
		panic(fmt.Sprint("DONTNEED for all has left ", n, " pages"))
	}
	must(unix.Fadvise(int(f.Fd()), 0, 0, advice))
	b := make([]byte, page)
	for i := range pages {
		_, err := f.ReadAt(b, int64(i)*page)
		must(err)
	}
	if n := cached(f); n != pages {
		panic(fmt.Sprint("only ", n, " pages are cached"))
	}
}

func main() {
	must(os.WriteFile("file", make([]byte, pages*page), 0o600))
	f, err := os.OpenFile("file", os.O_RDWR, 0)
	must(err)
	must(f.Sync())

	left := func(advice, step int, fromZero bool) int {
		read(f, advice)
		for i := 0; i < pages; i += step {
			if fromZero {
				drop(f, 0, i+step)
			} else {
				drop(f, i, step)
			}
		}
		return cached(f)
	}
	single, sixteen := left(unix.FADV_NORMAL, 1, false), left(unix.FADV_NORMAL, 16, false)
	zero, random := left(unix.FADV_NORMAL, 16, true), left(unix.FADV_RANDOM, 1, false)
	fmt.Printf("of %d pages are left: %d after page by page, %d after 64 KiB by 64 KiB, %d with all ranges from 0, %d after page by page with FADV_RANDOM\n",
		pages, single, sixteen, zero, random)
	if single < pages/2 || zero != 0 || random != 0 {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
