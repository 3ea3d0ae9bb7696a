#!/usr/bin/env bash
# A mapped file: who touches one page in each MiB has the whole file in its resident memory, MADV_RANDOM or not.
#
# Guess:    a read fault maps the page that was touched, so that resident memory is what the program has touched. Those who know of
#           fault-around expect up to 16 pages, and none with MADV_RANDOM, which says that the neighbours are not wanted.
# Instead:  64 pages touched in 64 MiB, 256 KiB of memory: resident memory grew by 45 to 63 MiB when the file had been written or
#           read in order, and by 4 MiB when it had been read page by page with FADV_RANDOM. MADV_RANDOM on the mapping changes
#           none of it. The fault maps what is cached around the page, and a large folio of 2 MiB as one.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26, two processors of x86-64.
# Source:   filemap_map_pages in mm/filemap.c: filemap_map_pmd maps a folio of 2 MiB whole, else fault_around_bytes (64 KiB) around
#           the fault; VM_RAND_READ is looked at for readahead only. ext4 has large folios since Linux 6.16, XFS since 5.18.
# Matters:  "memory used" of a store that maps its log or its index is mostly what the page cache happens to have near what was
#           read, and depends on how the file once got there: after a restore 15 times what it is after a cold start. A
#           comparison by RSS, a limit that a supervisor enforces by RSS, or a test for "keeps its budget" measures this. Count
#           anonymous memory (RssAnon), and the page cache of all as what it is.
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
	"strings"

	"golang.org/x/sys/unix"
)

const (
	size  = 64 << 20
	every = 1 << 20
)

// sum keeps the compiler from leaving the reads out.
var sum int

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// resident returns the exact resident memory of the process, in bytes.
func resident() (n int) {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	must(err)
	_, after, _ := strings.Cut(string(text), "Rss:")
	_, err = fmt.Sscan(after, &n)
	must(err)
	return n << 10
}

// cache drops the file from the page cache and reads it into it again, in blocks, with an advice for the descriptor.
func cache(f *os.File, block, advice int) {
	must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	must(unix.Fadvise(int(f.Fd()), 0, 0, advice))
	buffer := make([]byte, block)
	for at := 0; at < size; at += block {
		_, err := f.ReadAt(buffer, int64(at))
		must(err)
	}
}

// grown maps the file, touches one page in each MiB, and returns by how much resident memory has grown.
func grown(f *os.File, advice int) int {
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	must(err)
	defer unix.Munmap(m)
	must(unix.Madvise(m, advice))
	before := resident()
	for i := 0; i < size; i += every {
		sum += int(m[i])
	}
	return resident() - before
}

func main() {
	f, err := os.Create("file")
	must(err)
	for range size / every {
		_, err = f.Write(make([]byte, every))
		must(err)
	}
	must(f.Sync())
	const touched = size / every * 4096
	fine := true
	for _, c := range []struct {
		name  string
		cache func()
		times int // the least factor
	}{
		{"as it was written", func() {}, 64},
		{"read in order", func() { cache(f, 4096, unix.FADV_NORMAL) }, 64},
		{"read by page, FADV_RANDOM", func() { cache(f, 4096, unix.FADV_RANDOM) }, 8},
	} {
		c.cache()
		plain, random := grown(f, unix.MADV_NORMAL), grown(f, unix.MADV_RANDOM)
		fmt.Printf("%-25s %d bytes touched, resident memory grew by %8d, with MADV_RANDOM by %8d\n", c.name+":", touched, plain, random)
		fine = fine && plain >= c.times*touched && random >= c.times*touched
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
