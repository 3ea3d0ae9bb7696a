#!/usr/bin/env bash
# POSIX_FADV_WILLNEED, readahead(2) and MADV_WILLNEED: they read the beginning of what they are asked for, and say that all is
# well.
#
# Guess:    WILLNEED on 64 MiB of a cold file starts reading 64 MiB, and returns before or after; when memory is short, less.
# Instead:  it reads as much as the readahead of the device (or its largest request, if that is larger) and leaves the rest:
#           here 8 MiB of 64, of which nothing more came later, with gigabytes of memory free. With the usual 128 KiB it is
#           that, or a request. All three return 0. In steps of that size they read all; MADV_POPULATE_READ reads all at once,
#           and waits for it.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26, read_ahead_kb 8192.
# Source:   force_page_cache_ra in mm/readahead.c cuts the number of pages down to the larger of io_pages and ra_pages; all
#           three end there. posix_fadvise(2) speaks of memory load only.
# Matters:  a warm-up of an index or of the newest part of a log after a restart, or a prefetch of a segment before it is
#           scanned, warms the first piece. The rest is met cold, and a test with a small file, or on a machine with a large
#           readahead, does not show it. Ask in pieces of read_ahead_kb (/sys/class/bdi), or read the file.
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
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const size = 64 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// cached returns how much of the file the page cache has, in MiB.
func cached(f *os.File) float64 {
	whole := [2]uint64{0, size}
	var counts [5]uint64 // in the page cache, dirty, in writeback, evicted, recently evicted
	if _, _, errno := unix.Syscall6(unix.SYS_CACHESTAT, f.Fd(), uintptr(unsafe.Pointer(&whole)), uintptr(unsafe.Pointer(&counts)), 0, 0, 0); errno != 0 {
		panic(errno)
	}
	return float64(counts[0]) * float64(os.Getpagesize()) / (1 << 20)
}

// settled waits until nothing more is read for a second.
func settled(f *os.File) float64 {
	last, since := cached(f), time.Now()
	for time.Since(since) < time.Second {
		time.Sleep(50 * time.Millisecond)
		if now := cached(f); now != last {
			last, since = now, time.Now()
		}
	}
	return last
}

func main() {
	f, err := os.Create("file")
	must(err)
	for range size >> 20 {
		_, err := f.Write([]byte(strings.Repeat("x", 1<<20)))
		must(err)
	}
	must(f.Sync())
	var st unix.Stat_t
	must(unix.Fstat(int(f.Fd()), &st))
	ahead := -1
	if b, err := os.ReadFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))); err == nil {
		ahead, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	fmt.Println("readahead of the device, KiB:", ahead)
	if ahead > size>>12 {
		fmt.Println("that is too much for this file")
		os.Exit(2)
	}
	fine := true
	for _, c := range []struct {
		name  string
		whole bool
		ask   func(mapped []byte) error
	}{
		{"POSIX_FADV_WILLNEED", false, func([]byte) error { return unix.Fadvise(int(f.Fd()), 0, size, unix.FADV_WILLNEED) }},
		{"readahead", false, func([]byte) error {
			if _, _, errno := unix.Syscall(unix.SYS_READAHEAD, f.Fd(), 0, size); errno != 0 {
				return errno
			}
			return nil
		}},
		{"MADV_WILLNEED", false, func(mapped []byte) error { return unix.Madvise(mapped, unix.MADV_WILLNEED) }},
		{"POSIX_FADV_WILLNEED by 128 KiB", true, func([]byte) error {
			for at := int64(0); at < size; at += 128 << 10 {
				if err := unix.Fadvise(int(f.Fd()), at, 128<<10, unix.FADV_WILLNEED); err != nil {
					return err
				}
			}
			return nil
		}},
		{"MADV_POPULATE_READ", true, func(mapped []byte) error { return unix.Madvise(mapped, unix.MADV_POPULATE_READ) }},
	} {
		must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		before := cached(f)
		mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
		must(err)
		must(c.ask(mapped))
		got := settled(f)
		must(unix.Munmap(mapped))
		fmt.Printf("%-30s nil; in the page cache: %.1f MiB before, %.1f of %d MiB after\n", c.name, before, got, size>>20)
		fine = fine && (got > 60) == c.whole && before < 1
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
go run .
