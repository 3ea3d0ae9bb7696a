#!/usr/bin/env bash
# Linux AIO: giving a context back is slow, however little it was used.
#
# Guess:    io_destroy of a context without requests frees a few pages: microseconds, like io_setup.
# Instead:  io_setup took some 20 to 100 us, io_destroy 10 to 70 ms. Eight at once, in threads of their own, took about as
#           long as one: it is waiting, not work.
# Seen:     Linux 6.18, golang.org/x/sys v0.47.0.
# Source:   fs/aio.c of Linux, kill_ioctx and free_ioctx_users: the last reference goes through percpu_ref and RCU grace
#           periods.
# Matters:  a store that makes a context when it opens pays tens of milliseconds when it closes, and a thousand stores a
#           minute: contexts belong to the process, or are given back side by side.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func setup() (ctx uintptr) {
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 8, uintptr(unsafe.Pointer(&ctx)), 0); e != 0 {
		panic(e)
	}
	return ctx
}

func median(f func() time.Duration) time.Duration {
	var d []time.Duration
	for range 9 {
		d = append(d, f())
	}
	slices.Sort(d)
	return d[len(d)/2]
}

func main() {
	var made, gone []time.Duration
	for range 9 {
		t := time.Now()
		ctx := setup()
		made = append(made, time.Since(t))
		t = time.Now()
		unix.Syscall(unix.SYS_IO_DESTROY, ctx, 0, 0)
		gone = append(gone, time.Since(t))
	}
	slices.Sort(made)
	slices.Sort(gone)
	eight := median(func() time.Duration {
		var ctxs []uintptr
		for range 8 {
			ctxs = append(ctxs, setup())
		}
		var wg sync.WaitGroup
		t := time.Now()
		for _, c := range ctxs {
			wg.Go(func() { unix.Syscall(unix.SYS_IO_DESTROY, c, 0, 0) })
		}
		wg.Wait()
		return time.Since(t)
	})
	fmt.Printf("io_setup %v, io_destroy %v, eight io_destroy side by side %v (medians of 9)\n", made[4], gone[4], eight)
	if gone[4] < 10*made[4] || gone[4] < time.Millisecond {
		fmt.Println("CHANGED: io_destroy is as quick as one would think")
		os.Exit(1)
	}
	if eight > 6*gone[4] {
		fmt.Println("CHANGED: several do not overlap")
		os.Exit(1)
	}
}
EOF
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
