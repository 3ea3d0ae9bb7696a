package index

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// defaultBits makes a new table 4 KiB, one page of memory.
	defaultBits = 6
	// maxBits bounds tables: 64 TiB, beyond what a log of 48-bit addresses can need.
	maxBits = 40
)

// Config says what an index may use. Epoch is required; the zero value of the rest is usable.
type Config struct {
	// Epoch is the manager whose guards the callers of Find and FindOrCreate are inside.
	Epoch *epoch.Manager
	// MaxBytes returns the most bytes the index may hold at this moment, both tables of a growth included. nil is no
	// bound. A table that was refused more does not ask again: its full buckets get catch-alls. An image that is opened,
	// and [Index.Replay] and [Index.Grow], take what they need nevertheless: without it the log could not be read.
	MaxBytes func() int64
	// Reserve is called with the bytes that are about to be taken, and with their negation after they were given
	// back. It may wait; it is called outside the epoch, and must not call the index. When it returns false nothing
	// is counted and, except as said for MaxBytes, nothing is taken. nil counts nothing.
	Reserve func(delta int64) bool
	// Spawn starts background work, which ends by itself. It is called outside the epoch and may run the work at
	// once, later, or never. nil is the go statement.
	Spawn func(func())
	// InitialBits makes the table begin with at least 2^InitialBits buckets. 0 is 6 (64 buckets, 4 KiB).
	InitialBits uint
	// OnFull is called each time the table should double and may not, for lack of memory. It is called outside the epoch, must
	// not wait, and must not call the index. nil is nothing.
	OnFull func()
	// OnGrow is called after a growth with the new number of buckets, outside the epoch. nil is nothing.
	OnGrow func(buckets int)
}

// Index is a hash index. Find, FindOrCreate and Prefetch, and the methods of the slots they return, are called inside
// an epoch of Config.Epoch, all else outside; all are safe from any goroutine except as noted.
type Index struct {
	cfg Config
	// table is the newest table. It is read by every operation and replaced when the table doubles.
	table atomic.Pointer[table]
	// steady leads to the buckets of table while it is not busy, and to nowhere while it is: where a bucket has to be
	// moved or loaded before it is looked at. The hot path looks at nothing else.
	steady atomic.Pointer[mem.Buckets]
	_      [64]byte // what follows changes

	want     atomic.Bool // the table should double: the next that makes an entry gets NeedLoad, its Load starts it
	starved  atomic.Bool // an insert found no room
	deferred atomic.Bool // growth was wanted while blocks were missing or the table was held

	bytes     atomic.Int64 // mapped memory, tables that wait for the epoch included
	growths   atomic.Int64
	catchAlls atomic.Int64 // entries converted to catch-alls

	// lock is a mutex that can be waited for with a context. It covers holds, closed, the start of a growth and new
	// chunks of overflow buckets. It is never taken inside the epoch.
	lock   chan struct{}
	holds  int // who needs the table to stay: images being written, ranges
	closed bool

	jobs sync.WaitGroup // background jobs that run

	replay struct {
		sync.Mutex
		guard *epoch.Guard
	}
}

// New returns an empty index. [Index.Close] gives its memory back.
func New(cfg Config) (*Index, error) {
	x, err := newIndex(cfg)
	if err != nil {
		return nil, err
	}
	bits := cfg.InitialBits
	if bits == 0 {
		bits = defaultBits
	}
	t, err := x.newTable(bits, 0, false)
	if err != nil {
		return nil, err
	}
	x.publish(t)
	return x, nil
}

// nowhere is one bucket, and nothing in it.
var nowhere = mem.Buckets{Base: mem.Ptr(new([bucketBytes / mem.WordBytes]uint64))}

// publish makes t the table. What finds entries in the one before goes on doing so until their bucket is moved.
func (x *Index) publish(t *table) {
	if t.busy.Load() {
		x.steady.Store(&nowhere)
	} else {
		x.steady.Store(&t.Buckets)
	}
	x.table.Store(t)
}

