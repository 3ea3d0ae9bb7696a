#!/usr/bin/env bash
# mmap-go: MapRegion with a length below zero and an offset maps as many bytes as the file has, from the offset on.
#
# Guess:    length -1 means up to the end of the file, as it does in Map, which calls it so.
# Instead:  the length is the file's whole size, whatever the offset: of a file of four pages mapped from its second page on
#           one gets four pages, the last of which lies past the file. The length of the slice says nothing of that.
# Seen:     mmap-go v1.2.0, Linux 6.18, go 1.26.
# Source:   MapRegion in mmap.go takes Stat's size and does not subtract the offset; the documentation says "the entire file".
# Matters:  the part past the end cannot be read: a loop over the slice ends the process with a fault that is no error. Who
#           maps the data behind a header must compute the length.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"

	"github.com/edsrzf/mmap-go"
)

func main() {
	f, err := os.Create("file")
	if err != nil {
		panic(err)
	}
	page := os.Getpagesize()
	if err := f.Truncate(int64(4 * page)); err != nil {
		panic(err)
	}
	m, err := mmap.MapRegion(f, -1, mmap.RDONLY, 0, int64(page))
	if err != nil {
		panic(err)
	}
	fmt.Printf("a file of 4 pages, mapped from page 1 on: %d pages\n", len(m)/page)
	if len(m) != 4*page {
		fmt.Println("changed")
		os.Exit(1)
	}
}
EOF
go mod init finding >/dev/null 2>&1
go get github.com/edsrzf/mmap-go@v1.2.0 >/dev/null 2>&1
go run .
