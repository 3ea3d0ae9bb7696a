#!/usr/bin/env bash
# io.Copy from a file opened with O_DIRECT: everything is copied, and the count that is returned is that of the last bytes only.
#
# Guess:    io.Copy returns how many bytes it has copied, or an error. What O_DIRECT cannot read, the odd end of a file, is an
#           error, or is read some other way and counted.
# Instead:  of 1 MiB and 100 bytes io.Copy says 100, and nil. The copy is whole. copy_file_range moves the whole blocks, then says
#           EINVAL to the rest, which is not aligned; Go takes EINVAL for "cannot be done at all", copies the rest with read and write, and
#           forgets what was done before. A file of whole blocks is counted right, and so is one of less than a block.
# Seen:     Linux 6.18, ext4, go 1.26.
# Source:   handleCopyFileRangeErr in internal/poll/copy_file_range_unix.go returns "not handled" for EINVAL (and EIO, EPERM,
#           EXDEV) also when earlier rounds have copied; (*File).ReadFrom in os/file.go then starts over with a count of 0.
# Matters:  segment files are read with O_DIRECT so that a backup does not empty the page cache, and their last one has an odd
#           end. A backup that compares the count with the size from Stat calls a good copy short, and deletes it or tries for ever; one
#           that writes the count into its manifest loses all but 100 bytes at the restore. io.CopyBuffer ends at the
#           same place. Look at the size of what was written, or hide the source: struct{ io.Reader }{file}.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// copied makes a file of size bytes, copies it from a descriptor with flags, and returns what io.Copy has counted and whether
// the copy is whole.
func copied(size, flags int) (counted int64, whole bool) {
	content := make([]byte, size)
	_, err := rand.Read(content)
	must(err)
	must(os.WriteFile("from", content, 0o644))
	from, err := os.OpenFile("from", os.O_RDONLY|flags, 0)
	if errors.Is(err, syscall.EINVAL) {
		fmt.Println("TMPDIR is on a file system without direct I/O")
		os.Exit(2)
	}
	must(err)
	defer from.Close()
	to, err := os.Create("to")
	must(err)
	defer to.Close()
	counted, err = io.Copy(to, from)
	must(err)
	got, err := os.ReadFile("to")
	must(err)
	return counted, bytes.Equal(got, content)
}

func main() {
	const blocks = 1 << 20
	fine := true
	for _, c := range []struct {
		size, flags int
		want        int64
	}{
		{blocks + 100, 0, blocks + 100},
		{blocks, syscall.O_DIRECT, blocks},
		{blocks + 100, syscall.O_DIRECT, 100},
	} {
		counted, whole := copied(c.size, c.flags)
		fmt.Printf("%d bytes, O_DIRECT %-5v: io.Copy returns %d, the copy is whole: %v\n", c.size, c.flags != 0, counted, whole)
		fine = fine && whole && counted == c.want
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
uname -sr
go run .
