package reclog

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Log is the circular log: addresses, frames, allocation. Its pager (pager.go) moves the regions, flush.go writes them
// out, reader.go reads them back. It is safe for concurrent use, as far as its methods do not say otherwise.
//
// The frames are a ring of virtual memory, larger than what may be resident: the frame of an address is its low
// bits, without a table; how many pages are resident at once is the pager's business.
type Log struct {
	pageBits  uint
	pageBytes uint64
	ring      mem.Ring
	region    *mem.Region
	epochs    *epoch.Manager
	segments  *Segments
	queues    fsx.Queues
	singles   *gather // reads of one record at a time

	// Every allocation changes tail: it has a line for itself.
	_    [64]byte
	tail atomic.Uint64 // next address to be allocated
	_    [56]byte

	// These change once per page; operations read them from a line that stays in every core's cache.
	limit        atomic.Uint64 // end of the pages that are open for allocation
	readOnly     atomic.Uint64 // records at or above it are updated in place
	safeReadOnly atomic.Uint64 // nothing below it changes any more (H2)
	head         atomic.Uint64 // records at or above it are in memory
	begin        atomic.Uint64 // the log begins here
	aging        atomic.Uint64 // uses of records in memory below it are counted; 0 while memory suffices
	_            [16]byte

	mutableFraction float64
	hooks           Hooks

	flushMu    lock.Mutex[lock.Flush] // one flush, or sync, at a time
	flusher    flusher                // of flushMu
	durability Durability             // of flushMu
	pageMu     lock.Mutex[lock.Page]  // one change of regions at a time
	leaving    Leaving                // of pageMu
	quiet      uint64                 // end of the page that the log began in: until the tail leaves it, no more pages are opened
	huge       bool                   // of pageMu: huge pages have been asked for
	heldUp     bool                   // of the pager: Hooks.Opens has let it open none

	waitMu   lock.Mutex[lock.Leaf]
	waitCond sync.Cond
	failures uint64 // of waitMu: how often the pager has failed
	lastErr  error  // of waitMu: the last failure

	life   *life.Life    // of the store
	pager  *step.Job     // does Turn
	stalls atomic.Uint64 // operations that waited for a page
	waited atomic.Int64  // nanoseconds that those took which are over

	steps *step.Work // see Config

	flushedRecords, flushedBytes atomic.Int64 // totals, for the mean size of a record
	tombstones                   atomic.Int64 // flushed, and not yet met by compaction
	large                        largeNotes
}

// Config is what a log is made of. All of it but Queues, Sink, Hash, Pager and Steps is needed.
type Config struct {
	PageBytes       int     // size of a page, a power of two of at least BlockBytes and at most 1 << word.MaxPageBits
	RingBytes       int64   // virtual memory for the frames; rounded up to a power of two
	MutableFraction float64 // of the resident pages: how much of the log is updated in place
	Begin, Tail     uint64  // where the log begins and ends; Tail is a multiple of BlockBytes, and all below it is on disk
	Segments        *Segments
	Queues          fsx.Queues // what reads and writes that are under way at a time go through
	Epochs          *epoch.Manager
	Hooks           Hooks
	// Sink is told of what is flushed, with the hash of its key by Hash; nil: nobody is.
	Sink Sink
	Hash func(key []byte) uint64
	// Pager is the job whose rounds are [Log.Turn], which the log wakes; nil: the owner calls Turn by itself.
	Pager *step.Job
	// Steps is what the pager's rounds are done in if they have no goroutine; else nil.
	Steps *step.Work
}

// Hooks are what the log asks and tells its owner. They are called from any goroutine, outside the epoch, and must not
// wait for the log.
type Hooks struct {
	// FrameBytes returns how many bytes of frames may be resident now, being told how many are, and how many would be if
	// all of the log were. It may change from call to call; Kick makes the log look again.
	FrameBytes func(used, wanted int64) int64
	// Pieces, if it is not nil, returns how many pieces of log may be on their way to the disk now, each of which has a buffer
	// of a page: 1 to FlushPieces. huge says that there is memory for huge pages (BufferBytes).
	Pieces func() (n int, huge bool)
	// Leaving, if it is not nil, is told of records that leave memory, before they do. It is called by the pager only.
	Leaving func(r *Leaving)
	// Spilled says that pages have left memory.
	Spilled func()
	// Stalled says how long an operation has waited for a page.
	Stalled func(time.Duration)
	// Grown says that the log has grown by a page or so. It is called without a lock, by the pager.
	Grown func()
	// Opens, if it is not nil, is asked before n bytes of pages are opened, and returns how many of them may be now: Kick makes
	// the log ask for the others. It is called by the pager only.
	Opens func(n int64) int64
}

