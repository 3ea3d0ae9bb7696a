package hlog

import "sync/atomic"

// budget divides Options.MemoryBytes. The index takes what it needs, up to half; while it grows, the old and the new
// table together may take three quarters. What the index does not hold is frames and the read cache. Flush buffers
// and the readers' buffers are set aside first.
type budget struct {
	total int64
	fixed int64        // buffers
	index atomic.Int64 // held by the index
	cache atomic.Int64 // held by the read cache
}

const (
	readerBufferBytes = 256 << 10
	cacheShare        = 8 // an eighth
)

func newBudget(o Options) *budget {
	b := &budget{total: o.MemoryBytes}
	b.fixed = flushWriters*int64(o.PageBytes) + min(readerBufferBytes, o.MemoryBytes/32)
	return b
}

// indexMax returns the most that the index may hold: while it doubles, both tables count.
func (b *budget) indexMax() int64 { return (b.total - b.fixed) / 4 * 3 }

// reserve is the index's index.Config.Reserve: it counts memory that is taken or given back. It never refuses: what
// may be refused the index does not take beyond indexMax, and the rest it cannot do without.
func (b *budget) reserve(delta int64) { b.index.Add(delta) }

// sizeCache gives the read cache its memory, once the log has spilled.
func (s *Store) sizeCache() {
	if s.cache == nil || s.memory.cache.Load() > 0 {
		return
	}
	n := (s.memory.total - s.memory.fixed) / cacheShare
	s.memory.cache.Store(n)
	s.cache.resize(n)
}

// frames returns how many bytes of frames may be resident.
func (b *budget) frames() int64 {
	return b.total - b.fixed - b.index.Load() - b.cache.Load()
}
