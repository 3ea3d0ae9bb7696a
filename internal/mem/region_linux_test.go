//go:build linux && !race

package mem

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pagesThere returns how many pages of b are in memory.
func pagesThere(t *testing.T, b []byte) (n int) {
	t.Helper()
	there := make([]byte, len(b)/os.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		uintptr(unsafe.Pointer(unsafe.SliceData(there))))
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range there {
		n += int(p & 1)
	}
	return n
}

func TestMap_LargeRegionsAreAlignedToHugePages(t *testing.T) {
	for _, size := range []int{hugePage, hugePage + 1, 5<<20 + 123, 64 << 20} {
		r := mustMap(t, size)
		if p := uintptr(r.At(0)); p%hugePage != 0 {
			t.Errorf("a region of %d bytes begins at %#x", size, p)
		}
	}
}

func TestMap_TakesMemoryWhenItIsTouched(t *testing.T) {
	const size = 8 << 20
	r := mustMap(t, size)
	if n := pagesThere(t, r.whole); n != 0 {
		t.Errorf("%d pages are there before the first touch", n)
	}
	r.Prefault(0, size)
	if n := pagesThere(t, r.b); n != 0 && n != size/os.Getpagesize() { // 0: a kernel that cannot
		t.Errorf("%d pages after Prefault, want all %d", n, size/os.Getpagesize())
	}
	clear(r.Bytes(0, size))
	if n, want := pagesThere(t, r.whole[:size+hugePage]), size/os.Getpagesize(); n != want {
		t.Errorf("%d pages after every byte was touched, want %d: none beside the region", n, want)
	}
	r.Release(0, size)
	if n := pagesThere(t, r.b); n != 0 {
		t.Errorf("%d pages are still there after Release", n)
	}
}

// Every byte of address space that a region took is given back, also what was taken to align it.
func TestRegion_UnmapLeavesNoMapping(t *testing.T) {
	mapped := func() (pages int) {
		b, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Skip(err)
		}
		if _, err := fmt.Sscan(strings.Fields(string(b))[0], &pages); err != nil {
			t.Fatal(err)
		}
		return pages
	}
	const rounds = 500
	before := mapped()
	for range rounds {
		r, err := Map(3 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Unmap(); err != nil {
			t.Fatal(err)
		}
	}
	if grown := (mapped() - before) * os.Getpagesize(); grown >= rounds*hugePage/2 {
		t.Errorf("%d regions left %d bytes of addresses", rounds, grown)
	}
}

func BenchmarkMap_FirstTouch(b *testing.B) {
	for _, size := range []int{64 << 10, 4 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				r, err := Map(size)
				if err != nil {
					b.Fatal(err)
				}
				for off := 0; off < size; off += 4096 {
					r.b[off] = 1
				}
				if err := r.Unmap(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
