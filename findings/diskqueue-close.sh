#!/usr/bin/env bash
# nsqio/go-diskqueue: Close syncs where the queue stands, and not its messages.
#
# Guess:    an orderly Close leaves everything on the disk, the more so as it calls the queue's own sync.
# Instead:  the file of the messages is closed first, and sync passes over a file that is closed: after Close the pages of 100
#           messages are dirty, while the file with depth and positions has been synced. Without Close, a sync of the queue
#           leaves no dirty page.
# Seen:     go-diskqueue v1.1.0, Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   Close in diskqueue.go calls exit, which closes writeFile and sets it to nil, and then sync, which begins with "if
#           writeFile != nil".
# Matters:  a machine that goes down within half a minute after its services were stopped, as in each shutdown that ends with
#           a power switch or each preempted cloud instance, comes back with a queue that claims 100 messages and has a file
#           of zeros or of nothing. Wait for a sync by the timer before Close, or sync the files (*.diskqueue.*.dat) after it.
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
	"time"
	"unsafe"

	"github.com/nsqio/go-diskqueue"
	"golang.org/x/sys/unix"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// dirty returns how many pages of the file wait to be written.
func dirty(name string) uint64 {
	f, err := os.Open(name)
	must(err)
	defer f.Close()
	var whole [2]uint64
	var counts [5]uint64 // in the page cache, dirty, in writeback, evicted, recently evicted
	if _, _, errno := unix.Syscall6(unix.SYS_CACHESTAT, f.Fd(), uintptr(unsafe.Pointer(&whole)), uintptr(unsafe.Pointer(&counts)), 0, 0, 0); errno != 0 {
		panic(errno)
	}
	return counts[1] + counts[2]
}

// put puts 100 messages into a queue that syncs every so many messages.
func put(dir string, syncEvery int64) diskqueue.Interface {
	must(os.Mkdir(dir, 0o700))
	silent := func(diskqueue.LogLevel, string, ...any) {}
	queue := diskqueue.New("queue", dir, 1<<20, 1, 1<<16, syncEvery, time.Hour, silent)
	for range 100 {
		must(queue.Put(make([]byte, 1000)))
	}
	return queue
}

func main() {
	must(put("closed", 1<<30).Close())
	closed := dirty("closed/queue.diskqueue.000000.dat")
	positions := dirty("closed/queue.diskqueue.meta.dat")
	synced := put("synced", 100)
	synced.Depth() // its goroutine syncs before it answers
	open := dirty("synced/queue.diskqueue.000000.dat")
	must(synced.Close())
	fmt.Printf("after Close: %d dirty pages of messages, %d of positions\n", closed, positions)
	fmt.Printf("after a sync, before Close: %d dirty pages of messages\n", open)
	if closed == 0 || positions != 0 || open != 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/nsqio/go-diskqueue@v1.1.0 golang.org/x/sys@v0.47.0 >/dev/null 2>&1
go run .