func newIndex(cfg Config) (*Index, error) {
	if cfg.Epoch == nil {
		return nil, errors.New("index: Config.Epoch is nil")
	}
	if cfg.InitialBits > maxBits {
		return nil, fmt.Errorf("index: Config.InitialBits is %d, the most is %d", cfg.InitialBits, maxBits)
	}
	if cfg.Spawn == nil {
		cfg.Spawn = func(f func()) { go f() }
	}
	if cfg.Reserve == nil {
		cfg.Reserve = func(int64) bool { return true }
	}
	return &Index{cfg: cfg, lock: make(chan struct{}, 1)}, nil
}

// Slot is where an entry lives. It is valid inside the epoch that it was found in.
type Slot struct{ p mem.Ptr }

// Load returns the entry as it is now. It may have become free, be [word.Frozen] because its bucket was moved, or
// belong to other hashes: find it again unless it is what it was.
func (s Slot) Load() word.Entry { return word.Entry(mem.Load(s.p)) }

// CompareAndSwap sets the address to a if the slot still holds old, and reports whether it did. If not, find the
// entry again: it was changed by another operation, cleared, or moved.
func (s Slot) CompareAndSwap(old word.Entry, a word.Address) bool {
	step()
	return mem.Word(s.p).CompareAndSwap(uint64(old), uint64(old.WithAddress(a)))
}

// Clear frees the slot if it still holds old, and reports whether it did. A catch-all is never freed (I3): set its
// address to [word.None] instead.
//
// The caller promises that nothing of the chain is alive, and that every version that is cut from now on is opened
// with a drop greater than the address of old. Otherwise an older image would bring back the entry, whose tag may be
// shorter than those of entries that have been made in its place since, and I9 would not hold.
func (s Slot) Clear(old word.Entry) bool {
	return old.Tag() != word.CatchAll && mem.Word(s.p).CompareAndSwap(uint64(old), 0)
}

// Status is what looking for a hash has found.
type Status uint8

const (
	// Absent says that no entry owns the hash.
	Absent Status = iota
	// Found says that the slot and the entry are those of the owner. Its address may be [word.None].
	Found
	// NeedLoad says that something has to be done first that may wait: leave the epoch, call [Index.Load] with the
	// hash, and try again.
	NeedLoad
)

