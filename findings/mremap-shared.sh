#!/usr/bin/env bash
# mremap: an anonymous region that is shared can be made longer, and there is no memory behind what was added.
#
# Guess:    mremap to twice the length gives twice the memory, zeros at the end, as for a private anonymous region; or it fails.
# Instead:  it succeeds and returns the longer mapping, and the old pages can be used. Those that were added are EFAULT to read(2)
#           and to MADV_POPULATE_WRITE (a touch is SIGBUS): the memory of a shared anonymous mapping is a file without a name, as long
#           as the first mmap was, and nobody has a descriptor to make that file longer. A private one grows.
# Seen:     Linux 6.18, golang.org/x/sys v0.47.0, go 1.26.
# Source:   mmap of MAP_SHARED|MAP_ANONYMOUS calls shmem_zero_setup (mm/shmem.c) with the length; mremap moves page tables only,
#           and shmem_fault refuses what lies past the size.
# Matters:  a hash table that doubles, or a buffer that grows, in memory that was made shared for another process or for a
#           follower, or just because that is what a library's flag for anonymous memory means (mmap-go: mmap-anonymous-shared.sh).
#           The call that fails is not the one that grows, it is some write long after. Make room with memfd_create: the
#           file has a descriptor, ftruncate makes it longer before mremap.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const size = 1 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// grown makes a region, doubles it, and tells whether its halves can be written.
func grown(fd, flags int, before func()) (first, second, read error) {
	m, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	must(err)
	before()
	m, err = unix.Mremap(m, 2*size, unix.MREMAP_MAYMOVE)
	must(err)
	if len(m) != 2*size {
		panic("mremap returned another length")
	}
	zeros, err := os.Open("/dev/zero")
	must(err)
	defer zeros.Close()
	_, read = unix.Read(int(zeros.Fd()), m[size:])
	return unix.Madvise(m[:size], unix.MADV_POPULATE_WRITE), unix.Madvise(m[size:], unix.MADV_POPULATE_WRITE), read
}

func main() {
	fd, err := unix.MemfdCreate("finding", unix.MFD_CLOEXEC)
	must(err)
	must(unix.Ftruncate(fd, size))
	fine := true
	for _, c := range []struct {
		name      string
		fd, flags int
		before    func()
		want      error
	}{
		{"private anonymous", -1, unix.MAP_PRIVATE | unix.MAP_ANON, func() {}, nil},
		{"shared anonymous", -1, unix.MAP_SHARED | unix.MAP_ANON, func() {}, unix.EFAULT},
		{"memfd, made longer", fd, unix.MAP_SHARED, func() { must(unix.Ftruncate(fd, 2*size)) }, nil},
	} {
		first, second, read := grown(c.fd, c.flags, c.before)
		fmt.Printf("%-18s doubled: writing to the first half: %v; to the second: %v; read(2) into the second: %v\n", c.name, first, second, read)
		fine = fine && first == nil && errors.Is(second, c.want) && errors.Is(read, c.want)
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
