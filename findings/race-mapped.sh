#!/usr/bin/env bash
# Go's race detector: it sees nothing of memory that mmap has returned.
#
# Guess:    go test -race reports two goroutines that write one address without a lock, wherever the address is: the compiler
#           puts a call before each load and store.
# Instead:  the call returns at once unless the address is in the Go heap or among the program's variables. Two goroutines
#           that add to one word of a mapping are never reported, while the same function on a word of the heap is at once.
#           Nothing says that part of the memory is not looked at. So it is with memory of C, and with every library that
#           keeps its data out of the heap to spare the collector.
# Seen:     go 1.26, Linux 6.18, golang.org/x/sys v0.47.0.
# Source:   racecalladdr in runtime/race_amd64.s (and its neighbours for other processors) compares the address with racearena
#           and racedata, and returns.
# Matters:  the tables and log pages of a store, which is where its lock-free code works, are what is mapped. A green -race
#           run of it has checked the rest. Tests of such code need a build in which the same memory comes from make([]byte),
#           and that build is what -race has to run on.
# Needs:    cgo, for -race.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// race has two goroutines add to a word without a lock.
func race(word *int) {
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			for range 1000 {
				*word++
			}
		})
	}
	both.Wait()
}

func main() {
	word := new(int)
	if os.Args[1] == "mapped" {
		page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			panic(err)
		}
		word = (*int)(unsafe.Pointer(&page[0]))
	}
	race(word)
	fmt.Println("done")
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
CGO_ENABLED=1 go build -race -o racy .
reports() { ./racy "$1" 2>&1 | grep -c 'WARNING: DATA RACE' || true; }
heap=$(reports heap)
mapped=$(reports mapped)
echo "reports of a race: $heap in the heap, $mapped in a mapping"
if [ "$heap" = 0 ] || [ "$mapped" != 0 ]; then
  echo "the behaviour has changed"
  exit 1
fi
