#!/usr/bin/env bash
# nsqio/go-diskqueue: a new queue whose process is killed before its first sync is empty afterwards, and its files are written
# over.
#
# Guess:    Put returns when the message is written to the file; a sync, every so many messages or seconds, is for a crash of
#           the machine. When only the process is killed, the files are all there, and what was put is read by the next
#           process.
# Instead:  where the reader and the writer stand is kept in a file of its own, that comes with the first sync. Ten messages
#           were put, the process was killed, and the next one found a depth of 0 and nothing to read, although the ten lie in
#           the data file; its first Put begins at offset 0 of that file and destroys them. Once there has been a sync,
#           messages after it are read, but not counted: Depth said 5 when 15 were waiting.
# Seen:     go-diskqueue v1.1.0, go 1.26.
# Source:   retrieveMetaData in diskqueue.go: without the file everything is 0; with it, a data file that is longer than it
#           says is left to the reader, and depth stays. New takes a missing file for a new queue.
# Matters:  it is the spool of agents and forwarders, which are killed in their first seconds when they are misconfigured or
#           out of memory: just then all of it is lost, each time. Who asks Depth whether there is something to send, sends
#           nothing. Call for a sync early (syncEvery 1 for a new queue), and read until ReadChan is silent.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/nsqio/go-diskqueue"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func open(dir string, syncEvery int64) diskqueue.Interface {
	silent := func(diskqueue.LogLevel, string, ...any) {}
	return diskqueue.New("queue", dir, 1<<20, 1, 1<<16, syncEvery, time.Hour, silent)
}

// fill is what a process does that is killed then: it puts some messages that are synced, and ten that are not.
func fill(dir string, synced int) {
	if synced > 0 {
		queue := open(dir, 1)
		for i := range synced {
			must(queue.Put([]byte("synced " + strconv.Itoa(i))))
		}
		must(queue.Close())
	}
	queue := open(dir, 1<<30)
	for i := range 10 {
		must(queue.Put([]byte("message " + strconv.Itoa(i))))
	}
	self, err := os.FindProcess(os.Getpid())
	must(err)
	must(self.Kill())
	select {}
}

// after opens what the killed process has left, and returns the depth, how many messages come, and how long the data file is.
func after(dir string, synced int) (depth int64, read int, size int64) {
	must(os.Mkdir(dir, 0o700))
	if err := exec.Command(os.Args[0], dir, strconv.Itoa(synced)).Run(); err == nil {
		panic("it was not killed")
	}
	info, err := os.Stat(dir + "/queue.diskqueue.000000.dat")
	must(err)
	queue := open(dir, 1)
	defer queue.Close()
	depth = queue.Depth()
	for {
		select {
		case <-queue.ReadChan():
			read++
		case <-time.After(time.Second):
			return depth, read, info.Size()
		}
	}
}

func main() {
	if len(os.Args) > 1 {
		synced, err := strconv.Atoi(os.Args[2])
		must(err)
		fill(os.Args[1], synced)
	}
	depth, read, size := after("new", 0)
	fmt.Printf("a new queue, 10 messages, killed: depth %d, %d are read, while the data file has %d bytes\n", depth, read, size)
	depthLater, readLater, _ := after("used", 5)
	fmt.Printf("a queue with 5 synced messages, 10 more, killed: depth %d, %d are read\n", depthLater, readLater)
	if depth != 0 || read != 0 || size == 0 || depthLater != 5 || readLater != 15 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/nsqio/go-diskqueue@v1.1.0 >/dev/null 2>&1
go build -o queue .
./queue
