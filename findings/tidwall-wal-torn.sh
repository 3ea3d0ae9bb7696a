#!/usr/bin/env bash
# tidwall/wal: a log whose last write was cut short by a crash does not open any more.
#
# Guess:    what a crash leaves of the entry that was being written is recognised as no whole entry and cut off: the entries
#           before it were acknowledged and are there, that one was not. It is what a write-ahead log is for.
# Instead:  Open returns "log corrupt", nine whole entries or not, and there is no option, no call and no tool that opens the log
#           or says how much of it is good. An entry has a length and no checksum: one that is as long as it should be
#           and is zeros, as after a crash in which the size of the file came before its data, is read as an entry.
# Seen:     tidwall/wal v1.2.1, go 1.26, with the default options, in which each Write is synced.
# Source:   loadSegmentEntries in wal.go parses the last segment from end to end, and each failure is ErrCorrupt to Open.
# Matters:  a process that is killed, or a disk that is full, in the middle of one write leaves a replicated log or a queue that
#           does not start until somebody cuts the file by hand, at an offset that nobody tells. One who takes this log gives each
#           entry its checksum, and walks over the last segment before Open: a varint with the length, then the data.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidwall/wal"
)

const entries, length = 10, 100

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// made writes a log and returns the name of its only segment and the segment's size.
func made(dir string) (segment string, size int64) {
	log, err := wal.Open(dir, nil)
	must(err)
	for i := range uint64(entries) {
		must(log.Write(i+1, bytes.Repeat([]byte{'x'}, length)))
	}
	must(log.Close())
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	must(err)
	if len(names) != 1 {
		panic("not one segment")
	}
	info, err := os.Stat(names[0])
	must(err)
	return names[0], info.Size()
}

func main() {
	segment, size := made("cut")
	must(os.Truncate(segment, size-length/2))
	_, cut := wal.Open("cut", nil)
	fmt.Printf("the last of %d entries cut short: Open says %v\n", entries, cut)

	// The file as if its size had reached the disk and the data of its last entry had not.
	segment, size = made("zeros")
	f, err := os.OpenFile(segment, os.O_WRONLY, 0)
	must(err)
	_, err = f.WriteAt(make([]byte, length), size-length)
	must(err)
	must(f.Close())
	log, err := wal.Open("zeros", nil)
	must(err)
	data, err := log.Read(entries)
	must(err)
	zeros := bytes.Equal(data, make([]byte, length))
	must(log.Close())
	fmt.Printf("the data of the last entry missing: Open says nothing, and the entry is read as zeros: %v\n", zeros)
	if !errors.Is(cut, wal.ErrCorrupt) || !zeros {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/tidwall/wal@v1.2.1 >/dev/null 2>&1
go run .
