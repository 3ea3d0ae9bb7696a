//go:build !linux && !race && (unix || windows)

package mem

import mmap "github.com/edsrzf/mmap-go"

func (r *Region) mapMemory(size int) error {
	m, err := mmap.MapRegion(nil, size, mmap.RDWR, mmap.ANON, 0)
	if err != nil {
		return err
	}
	r.b = m
	return nil
}

// release only clears: what gives pages back differs from system to system, and none of them is first class here.
func (r *Region) release(b []byte) { clear(b) }

func (r *Region) prefault([]byte) {}

func (r *Region) unmapMemory() error {
	m := mmap.MMap(r.b)
	return m.Unmap()
}
