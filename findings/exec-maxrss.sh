#!/usr/bin/env bash
# getrusage: the peak memory of a child process is at the least that of the parent at the moment it started the child.
#
# Guess:    ProcessState.SysUsage().Maxrss (wait4, RUSAGE_CHILDREN, also what time -v prints) is the most memory that the child
#           program had resident: some 2 MiB for /bin/true, whoever starts it.
# Instead:  it is the larger of that and of the parent's own peak. A Go program that once had 300 MiB resident measures 300 MiB
#           for /bin/true, even after it has given the memory back. VmHWM in /proc/PID/status, read while the child runs, is
#           that of the child alone.
# Seen:     Linux 6.18, go 1.26.
# Source:   os/exec starts a child with CLONE_VM and CLONE_VFORK: until it calls execve it has the parent's memory. exec_mmap in
#           fs/exec.c folds the peak of the memory that a process leaves into signal->maxrss (setmax_mm_hiwater_rss), and
#           getrusage takes the larger of that and the present one. With fork the child starts at what it has copied.
# Matters:  a benchmark that loads its data, then runs each engine in a process of its own and compares their Maxrss, compares
#           nothing: small ones all come out as the harness. Start children before the parent grows, have each child report
#           VmHWM itself, or put it into a cgroup and read memory.peak.
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
	"runtime/debug"
	"strings"
	"syscall"
)

const large = 300 << 20

// child runs this program as one that prints its own peak, and returns that line and what wait4 says, in MiB.
func child() (own string, maxrss int64) {
	c := exec.Command("/proc/self/exe", "child")
	out, err := c.Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out)), c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
}

func main() {
	if len(os.Args) > 1 {
		status, _ := os.ReadFile("/proc/self/status")
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmHWM") {
				fmt.Print(line)
			}
		}
		return
	}
	own, before := child()
	fmt.Printf("small parent: the child says %s, wait4 says %d MiB\n", own, before)
	b := make([]byte, large)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	b = nil
	debug.FreeOSMemory()
	own, after := child()
	fmt.Printf("parent that has had %d MiB: the child says %s, wait4 says %d MiB\n", large>>20, own, after)
	if before > 100 || after < large>>20 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
uname -sr
go run .