// BlockBytes is the unit of disk writes. A committed version ends on a multiple of it, so that no block that a
// version covers is written again (H8).
const BlockBytes = 4096

const maxPageBytes = 1 << word.MaxPageBits

// AlignBlock returns the first block boundary at or above a.
func AlignBlock(a uint64) uint64 { return (a + BlockBytes - 1) &^ (BlockBytes - 1) }

// New returns a log whose memory is empty. The caller closes it with CloseQueues and Free.
func New(c Config) (*Log, error) {
	ring := uint64(1) << bits.Len64(uint64(c.RingBytes-1))
	region, err := mem.MapSparse(int(ring))
	if err != nil {
		return nil, err
	}
	l := &Log{
		pageBits:        uint(bits.TrailingZeros(uint(c.PageBytes))),
		pageBytes:       uint64(c.PageBytes),
		ring:            mem.Ring{Base: region.At(0), Mask: ring - 1},
		region:          region,
		epochs:          c.Epochs,
		segments:        c.Segments,
		life:            c.Segments.life,
		queues:          c.Queues,
		singles:         newGather(c.Segments.life, c.Queues),
		flusher:         flusher{queue: c.Queues.New(flushDepth), leastPart: leastPart, teller: newTeller(c)},
		hooks:           c.Hooks,
		steps:           c.Steps,
		mutableFraction: c.MutableFraction,
		pager:           c.Pager,
	}
	l.waitCond.L = &l.waitMu
	l.durability.init(c.Segments, c.Queues)
	l.begin.Store(c.Begin)
	l.place(c.Tail)
	return l, nil
}

// place sets an empty memory at tail: everything below it is on disk. Nobody else may use the log.
func (l *Log) place(tail uint64) {
	l.head.Store(tail)
	l.safeReadOnly.Store(tail)
	l.readOnly.Store(tail)
	l.durability.abandon(tail)
	l.tail.Store(tail)
	l.limit.Store(l.pageStart(tail) + l.aheadPages(l.windowPages())*l.pageBytes)
	l.quiet = l.pageEnd(tail)
	l.aging.Store(0)
}

func (l *Log) pageStart(a uint64) uint64 { return a &^ (l.pageBytes - 1) }
func (l *Log) pageEnd(a uint64) uint64   { return l.pageStart(a) + l.pageBytes }

// At returns where address a is in memory. The caller is inside the epoch in which it saw a at or above head, or
// allocated it (H3).
func (l *Log) At(a word.Address) mem.Ptr {
	return mem.Add(l.ring.Base, uintptr(uint64(a)&l.ring.Mask))
}

// frame returns the memory of n bytes of log from a, which do not cross a page end.
func (l *Log) frame(a uint64, n int) []byte {
	return l.region.Bytes(int(a&l.ring.Mask), n)
}

// Fits reports whether a record with such a key and value fits into a page.
func (l *Log) Fits(keyLen, valueLen int) bool { return Fits(int(l.pageBytes), keyLen, valueLen) }

// Fits is Log.Fits for a log with such pages.
func Fits(pageBytes, keyLen, valueLen int) bool {
	return valueLen < maxPageBytes && record.MaxSize(keyLen, valueLen) <= pageBytes
}

// Holds reports whether a page has room for a record of the same key and value as one of shape sh.
func (l *Log) Holds(sh record.Shape) bool {
	return record.ShapeFor(sh.KeyLen, sh.ValueLen, 0).Size <= int(l.pageBytes)
}

// MeanRecord returns the mean size of the records that were written to disk, in bytes, 0 if there are none.
func (l *Log) MeanRecord() int {
	n := l.flushedRecords.Load()
	if n <= 0 {
		return 0
	}
	return int(l.flushedBytes.Load() / n)
}

