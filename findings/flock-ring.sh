#!/usr/bin/env bash
# io_uring: a file that was registered with a ring is open, and its flock held, for some time after the ring and the file were
# closed.
#
# Guess:    when the ring has been torn down and the descriptor closed, the file is closed: its lock is free, as after any
#           last Close. The calls return when it is done.
# Instead:  QueueExit and Close have returned, and the next attempt to lock the file is refused, in each of 20 rounds, for
#           some 40 to 100 ms. Nothing tells when it is over. With LOCK_UN before Close not one was refused: that frees the
#           lock, whoever has the file open.
# Seen:     Linux 6.18, giouring v0.0.0-20230826085535-69588b89acb9, golang.org/x/sys v0.47.0, go 1.26.
# Source:   io_ring_ctx_wait_and_kill in io_uring/io_uring.c leaves the end of a ring to a work queue (io_ring_exit_work); the
#           table of registered files, which holds references of its own, goes with it.
# Matters:  a store that registers its files to save a lookup per request is closed and opened again (a test, a reload, a
#           fail-over to a standby in the same process or the next) and finds itself "in use by another process"; a file
#           system cannot be unmounted, a deleted file keeps its space. Unregister and unlock before closing; do not count on
#           Close for what others wait for.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

const rounds = 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// locked opens the file and tries to lock it; it returns nil if somebody has it.
func locked() *os.File {
	f, err := os.OpenFile("LOCK", os.O_CREATE|os.O_RDWR, 0o600)
	must(err)
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		must(f.Close())
		return nil
	}
	return f
}

// held locks the file, gives it back with or without a ring in between, and returns for how long it was still locked.
func held(ring, unlock bool) time.Duration {
	f := locked()
	if f == nil {
		panic("locked by somebody else")
	}
	if ring {
		r, err := giouring.CreateRing(8)
		must(err)
		_, err = r.RegisterFiles([]int{int(f.Fd())})
		must(err)
		r.QueueExit()
	}
	if unlock {
		must(unix.Flock(int(f.Fd()), unix.LOCK_UN))
	}
	must(f.Close())
	closed := time.Now()
	for first := true; ; first = false {
		if g := locked(); g != nil {
			waited := time.Since(closed)
			must(unix.Flock(int(g.Fd()), unix.LOCK_UN))
			must(g.Close())
			if first {
				return 0
			}
			return waited
		}
	}
}

func main() {
	show := func(name string, ring, unlock bool) (refused int) {
		times := make([]time.Duration, rounds)
		for i := range times {
			if times[i] = held(ring, unlock); times[i] > 0 {
				refused++
			}
		}
		slices.Sort(times)
		fmt.Printf("%-40s locked after Close in %2d of %d rounds, median %v, longest %v\n", name, refused, rounds, times[rounds/2], times[rounds-1])
		return refused
	}
	plain := show("without a ring:", false, false)
	ring := show("registered, ring closed:", true, false)
	unlocked := show("registered, ring closed, LOCK_UN first:", true, true)
	if plain != 0 || ring < rounds/2 || unlocked != 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/pawelgaczynski/giouring@v0.0.0-20230826085535-69588b89acb9 golang.org/x/sys@v0.47.0 >/dev/null 2>&1
go run -ldflags=-checklinkname=0 . # giouring takes mmap and munmap from the runtime by name
