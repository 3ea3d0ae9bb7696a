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
	total   int64        // the most there is
	page    int64        // bytes of a page of log
	index   atomic.Int64 // held by the index
	cache   atomic.Int64 // held by the cache of cold records
	ahead   atomic.Int64 // held by the prefetcher
	triples func() int64 // held by the index on disk, of log that no run stands for
	cold    atomic.Int64 // held by what is known of cold files, and by a demotion

	shared *Budget      // nil: the store has total for itself
	level  atomic.Int64 // the share of shared that it has; total if it shares none
	member              // of shared

	sharing sharing // of the job that sizes the cache
	keeper  keeper  // of the pager
}

const (
	minReaderBytes = 256 << 10
	maxReaderBytes = 8 << 20

	// leastIndex is what the index may take however little memory there is, and a piece of log takes one part in pieceShare of
	// the memory, or there are fewer of them.
	leastIndex = 64 << 10
	pieceShare = 16
	// Pieces of log lie in huge pages where one takes no more than one part in hugeShare of the memory.
	hugeShare = 64
	// othersShare of the memory of a store that shares a budget are left to the index on disk and the cold tier.
	othersShare = 8

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
	b := &budget{total: o.MemoryBytes, page: int64(o.PageBytes), shared: o.Shared, triples: func() int64 { return 0 }}
	b.level.Store(o.MemoryBytes)
	return b
}

// setPage says that pages of log have another size. The log has not been made yet.
func (b *budget) setPage(bytes int) {
	b.page = int64(bytes)
	if b.shared != nil {
		b.shared.needs(&b.member, leastMemory(b.page))
	}
}

// readers returns what the buffers of the calls that read ahead may take: a 32nd of a small memory, a 64th of a large one.
func (b *budget) readers() int64 { return max(readersOf(b.limit()), readersOf(MinMemoryBytes)) }

func readersOf(memory int64) int64 {
	return min(memory/32, max(memory/64, minReaderBytes), maxReaderBytes)
}

// pieces returns how many pieces of log may be on their way to the disk, each in a buffer of a page, and whether there is memory
// for those to lie in huge pages. A store that has its memory for itself has chosen its pages by that.
func (b *budget) pieces() (n int, huge bool) {
	huge = b.limit() >= hugeShare*reclog.HugeBuffer
	if b.shared == nil {
		return reclog.FlushPieces, huge
	}
	return int(min(max(b.limit()/(pieceShare*b.page), 1), reclog.FlushPieces)), huge
}

// fixed returns what is set aside for buffers.
func (b *budget) fixed() int64 {
	n, huge := b.pieces()
	return reclog.BufferBytes(n, b.page, huge) + b.readers()
}

// leastMemory returns what a store with such pages cannot do without when it is busy: the frames that are always open, one piece of log
// on its way to the disk, the least for readers, and some index.
func leastMemory(page int64) int64 {
	return (reclog.LeastFrames+1)*page + readersOf(MinMemoryBytes) + leastIndex
}

// indexMax returns the most that the index may hold: while it doubles, both tables count. Where the budget is shared, it leaves
// what the store cannot do without, and what the index on disk and the cold tier hold, or are going to.
func (b *budget) indexMax() int64 {
	fixed := b.fixed()
	if b.shared == nil {
		return max(b.limit()-fixed, fixed) / 4 * 3
	}
	left := b.limit() - fixed - reclog.LeastFrames*b.page - max(b.triples()+b.cold.Load(), b.limit()/othersShare)
	return max(left/4*3, leastIndex)
}

// entriesMax returns what the entries of the index may take before demotion begins: nearly half of the memory, and never so much
// that the index could not grow to hold them.
func (b *budget) entriesMax() int64 {
	n := b.limit() / 20 * indexShare
	if b.shared != nil {
		n = min(n, b.indexMax()/10*9)
	}
	return n
}

// limit returns the most that the store may use now.
func (b *budget) limit() int64 {
	if b.shared == nil {
		return b.total
	}
	return min(b.level.Load(), b.shared.level.Load()) // what it was granted may be long ago
}

// reserve is the index's index.Config.Reserve: it counts memory that is taken or given back. It never refuses: what
// may be refused the index does not take beyond indexMax, and the rest it cannot do without.
func (b *budget) reserve(delta int64) { b.index.Add(delta) }

// compactProbes returns what the probes of a compaction that is hurried may take: the more are answered together, the less is
// read for each.
func (b *budget) compactProbes() int {
	return int(min(max(b.limit()/compactShare, minCompactProbes), maxCompactProbes))
}

const (
	compactShare     = 8
	minCompactProbes = 256 << 10
	maxCompactProbes = 16 << 20
)

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
	return max(b.limit()-b.fixed()-b.index.Load()-b.ahead.Load()-b.triples()-b.cold.Load(), 0)
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
	fixed := b.fixed()
	others := fixed + b.index.Load() + b.cache.Load() + b.ahead.Load() + b.triples() + b.cold.Load()
	if b.shared == nil {
		return b.total - others
	}
	// Buffers are counted as the frames are that pages are written from: an idle store has next to none.
	with := func(frames int64) int64 { return others - fixed + frames + min(fixed, frames) }
	bytes, share, givers := b.shared.grant(&b.member, with(used), with(wanted))
	b.level.Store(share)
	for _, kick := range givers {
		kick()
	}
	return bytes - others
}

// join begins to share the budget, if that is shared: ErrBudgetFull when it is too small for one more store.
func (b *budget) join() error {
	if b.shared == nil {
		return nil
	}
	b.member.most, b.member.least = b.total, leastMemory(b.page)
	return b.shared.join(&b.member)
}

// start says that memory is taken from now on; kick has the pager look at the regions again.
func (b *budget) start(kick func()) {
	if b.shared != nil {
		b.shared.start(&b.member, kick)
	}
}

// leave gives everything back to those who share the budget.
func (b *budget) leave() {
	if b.shared != nil {
		b.shared.leave(&b.member)
	}
}
