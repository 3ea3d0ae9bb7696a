package hlog

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/word"
)

// hybridLog is the circular log: addresses, frames, allocation. Its pager (pager.go) moves the regions, flush.go
// writes them out, coldread.go reads them back.
//
// The frames are a ring of virtual memory, larger than what may be resident: the frame of an address is its low
// bits, without a table; how many pages are resident at once is the pager's business.
type hybridLog struct {
	pageBits  uint
	pageBytes uint64
	ring      mem.Ring
	region    *mem.Region
	epochs    *epoch.Manager
	segments  *segments
	singles   *gather // reads of one record at a time

	// frameBudget tells how many bytes of frames may be resident now.
	frameBudget     func() int64
	mutableFraction float64
	spilling        func()

	_    [64]byte
	tail atomic.Uint64 // next address to be allocated
	_    [56]byte

	// These change once per page; operations read them from a line that stays in every core's cache.
	limit        atomic.Uint64 // end of the pages that are open for allocation
	readOnly     atomic.Uint64 // records at or above it are updated in place
	safeReadOnly atomic.Uint64 // nothing below it changes any more (H2)
	head         atomic.Uint64 // records at or above it are in memory
	begin        atomic.Uint64 // the log begins here
	_            [24]byte

	flushed atomic.Uint64 // [.., flushed) is written to segments
	durable atomic.Uint64 // [.., durable) is synced

	flushMu sync.Mutex // one flush, or sync, at a time
	pageMu  sync.Mutex // one change of regions at a time
	flusher flusher    // of flushMu
	lostTo  error      // of flushMu: the sync after which durable is lostDurability

	waitMu   sync.Mutex
	waitCond sync.Cond
	failures uint64 // of waitMu: how often the pager has failed
	lastErr  error  // of waitMu: the last failure
	closed   bool   // of waitMu

	gone   atomic.Bool // the store closes: walks, which do not ask it, must not touch the frames any more
	kicks  chan struct{}
	stop   chan struct{}
	done   chan struct{}
	stalls atomic.Uint64 // operations that waited for a page
	waited atomic.Int64  // nanoseconds that those took which are over

	stalled func(time.Duration)
	grown   func()

	steps *step.Work // see Store; the pager has no goroutine then

	flushedRecords, flushedBytes atomic.Int64 // totals, for the mean size of a record
	tombstones                   atomic.Int64 // flushed, and not yet met by compaction
}

type logConfig struct {
	pageBytes       int
	ringBytes       int64
	mutableFraction float64
	frameBudget     func() int64
	epochs          *epoch.Manager
	segments        *segments
	spilling        func()              // called when pages are dropped from memory
	stalled         func(time.Duration) // is told how long an operation has waited for a page; it must not wait
	grown           func()              // called when the log has grown by a page or so; it must not wait
	steps           *step.Work
	begin, tail     word.Address // tail is a multiple of blockBytes; all below it is on disk
}

// blockBytes is the unit of disk writes. A committed version ends on a multiple of it, so that no block that a
// version covers is written again (H8).
const blockBytes = 4096

func newLog(c logConfig) (*hybridLog, error) {
	ring := uint64(1) << bits.Len64(uint64(c.ringBytes-1))
	region, err := mem.Map(int(ring))
	if err != nil {
		return nil, err
	}
	l := &hybridLog{
		pageBits:        uint(bits.TrailingZeros(uint(c.pageBytes))),
		pageBytes:       uint64(c.pageBytes),
		ring:            mem.Ring{Base: region.At(0), Mask: ring - 1},
		region:          region,
		epochs:          c.epochs,
		segments:        c.segments,
		singles:         newGather(),
		flusher:         flusher{queue: fsx.NewQueue(flushPieces)},
		spilling:        c.spilling,
		stalled:         c.stalled,
		grown:           c.grown,
		frameBudget:     c.frameBudget,
		steps:           c.steps,
		mutableFraction: c.mutableFraction,
		kicks:           make(chan struct{}, 1),
		stop:            make(chan struct{}),
		done:            make(chan struct{}),
	}
	l.waitCond.L = &l.waitMu
	if l.steps != nil {
		close(l.done)
	}
	l.begin.Store(uint64(c.begin))
	l.place(uint64(c.tail))
	return l, nil
}

// place sets an empty memory at tail: everything below it is on disk. Nobody else may use the log.
func (l *hybridLog) place(tail uint64) {
	l.head.Store(tail)
	l.safeReadOnly.Store(tail)
	l.readOnly.Store(tail)
	l.flushed.Store(tail)
	l.durable.Store(tail)
	l.tail.Store(tail)
	l.limit.Store(l.pageStart(tail) + l.aheadPages(l.windowPages())*l.pageBytes)
}

func (l *hybridLog) pageStart(a uint64) uint64 { return a &^ (l.pageBytes - 1) }
func (l *hybridLog) pageEnd(a uint64) uint64   { return l.pageStart(a) + l.pageBytes }

