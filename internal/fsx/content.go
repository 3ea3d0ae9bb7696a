package fsx

import (
	"maps"
	"slices"
	"sort"
)

// SectorSize is the unit, in bytes, in which a disk keeps or loses what was not synced: it never tears a sector,
// unless [Crash] asks for that too.
const SectorSize = 512

// content is what one file holds at one time: sparse, and shared with its copies block by block until one of them
// writes. Bytes past size are zero, whether their block is there or not.
type content struct {
	blocks map[int64]*block // by offset / BlockSize; a missing one is zero
	alloc  spans            // blocks that take space, whether they are in the map or not
	size   int64
	owner  *owner
}

// block is written in place only by the content that owns it.
type block struct {
	owner *owner
	data  [BlockSize]byte
}

// owner is an identity. It is not empty, because pointers to empty values may all be equal.
type owner struct{ _ byte }

func newContent() content { return content{blocks: map[int64]*block{}, owner: new(owner)} }

// copy returns the same content once more. Afterwards neither owns the blocks they share.
func (m *content) copy() content {
	m.owner = new(owner)
	return content{blocks: maps.Clone(m.blocks), alloc: slices.Clone(m.alloc), size: m.size, owner: new(owner)}
}

// read fills p with the bytes from off on, zero where there are none. It knows no end.
func (m *content) read(p []byte, off int64) {
	for len(p) > 0 {
		in := off % BlockSize
		n := min(int64(len(p)), BlockSize-in)
		if b := m.blocks[off/BlockSize]; b != nil {
			copy(p[:n], b.data[in:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

// write puts p at off. It leaves the size alone.
func (m *content) write(p []byte, off int64) {
	m.alloc.add(blocksOf(off, int64(len(p))))
	for len(p) > 0 {
		in := off % BlockSize
		n := min(int64(len(p)), BlockSize-in)
		copy(m.own(off / BlockSize).data[in:], p[:n])
		p, off = p[n:], off+n
	}
}

// own returns block i, made or copied so that it may be written.
func (m *content) own(i int64) *block {
	b := m.blocks[i]
	if b == nil {
		b = &block{owner: m.owner}
		m.blocks[i] = b
	} else if b.owner != m.owner {
		b = &block{owner: m.owner, data: b.data}
		m.blocks[i] = b
	}
	return b
}

// truncate sets the size and makes everything past it zero.
func (m *content) truncate(size int64) {
	m.size = size
	end := (size + BlockSize - 1) / BlockSize
	m.alloc.cut(end)
	for i := range m.blocks {
		if i >= end {
			delete(m.blocks, i)
		}
	}
	if in := size % BlockSize; in != 0 && m.blocks[size/BlockSize] != nil {
		clear(m.own(size / BlockSize).data[in:])
	}
}

// span is the blocks from, from+1, … to-1.
type span struct{ from, to int64 }

// blocksOf returns the blocks that the n bytes at off touch.
func blocksOf(off, n int64) span {
	if n == 0 {
		return span{}
	}
	return span{off / BlockSize, (off + n + BlockSize - 1) / BlockSize}
}

// spans is a set of blocks: sorted, disjoint, not adjacent, none empty.
type spans []span

// missing returns how many blocks of s are not in the set.
func (v spans) missing(s span) int64 {
	n := s.to - s.from
	for i := v.search(s.from); i < len(v) && v[i].from < s.to; i++ {
		n -= min(v[i].to, s.to) - max(v[i].from, s.from)
	}
	return n
}

// search returns the index of the first span that ends after block b.
func (v spans) search(b int64) int {
	return sort.Search(len(v), func(i int) bool { return v[i].to > b })
}

// add puts s into the set.
func (v *spans) add(s span) {
	if s.from >= s.to {
		return
	}
	i := v.search(s.from - 1) // one block earlier, to meet a span that ends where s begins
	j := i
	for ; j < len(*v) && (*v)[j].from <= s.to; j++ {
		s.from, s.to = min(s.from, (*v)[j].from), max(s.to, (*v)[j].to)
	}
	*v = slices.Replace(*v, i, j, s)
}

// cut takes all blocks from end on out of the set.
func (v *spans) cut(end int64) {
	i := v.search(end)
	if i < len(*v) && (*v)[i].from < end {
		(*v)[i].to = end
		i++
	}
	*v = (*v)[:i:i]
}

// count returns how many blocks are in the set.
func (v spans) count() int64 {
	var n int64
	for _, s := range v {
		n += s.to - s.from
	}
	return n
}
