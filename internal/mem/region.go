package mem

import (
	"fmt"
	"unsafe"

	"github.com/hybridlog/hybridlog/internal/invariant"
)

const (
	// hugePage is what a huge page is on every machine that matters. Regions of at least that size are aligned to it.
	hugePage = 2 << 20
	// pageAlign is the alignment that every region has in every build, so that direct I/O can use it.
	pageAlign = 4096
)

// Region is a piece of zeroed memory outside the reach of the garbage collector. Its methods are safe from any
// goroutine, except Unmap; who may touch which bytes when is the owner's affair.
type Region struct {
	base  Ptr
	b     []byte // all of it; nil after Unmap
	whole []byte // the mapping that b lies in, as it was made; nil on the heap
}

// Map returns a region of size bytes. It is zero, aligned to a page, and, where it is mapped, to 2 MiB when it is at least
// that large.
// Memory is taken from the system when it is first touched.
func Map(size int) (*Region, error) {
	r, err := MapSparse(size)
	if err == nil {
		r.WantHuge()
	}
	return r, err
}

// MapSparse is Map for a region of which little may ever be touched: the system gives it small pages, until WantHuge.
func MapSparse(size int) (*Region, error) {
	if size <= 0 {
		return nil, fmt.Errorf("mem: cannot map a region of %d bytes", size)
	}
	r := &Region{}
	if err := r.mapMemory(size); err != nil {
		return nil, fmt.Errorf("mem: mapping %d bytes: %w", size, err)
	}
	r.base = Ptr(unsafe.SliceData(r.b))
	return r, nil
}

// Size returns the size in bytes.
func (r *Region) Size() int { return len(r.b) }

// At returns the address of byte off. It is not checked (only in the invariants build): off must be less than Size.
func (r *Region) At(off uintptr) Ptr {
	if invariant.Enabled && off >= uintptr(len(r.b)) {
		invariant.Check(false, "mem: offset %d in a region of %d bytes", off, len(r.b))
	}
	// Sound because off lies inside the region.
	return unsafe.Add(r.base, off)
}

// Bytes returns the n bytes from off on, which share the region's memory. It panics when they are not inside.
func (r *Region) Bytes(off, n int) []byte { return r.b[off : off+n : off+n] }

// Release gives the n bytes from off on back to the system; they read as zero after. Nobody may touch them meanwhile.
func (r *Region) Release(off, n int) {
	if n > 0 {
		r.release(r.Bytes(off, n))
	}
}

// Discard gives the n bytes from off on, whole pages, back to the system if it takes them. Unlike with Release others may
// still be reading there: they find what was there, or zero.
func (r *Region) Discard(off, n int) {
	if n > 0 {
		r.discard(r.Bytes(off, n))
	}
}

// Prefault takes the n bytes from off on from the system ahead of use. Best effort: it changes nothing but speed.
func (r *Region) Prefault(off, n int) {
	if n > 0 {
		r.prefault(r.Bytes(off, n))
	}
}

// Unmap gives everything back. Touching the region afterwards is a fault, except that a second Unmap does nothing.
func (r *Region) Unmap() error {
	if r.b == nil {
		return nil
	}
	err := r.unmapMemory()
	r.base, r.b, r.whole = nil, nil, nil
	if err != nil {
		return fmt.Errorf("mem: unmapping: %w", err)
	}
	return nil
}
