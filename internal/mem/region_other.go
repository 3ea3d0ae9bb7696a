//go:build !linux && !race && (unix || windows)

package mem

import mmap "github.com/edsrzf/mmap-go"

// protection is that of memory which no file backs.
const protection = mmap.RDWR

func adviseHuge([]byte) {}

// release only clears: what gives pages back differs from system to system, and none of these is first class here.
func (r *Region) release(b []byte) { clear(b) }

func (r *Region) discard([]byte) {}

func (r *Region) prefault([]byte) {}
