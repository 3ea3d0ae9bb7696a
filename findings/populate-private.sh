#!/usr/bin/env bash
# mmap: MAP_POPULATE on a private mapping that may be written copies the whole file into anonymous memory.
#
# Guess:    MAP_POPULATE reads the file ahead and maps its pages of the page cache, so that later reads do not fault; a private
#           mapping copies a page when it is written, and only that.
# Instead:  with PROT_READ|PROT_WRITE and MAP_PRIVATE each page is populated by a write fault: 32 MiB of file become 32 MiB of
#           RssAnon, besides the page cache. With PROT_READ alone they are RssFile, shared. MADV_POPULATE_READ on the writable
#           mapping does what was meant.
# Seen:     Linux 6.18, golang.org/x/sys v0.47.0, go 1.26.
# Source:   populate_vma_page_range in mm/gup.c: "touch writable mappings with a write fault in order to break COW, except for
#           shared mappings".
# Matters:  an index image mapped private, so that it may be fixed up in memory, costs nothing that cannot be reclaimed until a
#           page changes; warmed with this flag it counts in full against the container, cannot be dropped, and each process
#           that opens it has one of its own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const size = 32 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// resident returns the anonymous and the file memory of the process, in MiB.
func resident() (anon, file int) {
	status, err := os.ReadFile("/proc/self/status")
	must(err)
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "RssAnon: %d", &anon)
		fmt.Sscanf(line, "RssFile: %d", &file)
	}
	return anon >> 10, file >> 10
}

// mapped maps the file and returns what that has added.
func mapped(f *os.File, prot, flags, advice int) (anon, file int) {
	a, b := resident()
	m, err := unix.Mmap(int(f.Fd()), 0, size, prot, flags)
	must(err)
	if advice != 0 {
		must(unix.Madvise(m, advice))
	}
	anon, file = resident()
	must(unix.Munmap(m))
	return anon - a, file - b
}

func main() {
	f, err := os.Create("image")
	must(err)
	_, err = f.Write(make([]byte, size))
	must(err)
	rw := unix.PROT_READ | unix.PROT_WRITE
	readOnly, readOnlyFile := mapped(f, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE, 0)
	writable, _ := mapped(f, rw, unix.MAP_PRIVATE|unix.MAP_POPULATE, 0)
	advised, advisedFile := mapped(f, rw, unix.MAP_PRIVATE, unix.MADV_POPULATE_READ)
	fmt.Printf("MiB of RssAnon and RssFile: read-only %d %d; writable %d; writable with MADV_POPULATE_READ %d %d\n",
		readOnly, readOnlyFile, writable, advised, advisedFile)
	if readOnly > 4 || readOnlyFile < 28 || writable < 28 || advised > 4 || advisedFile < 28 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
