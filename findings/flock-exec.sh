#!/usr/bin/env bash
# flock: closing the file gives the lock back only when no child is between fork and exec. A program that starts other
# programs may find its own directory locked, right after it has closed it.
#
# Guess:    Go opens files close-on-exec, so nobody else has the descriptor, and Close frees the lock: open, flock, close,
#           over and over, is never refused by anything that the same program does elsewhere.
# Instead:  while another goroutine runs exec.Command in a loop, a tenth to a third of the attempts were EWOULDBLOCK. A child
#           has copies of all descriptors from its fork until its exec, and a lock of flock lives as long as the last copy;
#           close-on-exec takes effect at the exec. With LOCK_UN before Close not one was refused: that frees the lock for all
#           copies.
# Seen:     Linux 6.18, go 1.26, golang.org/x/sys v0.47.0.
# Source:   flock(2) on duplicated descriptors; forkAndExecInChild1 in syscall/exec_linux.go clones without CLONE_FILES, and
#           Close does not take syscall.ForkLock.
# Matters:  a store that is closed and opened again (a test, a restore, a reload) fails by chance as being "in use by another
#           process" when anything in the program, a health check say, starts a process. Unlock, then close. Badger v4.9.6
#           only closes.
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
	"time"

	"golang.org/x/sys/unix"
)

// lock locks the file and gives it back, and reports whether somebody else had it.
func lock(unlock bool) (refused bool) {
	f, err := os.OpenFile("LOCK", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return true
	} else if err != nil {
		panic(err)
	}
	if unlock {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
			panic(err)
		}
	}
	return false
}

// starting starts one program after the other until stop is called.
func starting() (stop func()) {
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stopping:
				return
			default:
				if err := exec.Command("true").Run(); err != nil {
					panic(err)
				}
			}
		}
	}()
	return func() { close(stopping); <-stopped }
}

func main() {
	stop := starting()
	var tries, refused, refusedUnlocked int
	for begin := time.Now(); time.Since(begin) < 2*time.Second || refused == 0 && time.Since(begin) < time.Minute; tries++ {
		if lock(false) {
			refused++
		}
	}
	stop() // what a child still has of the last descriptor is no matter of the other way
	stop = starting()
	for range tries {
		if lock(true) {
			refusedUnlocked++
		}
	}
	stop()
	fmt.Printf("%d times locked and closed: %d refused; unlocked before it was closed: %d refused\n", tries, refused, refusedUnlocked)
	if refused == 0 || refusedUnlocked != 0 {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
go run .
