package hlog

import (
	"sync/atomic"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/internal/word"
)

// budget divides Options.MemoryBytes. The index takes what it needs, up to half; while it grows, the old and the new
// table together may take three quarters. What the index does not hold is frames and the cache of cold records. Flush buffers
// and the readers' buffers are set aside first.
//
// Frames and cache share by use (sizeCache). A record that is changed needs a frame for a while, so that it is changed in
// place; for reading it the cache is better, which has room for those that were used and for no others. So where records
// that are not in memory are asked for, the frames keep a quarter, and the cache the rest; where hardly
// anything is changed they keep next to nothing, and in a load that only writes most.
type budget struct {
	total int64 // the most there is
	fixed int64 // buffers
	// readers is what the buffers of the calls that read ahead may take, of fixed.
	readers int64
	index   atomic.Int64 // held by the index
	cache   atomic.Int64 // held by the cache of cold records
	ahead   atomic.Int64 // held by the prefetcher
	triples func() int64 // held by the index on disk, of log that no run stands for
	cold    atomic.Int64 // held by what is known of cold files, and by a demotion

	shared *Budget      // nil: the store has total for itself
	kick   func()       // has the pager look at the regions again
	used   int64        // of shared.mu: bytes that the store uses
	wanted int64        // of shared.mu: bytes that it would use if there were enough
	level  atomic.Int64 // what shared has granted last

	sharing sharing // of the job that sizes the cache
	keeper  keeper  // of the pager
}

const (
	minReaderBytes = 256 << 10
	maxReaderBytes = 8 << 20

	// The cache has minCacheShare to maxCacheShare of cacheShares of what index and buffers leave, but leaves the frames
	// leastFrames pages.
	cacheShares   = 16
	minCacheShare = 2
	midCacheShare = 12 // where records are read and changed
	maxCacheShare = 15
	shareStep     = 2
	leastFrames   = 12
)

func newBudget(o Options) *budget {
	b := &budget{total: o.MemoryBytes, shared: o.Shared, triples: func() int64 { return 0 }}
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

// sharing is how frames and cache share memory, and what has been asked of the store since that was decided.
type sharing struct {
	share   int64  // of cacheShares; 0 as long as the log fits into memory
	lookups uint64 // of records that were not in memory, when it was decided
	tail    uint64 // of the log, then
}

// sizeCache is a round of dividing memory between frames and cache.
func (s *Store) sizeCache() {
	b, l := s.memory, s.log
	room := b.room()
	if s.cache == nil || b.sharing.share == 0 && !s.readsDisk(room) {
		return
	}
	s.decideShare(room)
	want := min(room*b.sharing.share/cacheShares, max(room-leastFrames*int64(l.PageBytes()), room*minCacheShare/cacheShares))
	have := b.cache.Load()
	if abs(want-have) < room*shareStep/(2*cacheShares) {
		return // moving what is in the cache takes time
	}
	b.cache.Store(max(want, have))
	l.Kick() // the frames shrink first
	s.cache.Resize(want, min(l.MeanRecord(), slotRecord))
	b.cache.Store(want)
	l.Kick()
}

// readsDisk reports whether operations have to read records from the disk for which frames may take room bytes: the log does
// not fit, warming has left a part of it on disk, or there is a tier below it.
func (s *Store) readsDisk(room int64) bool {
	l := s.log
	return s.cold.standing.Load() != nil || l.Tail()-l.Begin() > uint64(room) || s.warmed.Load() && l.Head() > l.Begin()
}

// room returns how many bytes frames and cache may take together.
func (b *budget) room() int64 {
	return max(b.limit()-b.fixed-b.index.Load()-b.ahead.Load()-b.triples()-b.cold.Load(), 0)
}

// slotRecord is the largest size that records are taken to have for the number that a cache can hold: where sizes differ
// there may be many more than the mean size says.
const slotRecord = 256

// decideShare moves the share of the cache by one step when enough has happened since the last one.
func (s *Store) decideShare(room int64) {
	h, mean := &s.memory.sharing, int64(max(s.log.MeanRecord(), word.Align))
	lookups, tail := s.coldLookups(), s.log.Tail()
	reads, writes := int64(lookups-h.lookups), int64(tail-h.tail)/mean
	switch {
	case h.share == 0:
		h.share = minCacheShare
	case reads+writes < room/mean/cacheShares*shareStep:
		return
	case reads/16 >= writes:
		h.share = min(h.share+shareStep, maxCacheShare)
	case reads >= writes/4 && h.share > midCacheShare:
		h.share = max(h.share-shareStep, midCacheShare)
	case reads >= writes/4:
		h.share = min(h.share+shareStep, midCacheShare)
	case reads < writes/16:
		h.share = max(h.share-shareStep, minCacheShare)
	}
	h.lookups, h.tail = lookups, tail
}

// frames returns how many bytes of frames may be resident, of a log that has so many and would have as many as wanted.
func (b *budget) frames(used, wanted int64) int64 {
	others := b.fixed + b.index.Load() + b.cache.Load() + b.ahead.Load() + b.triples() + b.cold.Load()
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
