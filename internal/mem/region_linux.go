//go:build linux && !race

package mem

import (
	"os"
	"unsafe"

	mmap "github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

// protection makes a mapping private. One that is shared would lie in the kernel's shared memory, whose pages madvise
// does not give back.
const protection = mmap.COPY

// adviseHuge asks for huge pages. The kernel refuses where they are switched off: that is slower, not wrong.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }

func (r *Region) release(b []byte) {
	page := os.Getpagesize()
	start := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & uintptr(page-1))
	if start > len(b) {
		start = len(b)
	}
	whole := (len(b) - start) &^ (page - 1)
	clear(b[:start])
	clear(b[start+whole:])
	if whole == 0 {
		return
	}
	if err := unix.Madvise(b[start:start+whole], unix.MADV_DONTNEED); err != nil {
		clear(b[start : start+whole]) // locked memory, for one, is not given back
	}
}

// discard keeps what the kernel does not take, locked memory for one.
func (r *Region) discard(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }

func (r *Region) prefault(b []byte) {
	page := os.Getpagesize()
	// Whole pages around b: touching the neighbours' part of a page changes nothing they could see.
	before := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) & uintptr(page-1))
	p := unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), -before)
	n := (len(b) + before + page - 1) &^ (page - 1)
	// Sound because a mapping is whole pages. Kernels before 5.14 refuse, and then the first touch takes the page.
	_ = unix.Madvise(unsafe.Slice((*byte)(p), n), unix.MADV_POPULATE_WRITE)
}
