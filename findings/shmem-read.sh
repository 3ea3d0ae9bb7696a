#!/usr/bin/env bash
# tmpfs and anonymous shared memory: to read a hole through a mapping takes memory for it, for good.
#
# Guess:    a page that was never written costs nothing to read: there is one page of zeros for all of them, as in private
#           memory, or at most a cached page that can be dropped, as in a file on disk.
# Instead:  each page that is read through a mapping of a tmpfs file (also one made by memfd_create, or in /dev/shm) is
#           allocated: the file grows from 0 blocks to its full size, SEEK_DATA finds data where there were holes, and nothing
#           but a hole punched or swap takes the page back. A mapping that may only read does it, too. read(2) of the same
#           bytes takes nothing. An ANON region of mmap-go is such a file, and a scan over an untouched one makes all of it
#           resident; COPY, which is private, gets the page of zeros.
# Seen:     Linux 6.18, mmap-go v1.2.0, golang.org/x/sys v0.47.0, go 1.26, TMPDIR on ext4.
# Source:   shmem_fault in mm/shmem.c calls shmem_get_folio_gfp with SGP_CACHE, which allocates; shmem_file_read_iter asks
#           with SGP_READ.
# Matters:  a hash table or a log buffer that was made large and is mostly empty fits into its memory limit until somebody
#           walks over it: a checkpoint, a count, a checksum, a copy. It counts as shmem against the container, cannot be
#           reclaimed without swap, and is killed for a read. Walk with SEEK_DATA and pread, or know which pages were written.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

const size = 64 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// allocated returns how many bytes of the file are no hole.
func allocated(f *os.File) int64 {
	var s unix.Stat_t
	must(unix.Fstat(int(f.Fd()), &s))
	return s.Blocks * 512
}

// walk reads a byte of each page.
func walk(m []byte) {
	sum := 0
	for i := 0; i < len(m); i += 4096 {
		sum += int(m[i])
	}
	if sum != 0 {
		panic("a hole is not zero")
	}
}

// holes makes the file large, reads it, then through a mapping, and returns what is allocated after each.
func holes(f *os.File) (read, mapped int64) {
	must(f.Truncate(size))
	_, err := io.Copy(struct{ io.Writer }{io.Discard}, io.NewSectionReader(f, 0, size))
	must(err)
	read = allocated(f)
	m, err := mmap.MapRegion(f, size, mmap.RDONLY, 0, 0)
	must(err)
	walk(m)
	must(m.Unmap())
	return read, allocated(f)
}

// resident returns the memory that the process has, shared and its own, in bytes.
func resident() (n int) {
	status, err := os.ReadFile("/proc/self/status")
	must(err)
	for _, what := range []string{"RssShmem:", "RssAnon:"} {
		_, after, _ := strings.Cut(string(status), what)
		var kib int
		fmt.Sscan(after, &kib)
		n += kib << 10
	}
	return n
}

// grown returns how much memory a walk over an untouched anonymous region takes.
func grown(protection int) int {
	m, err := mmap.MapRegion(nil, size, protection, mmap.ANON, 0)
	must(err)
	defer m.Unmap()
	before := resident()
	walk(m)
	return resident() - before
}

func main() {
	fd, err := unix.MemfdCreate("finding", 0)
	must(err)
	read, mapped := holes(os.NewFile(uintptr(fd), "memfd"))
	fmt.Printf("tmpfs file:   %9d bytes allocated after read, %9d after a walk over a mapping\n", read, mapped)
	disk, err := os.Create("file")
	must(err)
	diskRead, diskMapped := holes(disk)
	fmt.Printf("file on disk: %9d bytes allocated after read, %9d after a walk over a mapping\n", diskRead, diskMapped)
	shared, private := grown(mmap.RDWR), grown(mmap.COPY)
	fmt.Printf("walk over an untouched region: ANON %d bytes, ANON with COPY %d bytes\n", shared, private)
	if read != 0 || mapped != size || diskMapped != 0 || shared < size || private > size/8 {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/edsrzf/mmap-go@v1.2.0 golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