// at returns where address a is in memory. The caller is inside the epoch in which it saw a at or above head, or
// allocated it (H3).
func (l *hybridLog) at(a word.Address) mem.Ptr {
	return mem.Add(l.ring.Base, uintptr(uint64(a)&l.ring.Mask))
}

// frame returns the memory of n bytes of log from a, which do not cross a page end.
func (l *hybridLog) frame(a uint64, n int) []byte {
	return l.region.Bytes(int(a&l.ring.Mask), n)
}

// fits reports whether a record with such a key and value fits into a page.
func (l *hybridLog) fits(keyLen, valueLen int) bool {
	return valueLen < MaxPageBytes && record.MaxSize(keyLen, valueLen) <= int(l.pageBytes)
}

// holds reports whether a page has room for a record of the same key and value as one of shape sh.
func (l *hybridLog) holds(sh record.Shape) bool {
	return record.ShapeFor(sh.KeyLen, sh.ValueLen, 0).Size <= int(l.pageBytes)
}

// meanRecord returns the mean size of the records that were written to disk, in bytes, 0 if there are none.
func (l *hybridLog) meanRecord() int {
	n := l.flushedRecords.Load()
	if n <= 0 {
		return 0
	}
	return int(l.flushedBytes.Load() / n)
}

// allocate takes n bytes at the tail, which do not cross a page end. ok is false when no page is open: the caller
// leaves the epoch, waits in waitForSpace and starts over (H6).
func (l *hybridLog) allocate(n int) (a word.Address, ok bool) {
	for {
		t := l.tail.Load()
		end := t + uint64(n)
		if end > l.limit.Load() {
			return 0, false
		}
		if (t^(end-1))>>l.pageBits == 0 {
			if l.tail.CompareAndSwap(t, end) {
				if t&(l.pageBytes-1) == 0 {
					l.kick()
				}
				return word.Address(t), true
			}
			continue
		}
		l.closePage(t)
	}
}

// closePage covers the rest of the page at tail t with a filler, unless somebody was faster.
func (l *hybridLog) closePage(t uint64) {
	pe := l.pageEnd(t)
	if l.tail.CompareAndSwap(t, pe) {
		record.WriteFiller(l.at(word.Address(t)), word.Address(t), int(pe-t))
		l.kick()
	}
}

// kick asks the pager to look at the regions.
func (l *hybridLog) kick() {
	if l.steps != nil {
		l.steps.Once(step.Pager, l.stepPager)
		return
	}
	select {
	case l.kicks <- struct{}{}:
	default:
	}
}

// waitForSpace returns when pages have been opened since the caller saw no room for n bytes, or when the pager
// failed, with its error. The caller is outside the epoch.
func (l *hybridLog) waitForSpace(n int) error {
	l.stalls.Add(1)
	began := time.Now()
	defer func() {
		d := time.Since(began)
		l.waited.Add(int64(d))
		l.stalled(d)
	}()
	l.waitMu.Lock()
	defer l.waitMu.Unlock()
	seen := l.failures
	for {
		t := l.tail.Load()
		need := t + uint64(n)
		if (t^(need-1))>>l.pageBits != 0 {
			need = l.pageEnd(t) + uint64(n)
		}
		switch {
		case l.closed:
			return ErrClosed
		case need <= l.limit.Load():
			return nil
		case l.failures != seen:
			return l.lastErr
		}
		l.kick()
		l.waitForPager()
	}
}

// waitForPager returns when the pager has announced something. The caller holds waitMu, which is free meanwhile.
func (l *hybridLog) waitForPager() {
	if l.steps == nil {
		l.waitCond.Wait()
		return
	}
	l.waitMu.Unlock()
	defer l.waitMu.Lock()
	l.steps.One(step.Pager)
}

// announce wakes all who wait in waitForSpace; err is what the pager failed with, or nil.
func (l *hybridLog) announce(err error) {
	l.waitMu.Lock()
	if err != nil {
		l.failures++
		l.lastErr = err
	}
	l.waitMu.Unlock()
	l.waitCond.Broadcast()
}

// checkRecord verifies that a record is where an address in memory says it is.
func (l *hybridLog) checkRecord(a word.Address, k word.Link) {
	if invariant.Enabled {
		invariant.Check(a.Valid(), "H1: address %#x is not of a record", uint64(a))
		invariant.Check(k.Written() && !k.Filler(), "H3: no record at %#x (head %#x, tail %#x): its frame was reused",
			uint64(a), l.head.Load(), l.tail.Load())
		invariant.Check(k.Prev() < a, "H1: the chain ascends from %#x to %#x", uint64(a), uint64(k.Prev()))
	}
}

// stopPager stops the pager and wakes all who wait for it, with ErrClosed.
func (l *hybridLog) stopPager() {
	l.waitMu.Lock()
	l.closed = true
	l.waitMu.Unlock()
	l.waitCond.Broadcast()
	close(l.stop)
	<-l.done
}

// free gives the frames back. Nobody may use them any more.
func (l *hybridLog) free() error { return l.region.Unmap() }
