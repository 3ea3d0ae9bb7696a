#!/usr/bin/env bash
# A byte that is stored through a shared mapping writes a whole large folio, and write_bytes counts that also for pwrite,
# which does not.
#
# Guess:    a page of 4 KiB is what gets dirty and is written, by pwrite as through a mapping: 32 bytes in 32 distant pages
#           are 128 KiB, and write_bytes in /proc/self/io says so.
# Instead:  a file of 64 MiB that was read in order lies in the cache in folios of up to 2 MiB. 32 bytes stored through a
#           mapping, one in each 2 MiB, then msync or fsync: the disk got 40 MiB. 32 bytes by pwrite: the disk got some 130
#           KiB, while write_bytes and cachestat's dirty pages said 40 MiB. After FADV_RANDOM, with which the cache is filled
#           page by page, both wrote 128 KiB.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   what a mapping has dirtied is a folio, and block_page_mkwrite and block_dirty_folio in fs/buffer.c make all of its
#           buffers dirty; write(2) only those that it covers. folio_account_dirtied in mm/page-writeback.c counts the whole
#           folio in both cases. ext4 has large folios since Linux 6.16.
# Matters:  a hash index or a table of pages that is mapped and updated in place writes hundreds of times what it changed,
#           after an upgrade of the kernel, and depending on how the file came into the cache: as much more wear, and as much
#           longer a checkpoint. And write amplification that is measured by write_bytes is wrong by as much for those who use
#           pwrite. Map files with FADV_RANDOM before they are read, or write with pwrite; measure at the device.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
kind=$(stat -f -c %T .)
case $kind in
ext2/ext3) ;; # what stat calls ext4
*) echo "TMPDIR is on $kind: this needs ext4"; exit 2 ;;
esac
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	size  = 64 << 20
	apart = 2 << 20 // between two bytes that are changed
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// device returns how many KiB the disk of the file has written, for whomever.
func device(f *os.File) int {
	var st unix.Stat_t
	must(unix.Fstat(int(f.Fd()), &st))
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev)))
	must(err)
	var counts [7]int // reads, merged, sectors, ms, writes, merged, sectors
	for i, field := range strings.Fields(string(b))[:len(counts)] {
		fmt.Sscan(field, &counts[i])
	}
	return counts[6] / 2
}

// process returns how many KiB this process has written, as the kernel counts it.
func process() (n int) {
	b, err := os.ReadFile("/proc/self/io")
	must(err)
	_, rest, _ := bytes.Cut(b, []byte("\nwrite_bytes: "))
	fmt.Sscan(string(rest), &n)
	return n >> 10
}

func main() {
	f, err := os.Create("file")
	must(err)
	fd := int(f.Fd())
	block := bytes.Repeat([]byte("x"), 1<<20)
	for range size / len(block) {
		_, err := f.Write(block)
		must(err)
	}
	must(f.Sync())
	mapped, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)

	// run changes a byte in each 2 MiB, syncs, and returns the least that was written in five rounds: others use the disk, too.
	run := func(advice int, change func(offset int64)) (disk, counted int) {
		for round := range 5 {
			must(unix.Madvise(mapped, unix.MADV_DONTNEED))
			must(unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
			must(unix.Fadvise(fd, 0, 0, advice))
			for offset := int64(0); offset < size; offset += int64(len(block)) {
				_, err := f.ReadAt(block, offset)
				must(err)
			}
			before, mine := device(f), process()
			for offset := int64(4096); offset < size; offset += apart {
				change(offset)
			}
			must(unix.Msync(mapped, unix.MS_SYNC))
			must(f.Sync())
			d, c := device(f)-before, process()-mine
			if round == 0 || d < disk {
				disk = d
			}
			if round == 0 || c < counted {
				counted = c
			}
		}
		return disk, counted
	}
	value := byte(0)
	store := func(offset int64) { value++; mapped[offset] = value }
	write := func(offset int64) {
		value++
		_, err := f.WriteAt([]byte{value}, offset)
		must(err)
	}
	storedDisk, stored := run(unix.FADV_NORMAL, store)
	writtenDisk, written := run(unix.FADV_NORMAL, write)
	smallDisk, small := run(unix.FADV_RANDOM, store)
	fmt.Printf("%d bytes in %d pages, KiB written by the disk, and by write_bytes:\n", size/apart, size/apart)
	fmt.Printf("through a mapping:        %6d %6d\nby pwrite:                %6d %6d\nmapping, small folios:    %6d %6d\n",
		storedDisk, stored, writtenDisk, written, smallDisk, small)
	if storedDisk < 16<<10 || stored < 16<<10 || writtenDisk > 8<<10 || written < 16<<10 || smallDisk > 8<<10 || small > 1024 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
go run .
