package reclog

import "github.com/hybridlog/hybridlog/internal/mem"

// HugeBuffer is the unit of the memory that pieces are written from where there is enough of it: a huge page. A device is
// given memory by stretches that follow one another, and it takes one of 64 KiB in about half the time of sixteen of a small
// page each. The heap has small pages.
const HugeBuffer = 2 << 20

// hugeFlush is how much a flush writes at the least for a huge page to be taken: the first touch of one costs a tenth of a
// millisecond, and memory that a store without much to write does not need.
const hugeFlush = 256 << 10

// BufferBytes returns what the buffers of so many pieces of log take, of a page each: with huge, in whole huge pages.
func BufferBytes(pieces int, page int64, huge bool) int64 {
	n := int64(pieces) * page
	if huge {
		n = (n + HugeBuffer - 1) / HugeBuffer * HugeBuffer
	}
	return n
}

// buffers is the memory of a flusher's pieces.
type buffers struct {
	heap [maxPieces][]byte // of a page each; nil: not taken yet
	huge *mem.Region       // nil: the pieces have those of the heap
}

// piece returns the buffer of piece i.
func (b *buffers) piece(i int, page uint64) []byte {
	if b.huge != nil {
		return b.huge.Bytes(i*int(page), int(page))
	}
	if b.heap[i] == nil {
		b.heap[i] = mem.AlignedBytes(int(page), BlockBytes)
	}
	return b.heap[i]
}

// fit lets go of the buffers from piece n on, and takes or gives back huge pages. Without those the heap does. No buffer is in
// use.
func (b *buffers) fit(n int, page uint64, huge bool) {
	bytes := BufferBytes(n, int64(page), true)
	if b.huge != nil && (!huge || int64(b.huge.Size()) != bytes) {
		b.free()
	}
	if huge && b.huge == nil {
		b.huge, _ = mem.Map(int(bytes))
	}
	if b.huge != nil {
		n = 0
	}
	clear(b.heap[n:])
}

// free gives the huge pages back. No buffer is in use.
func (b *buffers) free() {
	if b.huge != nil {
		_ = b.huge.Unmap() // nothing depends on it
		b.huge = nil
	}
}
