#!/usr/bin/env bash
# mincore: to who neither owns a file nor may write it, every page of it is in memory.
#
# Guess:    mincore says which pages of a mapping are in the page cache, to everybody who may read the file; who may not ask gets
#           an error.
# Instead:  without an error and whatever the truth is, it says "resident" for all pages to a process that does not own the file
#           and cannot open it for writing. For 8 MiB that were dropped from the cache root sees 0 pages, another user 2,048.
#           cachestat, which counts the same, refuses with EPERM.
# Seen:     Linux 6.18, golang.org/x/sys v0.47.0, go 1.26. Since Linux 5.2, against CVE-2019-5489.
# Source:   can_do_mincore in mm/mincore.c: else memset(vec, 1, pages).
# Matters:  a reader that runs under its own user over another's files (a follower, a backup, a query process on read-only
#           mounts) and asks before it faults, to give cold pages to other threads, finds nothing cold and stalls where it meant
#           not to. Tools that draw the cache show 100 %. Ask with preadv2 and RWF_NOWAIT, or own the files.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "this needs root, to make a file and to ask about it as somebody else"; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const size = 8 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// ask prints how many pages of the file mincore has in memory, and what cachestat answers.
func ask(name string) {
	f, err := os.Open(name)
	must(err)
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	must(err)
	pages := make([]byte, size/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), size, uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		panic(errno)
	}
	resident := 0
	for _, p := range pages {
		resident += int(p & 1)
	}
	var all [2]uint64
	var counts [5]uint64
	_, _, errno := unix.Syscall6(unix.SYS_CACHESTAT, f.Fd(), uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&counts)), 0, 0, 0)
	refused := errors.Is(errno, unix.EPERM)
	fmt.Println(resident, "of", len(pages), "cachestat refused:", refused)
}

func main() {
	if len(os.Args) > 1 {
		ask(os.Args[1])
		return
	}
	must(os.WriteFile("file", make([]byte, size), 0o644))
	f, err := os.Open("file")
	must(err)
	must(f.Sync())
	must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	var said []string
	for _, id := range []uint32{0, 65534} {
		c := exec.Command("./ask", "file")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
		c.Stderr = os.Stderr
		out, err := c.Output()
		must(err)
		said = append(said, strings.TrimSpace(string(out)))
		fmt.Printf("user %d: %s\n", id, said[len(said)-1])
	}
	pages := size / os.Getpagesize()
	if said[0] != fmt.Sprintf("0 of %d cachestat refused: false", pages) || said[1] != fmt.Sprintf("%d of %d cachestat refused: true", pages, pages) {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go build -o ask .
./ask
