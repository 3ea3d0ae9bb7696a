#!/usr/bin/env bash
# madvise: advice of the lasting kind cuts the mapping into regions, two for each page that it is given for, and the process
# has some 65,000.
#
# Guess:    MADV_RANDOM, MADV_SEQUENTIAL and MADV_DONTDUMP are hints for a range, as MADV_WILLNEED and MADV_DONTNEED are: they
#           cost a call, and may be given for as many ranges as one likes.
# Instead:  they are kept in the region that the kernel has for the mapping, which is split at the borders of the range: every
#           other page of 8 MiB advised, and one line of /proc/self/maps has become 2,048. MADV_WILLNEED, MADV_COLD and
#           MADV_DONTNEED, which are done at once, leave one. MADV_NORMAL for the whole makes it one again. At
#           vm.max_map_count (65,530 unless set) the advice is ENOMEM, as is from then on any call of the process that needs
#           one more region, be it for memory.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   madvise_vma_behavior in mm/madvise.c sets flags of the vma, by way of vma_modify_flags, which splits and merges.
# Matters:  a mapped log or index of 100 GiB in which hot or cold blocks are advised by themselves reaches the limit with some
#           30,000 blocks, and then every allocator of the process is refused as well, which is where it shows. Each fault looks
#           for its region among that many. Advise in large runs that are neighbours, or use posix_fadvise, which keeps nothing
#           in the mapping.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const pages = 2048

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// regions returns how many regions the mappings of the file have.
func regions(name string) int {
	maps, err := os.ReadFile("/proc/self/maps")
	must(err)
	return bytes.Count(maps, []byte(name))
}

func main() {
	page := os.Getpagesize()
	f, err := os.Create("mapped-file")
	must(err)
	must(f.Truncate(int64(pages * page)))
	fine := true
	for _, c := range []struct {
		name   string
		advice int
		splits bool
	}{
		{"MADV_RANDOM", unix.MADV_RANDOM, true},
		{"MADV_SEQUENTIAL", unix.MADV_SEQUENTIAL, true},
		{"MADV_DONTDUMP", unix.MADV_DONTDUMP, true},
		{"MADV_WILLNEED", unix.MADV_WILLNEED, false},
		{"MADV_COLD", unix.MADV_COLD, false},
		{"MADV_DONTNEED", unix.MADV_DONTNEED, false},
	} {
		mapped, err := unix.Mmap(int(f.Fd()), 0, pages*page, unix.PROT_READ, unix.MAP_SHARED)
		must(err)
		before := regions("mapped-file")
		for i := 0; i < pages; i += 2 {
			must(unix.Madvise(mapped[i*page:(i+1)*page], c.advice))
		}
		after := regions("mapped-file")
		must(unix.Madvise(mapped, unix.MADV_NORMAL))
		must(unix.Madvise(mapped, unix.MADV_DODUMP))
		fmt.Printf("%-15s for every other page of %d: %d region before, %4d after, %d after MADV_NORMAL and MADV_DODUMP for all\n",
			c.name, pages, before, after, regions("mapped-file"))
		fine = fine && before == 1 && (after > pages*3/4) == c.splits && regions("mapped-file") == 1
		must(unix.Munmap(mapped))
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
go run .
