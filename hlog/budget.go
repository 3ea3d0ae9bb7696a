package hlog

import (
	"sync/atomic"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
)

// budget divides Options.MemoryBytes. The index takes what it needs, up to half; while it grows, the old and the new
// table together may take three quarters. What the index does not hold is frames and the cache of cold records. Flush buffers
// and the readers' buffers are set aside first.
type budget struct {
	total int64
	fixed int64 // buffers
	// readers is what the buffers of the calls that read ahead may take, of fixed.
	readers int64
	index   atomic.Int64 // held by the index
	cache   atomic.Int64 // held by the cache of cold records
}

const (
	minReaderBytes = 256 << 10
	maxReaderBytes = 8 << 20
	cacheShare     = 8 // an eighth
)

func newBudget(o Options) *budget {
	b := &budget{total: o.MemoryBytes}
	// A 32nd of a small memory, a 64th of a large one.
	b.readers = min(o.MemoryBytes/32, max(o.MemoryBytes/64, minReaderBytes), maxReaderBytes)
	b.fixed = reclog.FlushPieces*int64(o.PageBytes) + b.readers
	return b
}

// indexMax returns the most that the index may hold: while it doubles, both tables count.
func (b *budget) indexMax() int64 { return (b.total - b.fixed) / 4 * 3 }

// reserve is the index's index.Config.Reserve: it counts memory that is taken or given back. It never refuses: what
// may be refused the index does not take beyond indexMax, and the rest it cannot do without.
func (b *budget) reserve(delta int64) { b.index.Add(delta) }

// sizeCache gives the cache of cold records its memory, once the log has spilled.
func (s *Store) sizeCache() {
	if s.cache == nil || s.memory.cache.Load() > 0 {
		return
	}
	n := (s.memory.total - s.memory.fixed) / cacheShare
	s.memory.cache.Store(n)
	s.cache.Resize(n)
}

// frames returns how many bytes of frames may be resident.
func (b *budget) frames() int64 {
	return b.total - b.fixed - b.index.Load() - b.cache.Load()
}
