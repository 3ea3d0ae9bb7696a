#!/usr/bin/env bash
# MADV_PAGEOUT: dirty pages of a file and pages that are mapped twice stay where they are, and the call succeeds.
#
# Guess:    MADV_PAGEOUT on a mapping of a file gives its memory back now: dirty pages are written out first, as the name says and
#           as swap does with anonymous memory, and clean ones are dropped, whoever maps them: they can be read again.
# Instead:  of 1,024 clean pages none stays. Once a second mapping of the file has touched them (another process, or the same one
#           with a mapping of its own to read) all 1,024 stay. Written through the mapping, all stay and none is being
#           written. Each time madvise returns nil.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   madvise_cold_or_pageout_pte_range in mm/madvise.c passes over a folio that is mapped more than once; shrink_folio_list
#           in mm/vmscan.c leaves dirty file pages to the flusher threads, and marks them only.
# Matters:  a log or an index that is mapped gives back what is cold in this way, under a limit of memory. The pages that were
#           written last are just those that do not go, and one follower, checker or backup that maps the file too switches it all off,
#           without a sign. sync_file_range first, one mapping only, and look at cachestat or mincore, not at the error.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
kind=$(stat -f -c %T .)
[ "$kind" != tmpfs ] || { echo "TMPDIR is on tmpfs: this needs a disk"; exit 2; }
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const pages = 1024

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func mapped(f *os.File) []byte {
	m, err := unix.Mmap(int(f.Fd()), 0, pages*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	return m
}

// stays calls MADV_PAGEOUT and returns how many pages of the file are cached after that, and how many of these are being written.
func stays(f *os.File, m []byte) (cached, writing uint64) {
	must(unix.Madvise(m, unix.MADV_PAGEOUT))
	var (
		span [2]uint64 // all of the file
		stat struct{ Cache, Dirty, Writeback, Evicted, RecentlyEvicted uint64 }
	)
	if _, _, errno := unix.Syscall6(unix.SYS_CACHESTAT, f.Fd(), uintptr(unsafe.Pointer(&span)), uintptr(unsafe.Pointer(&stat)), 0, 0, 0); errno != 0 {
		panic(errno)
	}
	return stat.Cache, stat.Writeback
}

func main() {
	f, err := os.Create("file")
	must(err)
	_, err = f.Write(make([]byte, pages*4096))
	must(err)
	must(f.Sync())
	m := mapped(f)
	must(unix.Madvise(m, unix.MADV_POPULATE_READ))
	once, _ := stays(f, m)

	other := mapped(f)
	must(unix.Madvise(m, unix.MADV_POPULATE_READ))
	must(unix.Madvise(other, unix.MADV_POPULATE_READ))
	twice, _ := stays(f, m)
	must(unix.Munmap(other))
	again, _ := stays(f, m)

	must(unix.Madvise(m, unix.MADV_POPULATE_READ))
	for i := 0; i < len(m); i += 4096 {
		m[i] = 1
	}
	dirty, writing := stays(f, m)
	fmt.Printf("of %d pages stay after MADV_PAGEOUT: clean %d; mapped twice %d; the other mapping gone %d; dirty %d, of which %d are being written\n",
		pages, once, twice, again, dirty, writing)
	if once > pages/8 || twice != pages || again > pages/8 || dirty != pages || writing > pages/8 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