// String returns the name of the status.
func (s Status) String() string {
	switch s {
	case Absent:
		return "Absent"
	case Found:
		return "Found"
	case NeedLoad:
		return "NeedLoad"
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Find returns the owner of h. NeedLoad means that a block of the image is missing. The caller is inside the epoch.
func (x *Index) Find(h uint64) (Slot, word.Entry, Status) {
	if p, e := findSpecific(x.steady.Load(), h); e != 0 {
		return Slot{p}, e, Found
	}
	return x.look(h, find)
}

// FindOrCreate returns the owner of h, which it makes with the address [word.None] if there is none. NeedLoad means
// that a block of the image or room is missing. The caller is inside the epoch.
func (x *Index) FindOrCreate(h uint64) (Slot, word.Entry, Status) {
	if p, e := findSpecific(x.steady.Load(), h); e != 0 {
		return Slot{p}, e, Found
	}
	return x.look(h, create)
}

// HoldUp has the next operation that would make an entry get NeedLoad, as when the table should double, and all others until
// [Index.Load] is called: whoever makes room in the index can have its callers wait.
func (x *Index) HoldUp() { x.want.Store(true) }

// Prefetch asks for the cache line that Find of the same hash will need. The caller is inside the epoch.
func (x *Index) Prefetch(h uint64) {
	t := x.table.Load()
	mem.Prefetch(t.bucket(h & t.Mask))
}

// purpose says what an operation may do.
type purpose uint8

const (
	find   purpose = iota // nothing but look
	create                // make an entry
	replay                // make an entry, but no catch-all (I9)
)

// look is the general form of Find and FindOrCreate.
func (x *Index) look(h uint64, why purpose) (Slot, word.Entry, Status) {
	var w waiter
	for {
		t := x.table.Load()
		if t.busy.Load() {
			if im := t.image.Load(); im != nil && !im.loaded(im.blockOf(h)) {
				return Slot{}, 0, NeedLoad
			}
			if old := t.old.Load(); old != nil {
				t.ensureMoved(old, h&old.Mask)
			}
		}
		p, e, r := t.find(h)
		if r == miss && why != find {
			p, e, r = x.insert(t, h, why)
		}
		switch r {
		case hit:
			return Slot{p}, e, Found
		case miss:
			return Slot{}, 0, Absent
		case full:
			return Slot{}, 0, NeedLoad
		}
		w.wait()
	}
}

// Bits returns k: the table has 2^k buckets, or is growing to that. Remember it with the log (I9).
func (x *Index) Bits() uint { return x.table.Load().Bits }

// Bytes returns the memory that the index holds, replaced tables that still wait for the epoch included.
func (x *Index) Bytes() int64 { return x.bytes.Load() }

// Range calls fn for every entry until fn returns false or ctx ends, whose error it returns then. Each entry that
// is there from beginning to end is visited once; the others perhaps. The table does not grow meanwhile. Range loads
// what is missing of the image first, and enters the epoch by itself: fn is called inside, must not wait, and may use
// the slot until it returns.
func (x *Index) Range(ctx context.Context, fn func(s Slot, e word.Entry) bool) error {
	const batch = 64 // buckets per stay in the epoch
	if err := x.LoadAll(ctx); err != nil {
		return err
	}
	if err := x.hold(ctx); err != nil {
		return err
	}
	defer x.unhold()
	g := x.cfg.Epoch.Register()
	defer g.Release()
	t := x.table.Load()
	for b := uint64(0); b <= t.Mask; b += batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		g.Enter()
		ok := t.rangeBuckets(b, min(b+batch, t.Mask+1), fn)
		g.Exit()
		if !ok {
			break
		}
	}
	return nil
}

// rangeBuckets calls fn for the entries of the buckets from..to-1, until it returns false.
func (t *table) rangeBuckets(from, to uint64, fn func(s Slot, e word.Entry) bool) bool {
	for b := from; b < to; b++ {
		for p := t.bucket(b); p != nil; p = t.next(p) {
			for i := range bucketSlots {
				s := Slot{slotOf(p, i)}
				if e := s.Load(); e.Tag() != 0 && !e.Tentative() && !fn(s, e) {
					return false
				}
			}
		}
	}
	return true
}

// Close gives back the memory. It waits for background jobs that run; those that were spawned and have not begun do
// nothing any more. No operation may be under way or follow. A second Close does nothing.
func (x *Index) Close() {
	x.lock <- struct{}{}
	wasClosed := x.closed
	x.closed = true
	<-x.lock
	if wasClosed {
		return
	}
	x.jobs.Wait()
	if t := x.table.Load(); t != nil {
		if im := t.image.Load(); im != nil {
			im.shares.close()
		}
		if old := t.old.Load(); old != nil {
			x.free(old)
		}
		x.free(t)
	}
	x.replay.Lock()
	defer x.replay.Unlock()
	if x.replay.guard != nil {
		x.replay.guard.Release()
		x.replay.guard = nil
	}
}

// spawn runs job in the background unless the index is closed before it begins.
func (x *Index) spawn(job func()) {
	x.cfg.Spawn(func() {
		x.lock <- struct{}{}
		if x.closed {
			<-x.lock
			return
		}
		x.jobs.Add(1)
		<-x.lock
		defer x.jobs.Done()
		job()
	})
}

// hold keeps the table from growing until unhold, after ending a growth that goes on.
func (x *Index) hold(ctx context.Context) error {
	for {
		if err := x.acquire(ctx); err != nil {
			return err
		}
		if x.table.Load().old.Load() == nil {
			x.holds++
			<-x.lock
			return nil
		}
		<-x.lock
		if err := x.finishGrowth(ctx); err != nil {
			return err
		}
	}
}

func (x *Index) unhold() {
	x.lock <- struct{}{}
	x.holds--
	<-x.lock
	x.resumeGrowth()
}

// acquire takes the lock, or returns the error of ctx.
func (x *Index) acquire(ctx context.Context) error {
	select {
	case x.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waiter waits for something that another goroutine is about to do.
type waiter struct{ rounds int }

const (
	// yields is how often a waiter lets others run before it sleeps. What it waits for takes well under a microsecond
	// unless the other goroutine was descheduled.
	yields = 128
	nap    = 20 * time.Microsecond
)

func (w *waiter) wait() {
	if stepWaiting() {
		return
	}
	w.rounds++
	if w.rounds <= yields {
		runtime.Gosched()
		return
	}
	time.Sleep(nap)
}
