//go:build linux && !race

package mem

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (r *Region) mapMemory(size int) error {
	length := uintptr(size)
	slack := uintptr(0)
	if size >= hugePage {
		// The kernel promises only page alignment: map more and cut both ends off.
		slack = hugePage
	}
	page := uintptr(os.Getpagesize())
	length = (length + page - 1) &^ (page - 1)
	const flags = unix.MAP_ANON | unix.MAP_PRIVATE | unix.MAP_NORESERVE
	p, err := unix.MmapPtr(-1, 0, nil, length+slack, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return err
	}
	if slack > 0 {
		head := -uintptr(p) & (hugePage - 1)
		p, err = trim(p, head, length, slack)
		if err != nil {
			return err
		}
	}
	// Sound because the mapping has length >= size bytes and lives until unmapMemory.
	r.b = unsafe.Slice((*byte)(p), size)
	if size >= hugePage {
		// Refused where huge pages are switched off: slower, not wrong.
		_ = unix.Madvise(r.b, unix.MADV_HUGEPAGE)
	}
	return nil
}

// trim cuts head bytes from the front of a mapping of length+slack bytes at p, and what remains of slack from its
// end.
func trim(p Ptr, head, length, slack uintptr) (Ptr, error) {
	// Sound: all three pieces lie inside the mapping.
	if head > 0 {
		if err := unix.MunmapPtr(p, head); err != nil {
			return nil, err
		}
	}
	p = unsafe.Add(p, head)
	if rest := slack - head; rest > 0 {
		if err := unix.MunmapPtr(unsafe.Add(p, length), rest); err != nil {
			return nil, err
		}
	}
	return p, nil
}

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

func (r *Region) prefault(b []byte) {
	page := os.Getpagesize()
	// Whole pages around b: touching the neighbours' part of a page changes nothing they could see.
	before := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) & uintptr(page-1))
	p := unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), -before)
	n := (len(b) + before + page - 1) &^ (page - 1)
	// Sound because a mapping is whole pages. Kernels before 5.14 refuse, and then the first touch takes the page.
	_ = unix.Madvise(unsafe.Slice((*byte)(p), n), unix.MADV_POPULATE_WRITE)
}

func (r *Region) unmapMemory() error {
	page := os.Getpagesize()
	return unix.MunmapPtr(r.base, uintptr((len(r.b)+page-1)&^(page-1)))
}
