//go:build !race && (unix || windows)

package mem

import (
	"syscall"
	"unsafe"

	mmap "github.com/edsrzf/mmap-go"
)

func (r *Region) mapMemory(size int) error {
	length := size
	if size >= hugePage {
		// The system promises only page alignment. What is mapped on top is never touched, so that it takes addresses
		// and no memory; it stays because a mapping has to be given back as it was made.
		length += hugePage
	}
	if length < size {
		return syscall.ENOMEM
	}
	m, err := mmap.MapRegion(nil, length, protection, mmap.ANON, 0)
	if err != nil {
		return err
	}
	r.whole = m
	at := 0
	if size >= hugePage {
		at = int(-uintptr(unsafe.Pointer(unsafe.SliceData(r.whole))) & (hugePage - 1))
	}
	r.b = r.whole[at : at+size : at+size]
	return nil
}

func (r *Region) unmapMemory() error {
	m := mmap.MMap(r.whole)
	return m.Unmap()
}

// WantHuge asks the system for huge pages wherever the region has not been touched yet, if it has a huge page's size. Best
// effort: it changes nothing but speed.
func (r *Region) WantHuge() {
	if len(r.b) >= hugePage {
		adviseHuge(r.b)
	}
}
