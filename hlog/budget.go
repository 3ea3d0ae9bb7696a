package hlog

import (
	"sync/atomic"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
)

// budget divides Options.MemoryBytes. The index takes what it needs, up to half; while it grows, the old and the new
// table together may take three quarters. What the index does not hold is frames and the cache of cold records. Flush buffers
// and the readers' buffers are set aside first.
type budget struct {
	total int64 // the most there is
	fixed int64 // buffers
	// readers is what the buffers of the calls that read ahead may take, of fixed.
	readers int64
	index   atomic.Int64 // held by the index
	cache   atomic.Int64 // held by the cache of cold records

	shared *Budget      // nil: the store has total for itself
	kick   func()       // has the pager look at the regions again
	used   int64        // of shared.mu: bytes that the store uses
	wanted int64        // of shared.mu: bytes that it would use if there were enough
	level  atomic.Int64 // what shared has granted last
}

const (
	minReaderBytes = 256 << 10
	maxReaderBytes = 8 << 20
	cacheShare     = 8 // an eighth
)

func newBudget(o Options) *budget {
	b := &budget{total: o.MemoryBytes, shared: o.Shared}
	b.level.Store(o.MemoryBytes)
	// A 32nd of a small memory, a 64th of a large one.
	b.readers = min(o.MemoryBytes/32, max(o.MemoryBytes/64, minReaderBytes), maxReaderBytes)
	b.fixed = reclog.FlushPieces*int64(o.PageBytes) + b.readers
	return b
}

// indexMax returns the most that the index may hold: while it doubles, both tables count.
func (b *budget) indexMax() int64 { return max(b.limit()-b.fixed, b.fixed) / 4 * 3 }

// limit returns the most that the store may use now.
func (b *budget) limit() int64 { return b.level.Load() }

// reserve is the index's index.Config.Reserve: it counts memory that is taken or given back. It never refuses: what
// may be refused the index does not take beyond indexMax, and the rest it cannot do without.
func (b *budget) reserve(delta int64) { b.index.Add(delta) }

// sizeCache gives the cache of cold records its memory, once the log has spilled.
func (s *Store) sizeCache() {
	if s.cache == nil || s.memory.cache.Load() > 0 {
		return
	}
	n := max(s.memory.limit()-s.memory.fixed, 0) / cacheShare
	s.memory.cache.Store(n)
	s.cache.Resize(n)
}

// frames returns how many bytes of frames may be resident, of a log that has so many and would have as many as wanted.
func (b *budget) frames(used, wanted int64) int64 {
	others := b.fixed + b.index.Load() + b.cache.Load()
	if b.shared == nil {
		return b.total - others
	}
	// Buffers are counted once pages are written: an idle store has none.
	held := others - b.fixed + used
	if wanted > used {
		held += b.fixed
	}
	bytes, givers := b.shared.grant(b, held, others+wanted)
	b.level.Store(bytes)
	for _, g := range givers {
		g.kick()
	}
	return bytes - others
}

// join begins to share the budget, if that is shared; kick has the pager look at the regions again.
func (b *budget) join(kick func()) {
	b.kick = kick
	if b.shared != nil {
		b.shared.join(b)
	}
}

// leave gives everything back to those who share the budget.
func (b *budget) leave() {
	if b.shared != nil {
		b.shared.leave(b)
	}
}
