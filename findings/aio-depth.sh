#!/usr/bin/env bash
# Linux AIO: the depth of a context is not what was asked for.
#
# Guess:    io_setup(n) makes a context that takes n requests; the next io_submit is EAGAIN until one was reaped.
# Instead:  a context for 1 request took 120, one for 256 took 632 (2 processors, pages of 4 KiB), while each counts
#           against fs.aio-max-nr with what was asked for. The ring is rounded up to processors and pages first.
# Seen:     Linux 6.18, golang.org/x/sys v0.47.0.
# Source:   fs/aio.c of Linux, ioctx_alloc and aio_setup_ring: nr_events = max(nr_events, 4 * possible cpus), twice that,
#           then as many as whole pages hold; max_reqs keeps what was asked for.
# Matters:  EAGAIN cannot serve as back-pressure at the depth that was set; a program has to count for itself. And many
#           small contexts cost the system-wide limit less than their rings suggest.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

type iocb struct {
	data       uint64
	key, flags uint32
	op         uint16
	prio       int16
	fd         uint32
	buf, n     uint64
	off        int64
	_          uint64
	_, _       uint32
}

func counted() int {
	b, err := os.ReadFile("/proc/sys/fs/aio-nr")
	if err != nil {
		panic(err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

func main() {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	ok := true
	for _, asked := range []int{1, 4, 64, 256} {
		var ctx uintptr
		before := counted()
		if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, uintptr(asked), uintptr(unsafe.Pointer(&ctx)), 0); e != 0 {
			panic(e)
		}
		charged := counted() - before
		buf := make([]byte, 16)
		taken := 0
		var last error
		for last == nil && taken < 1<<16 {
			cb := &iocb{fd: uint32(f.Fd()), buf: uint64(uintptr(unsafe.Pointer(&buf[0]))), n: 16}
			if _, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, ctx, 1, uintptr(unsafe.Pointer(&cb))); e != 0 {
				last = e
			} else {
				taken++ // nothing is reaped
			}
		}
		unix.Syscall(unix.SYS_IO_DESTROY, ctx, 0, 0)
		fmt.Printf("asked for %3d, charged %3d against fs.aio-max-nr, took %4d before: %v\n", asked, charged, taken, last)
		ok = ok && taken > asked && last == unix.EAGAIN
	}
	if !ok {
		fmt.Println("CHANGED: a context takes just what was asked for")
		os.Exit(1)
	}
}
EOF
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
