#!/usr/bin/env bash
# mmap-go: memory mapped with ANON is shared memory, not a process' own.
#
# Guess:    an anonymous region is what malloc would take: private, counted as anonymous, with huge pages where
#           /sys/kernel/mm/transparent_hugepage/enabled allows them, and MADV_FREE gives it back lazily.
# Instead:  on Unix systems ANON alone is MAP_SHARED|MAP_ANON: the kernel makes a file in its tmpfs for it. The pages count as
#           RssShmem, MADV_FREE is refused with EINVAL, and huge pages follow shmem_enabled, which says never by default.
#           With COPY as the protection the region is private and behaves as guessed.
# Seen:     mmap-go v1.2.0, Linux 6.18, go 1.26.
# Source:   mmap_unix.go begins with MAP_SHARED and leaves it only for COPY; madvise(2) on MADV_FREE.
# Matters:  an arena of gigabytes loses its huge pages (a random access costs a TLB miss more), cannot be given back lazily,
#           and shows in a container's memory as shmem, which is not reclaimed without swap. Nothing says so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

const size = 64 << 20

// shared returns how much shared memory the process has, in bytes.
func shared() (kib int) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, after, _ := strings.Cut(string(status), "RssShmem:")
	fmt.Sscan(after, &kib)
	return kib << 10
}

// region maps memory, touches it, and says what it is.
func region(protection int) (isShared bool, free error) {
	m, err := mmap.MapRegion(nil, size, protection, mmap.ANON, 0)
	if err != nil {
		panic(err)
	}
	defer m.Unmap()
	before := shared()
	for i := 0; i < size; i += 4096 {
		m[i] = 1
	}
	return shared()-before >= size, unix.Madvise(m, unix.MADV_FREE)
}

func main() {
	isShared, free := region(mmap.RDWR)
	fmt.Printf("RDWR: shared memory %v, MADV_FREE: %v\n", isShared, free)
	private, alsoFree := region(mmap.COPY)
	fmt.Printf("COPY: shared memory %v, MADV_FREE: %v\n", private, alsoFree)
	if !isShared || free != unix.EINVAL || private || alsoFree != nil {
		fmt.Println("changed")
		os.Exit(1)
	}
}
EOF
go mod init finding >/dev/null 2>&1
go get github.com/edsrzf/mmap-go@v1.2.0 golang.org/x/sys@v0.36.0 >/dev/null 2>&1
go run .