// Allocate takes n bytes at the tail, which do not cross a page end. ok is false when no page is open: the caller
// leaves the epoch, waits in WaitForSpace and starts over (H6).
func (l *Log) Allocate(n int) (a word.Address, ok bool) {
	for {
		t := l.tail.Load()
		end := t + uint64(n)
		if end > l.limit.Load() {
			return 0, false
		}
		if (t^(end-1))>>l.pageBits == 0 {
			if l.tail.CompareAndSwap(t, end) {
				if t&(l.pageBytes-1) == 0 {
					l.Kick()
				}
				return word.Address(t), true
			}
			continue
		}
		l.closePage(t)
	}
}

// closePage covers the rest of the page at tail t with a filler, unless somebody was faster.
func (l *Log) closePage(t uint64) {
	pe := l.pageEnd(t)
	if l.tail.CompareAndSwap(t, pe) {
		record.WriteFiller(l.At(word.Address(t)), word.Address(t), int(pe-t))
		l.Kick()
	}
}

// AlignTail moves the tail to a block boundary, filling the gap, and returns it. moved reports whether anything was
// allocated above from before. It does so inside the epoch, as every allocation: the pager flushes no page, and no
// walk reads one, before what was allocated in it is written.
func (l *Log) AlignTail(from uint64) (cut uint64, moved bool) {
	g := l.epochs.Register()
	defer g.Release()
	g.Enter()
	defer g.Exit()
	for {
		t := l.tail.Load()
		cut := AlignBlock(t)
		if cut == t {
			return cut, t != from
		}
		if l.tail.CompareAndSwap(t, cut) {
			record.WriteFiller(l.At(word.Address(t)), word.Address(t), int(cut-t))
			return cut, t != from
		}
	}
}

// Kick asks the pager to look at the regions.
func (l *Log) Kick() { l.pager.Wake() }

// WaitForSpace returns when pages have been opened since the caller saw no room for n bytes, or when the pager
// failed, with its error. The caller is outside the epoch.
func (l *Log) WaitForSpace(n int) error {
	l.stalls.Add(1)
	began := time.Now()
	defer func() {
		d := time.Since(began)
		l.waited.Add(int64(d))
		l.hooks.Stalled(d)
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
		case l.life.Phase().Ends():
			return ErrClosed
		case need <= l.limit.Load():
			return nil
		case l.failures != seen:
			return l.lastErr
		}
		l.Kick()
		l.waitForPager()
	}
}

// waitForPager returns when the pager has announced something. The caller holds waitMu, which is free meanwhile.
func (l *Log) waitForPager() {
	if l.steps == nil {
		l.waitCond.Wait()
		return
	}
	l.waitMu.Unlock()
	defer l.waitMu.Lock()
	l.steps.One(step.Pager)
}

// announce wakes all who wait in WaitForSpace; err is what the pager failed with, or nil.
func (l *Log) announce(err error) {
	l.waitMu.Lock()
	if err != nil {
		l.failures++
		l.lastErr = err
	}
	l.waitMu.Unlock()
	l.waitCond.Broadcast()
}

// checkRecord verifies that a record is where an address in memory says it is.
func (l *Log) checkRecord(a word.Address, k word.Link) {
	if invariant.Enabled {
		invariant.Check(a.Valid(), "H1: address %#x is not of a record", uint64(a))
		invariant.Check(k.Written() && !k.Filler(), "H3: no record at %#x (head %#x, tail %#x): its frame was reused",
			uint64(a), l.head.Load(), l.tail.Load())
		invariant.Check(k.Prev() < a, "H1: the chain ascends from %#x to %#x", uint64(a), uint64(k.Prev()))
	}
}

// Interrupt has those who wait for a page look at the phase of the store again: when that ends they get ErrClosed.
func (l *Log) Interrupt() { l.announce(nil) }

// AsyncReads reports whether the kernel has reads of several records under way at a time.
func (l *Log) AsyncReads() bool { return l.singles.queue.Async() }

// CloseQueues waits for the reads and writes that are under way. Later reads are plain calls; nothing is flushed any more.
func (l *Log) CloseQueues() {
	l.flushMu.Lock()
	l.durability.drop()
	l.flushMu.Unlock()
	l.singles.close()
	l.flusher.queue.Close()
}

// Free gives the frames back, and the buffers of the flusher. Nobody may use them any more.
func (l *Log) Free() error {
	l.flusher.buffers.free()
	return l.region.Unmap()
}
