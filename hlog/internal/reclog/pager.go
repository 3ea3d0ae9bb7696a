package reclog

import (
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/word"
)

// The pager moves the regions of the log as its tail moves: it makes old pages read-only, writes them, drops them
// from memory and opens new ones. It is the only place where frames change hands. For each page, in this order:
//
//	readOnly := target     records below are no longer updated in place
//	Synchronize            every operation that saw the old offset has left
//	safeReadOnly := target nothing below changes (H2)
//	flush                  bytes below are on disk
//	offer                  those that were used get a place in the cache (H12)
//	head := target         operations that enter now read from disk
//	Synchronize            nobody reads the frames below head (H3)
//	limit := ...           the frames are reused
//
// A pass begins with the last four, for pages that were written before: so operations that fill pages, as all do after
// a cut, do not wait while a checkpoint has the flusher, nor for its sync.
//
// aheadBytes is about what two cores fill in the 10 ms that a goroutine may wait for a processor when all are busy.
const (
	// LeastFrames is how many pages are resident, however little Hooks.FrameBytes allows.
	LeastFrames = 4

	minAheadPages = 2
	maxAheadPages = 4
	aheadBytes    = 16 << 20
	minWindow     = LeastFrames

	// lastLimit is where pages are no longer opened: far enough below the last address for the cuts of versions and for
	// the log of a restore.
	lastLimit = uint64(word.MaxAddress) - 16*maxPageBytes
)

// windowPages returns how many pages may be resident.
func (l *Log) windowPages() uint64 {
	tail := l.tail.Load()
	used := l.limit.Load() - l.pageStart(l.head.Load())
	if tail < l.quiet {
		used = tail - l.head.Load() // the pages that place has opened are not touched yet
	}
	wanted := max(tail-l.begin.Load(), used)
	w := max(l.hooks.FrameBytes(int64(used), int64(wanted))/int64(l.pageBytes), minWindow)
	return min(uint64(w), (l.ring.Mask+1)>>l.pageBits)
}

// aheadPages returns how many pages are kept open beyond the one at the tail.
func (l *Log) aheadPages(window uint64) uint64 {
	return min(max(window/16, minAheadPages), max(uint64(aheadBytes)>>l.pageBits, maxAheadPages))
}

// Turn is a round of the pager. What it fails with is told to those who wait for pages. They ask again when they are told of
// anything: while pages are held up they are not, or they and the pager would ask each other without pause.
func (l *Log) Turn() {
	if l.life.Phase().Ends() {
		return
	}
	if err := l.turn(); err != nil || !l.heldUp {
		l.announce(err)
	}
}

// turn makes passes until the pages ahead of the tail are open, and what is read-only is written, or the store closes.
func (l *Log) turn() error {
	l.hooks.Grown()
	for !l.life.Phase().Ends() {
		moved, err := l.pass()
		if err != nil || !moved {
			return err
		}
		l.announce(nil)
	}
	return nil
}

// pass opens pages or, if none can or need be opened, makes older ones read-only and writes some; moved reports whether
// it did either.
func (l *Log) pass() (moved bool, err error) {
	window := l.windowPages()
	ahead := l.aheadPages(window)
	tail := l.tail.Load()
	wantLimit := l.pageStart(tail) + (ahead+1)*l.pageBytes
	wantHead := uint64(0)
	if resident := window * l.pageBytes; wantLimit > resident {
		wantHead = wantLimit - resident
	}
	if moved, err = l.openPages(wantLimit, wantHead, window); moved || err != nil {
		return moved, err
	}
	l.ShiftReadOnly(max(l.readOnlyTarget(tail, window, ahead), min(wantHead, l.pageStart(tail))))
	return l.flushSome(wantHead)
}

// openPages drops what is written below wantHead from memory and opens pages up to wantLimit, as far as there is room
// for them.
func (l *Log) openPages(wantLimit, wantHead, window uint64) (opened bool, err error) {
	l.pageMu.Lock()
	defer l.pageMu.Unlock()
	l.evict(min(wantHead, l.pageStart(l.durability.Written())), window)
	l.age(window)
	limit := min(wantLimit, l.pageStart(l.head.Load())+window*l.pageBytes)
	limit = min(limit, lastLimit)
	if l.tail.Load() >= lastLimit-2*l.pageBytes {
		return false, ErrLogFull
	}
	old := l.limit.Load()
	l.heldUp = false
	if limit <= old || l.tail.Load() < l.quiet {
		return false, nil // as long as the log is in its first page, what place has opened will do
	}
	if l.hooks.Opens != nil {
		if limit = l.pageStart(old + uint64(l.hooks.Opens(int64(limit-old)))); limit <= old {
			l.heldUp = true
			return false, nil
		}
	}
	l.wantHuge()
	for a := old; a < limit; a += l.pageBytes {
		l.region.Prefault(int(a&l.ring.Mask), int(l.pageBytes))
	}
	l.limit.Store(limit)
	return true, nil
}

// wantHuge asks for huge pages, once the log has left the page that it began in: a store that hardly writes takes little
// memory. The caller holds pageMu.
func (l *Log) wantHuge() {
	if !l.huge {
		l.huge = true
		l.region.WantHuge()
	}
}

// flushSome writes read-only pages: those below need, and a few more, so that pages can be opened in between. What is
// not needed yet can wait for a flush or a sync that is under way; the next page asks again.
func (l *Log) flushSome(need uint64) (moved bool, err error) {
	if l.durability.Written() < need {
		l.flushMu.Lock()
	} else if !l.flushMu.TryLock() {
		return false, nil
	}
	defer l.flushMu.Unlock()
	from := l.durability.Written()
	to := min(l.pageStart(l.safeReadOnly.Load()), max(need, l.pageStart(from)+2*FlushPieces*l.pageBytes))
	if to <= from {
		return false, nil
	}
	return true, l.flush(to)
}

// readOnlyTarget returns the read-only offset that the mutable fraction asks for.
func (l *Log) readOnlyTarget(tail, window, ahead uint64) uint64 {
	lag := min(uint64(l.mutableFraction*float64(window)), window-ahead-1)
	lag = max(lag, 1) * l.pageBytes
	if ts := l.pageStart(tail); ts > lag {
		return ts - lag
	}
	return 0
}

// ShiftReadOnly makes everything below target immutable and returns when it is (H2).
func (l *Log) ShiftReadOnly(target uint64) {
	raise(&l.readOnly, target)
	if l.safeReadOnly.Load() >= target {
		return
	}
	l.epochs.Synchronize()
	raise(&l.safeReadOnly, target)
}

// evict drops the pages below target from memory. The caller holds pageMu.
func (l *Log) evict(target, window uint64) {
	old := l.head.Load()
	if target <= old {
		return
	}
	l.offer(old, target)
	l.head.Store(target)
	l.epochs.Synchronize()
	l.hooks.Spilled()
	if (l.ring.Mask+1)>>l.pageBits == window {
		return // the ring is no larger than the window: every frame is reused at once
	}
	for a := l.pageStart(old); a < target; a += l.pageBytes {
		l.region.Release(int(a&l.ring.Mask), int(l.pageBytes))
	}
}

// raise stores v unless a is above it already.
func raise(a *atomic.Uint64, v uint64) {
	for {
		old := a.Load()
		if old >= v || a.CompareAndSwap(old, v) {
			return
		}
	}
}
