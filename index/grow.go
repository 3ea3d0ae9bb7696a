package index

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// spanBuckets is how many buckets an operation that makes an entry moves while the table grows, some microseconds of
// work. A growth begins when a bucket has about five entries on average and is over after one insert per spanBuckets
// buckets at the latest, long before the next.
const spanBuckets = 32

// moves is how far a table has been moved into the next one.
type moves struct {
	next atomic.Uint64 // the first span that nobody has taken
	done atomic.Uint64 // spans all of whose buckets are moved
}

// spans returns the number of spans of t.
func (t *table) spans() uint64 { return (t.Mask + spanBuckets) / spanBuckets }

// crowded reports whether t should double.
func (t *table) crowded() bool {
	return t.capped.Load() || t.overflow.used.Load() > (t.Mask+1)/growShare
}

// Grow makes the table have at least 2^bits buckets, whatever Config.MaxBytes says (I9), and loads what is missing
// of the image for it.
func (x *Index) Grow(ctx context.Context, bits uint) error {
	for x.Bits() < bits {
		if err := x.LoadAll(ctx); err != nil {
			return err
		}
		if err := x.acquire(ctx); err != nil {
			return err
		}
		var err error
		for err == nil && x.holds > 0 {
			// Whoever holds the table lets go without our help.
			<-x.lock
			var w waiter
			w.rounds = yields
			w.wait()
			err = x.acquire(ctx)
		}
		if err != nil {
			return err
		}
		if x.Bits() < bits && !x.table.Load().busy.Load() {
			err = x.startGrowth(false)
		}
		<-x.lock
		if err != nil {
			return err
		}
		if err := x.finishGrowth(ctx); err != nil {
			return err
		}
	}
	return x.finishGrowth(ctx)
}

// startGrowth publishes a table of twice the size, with the present one behind it, if that is possible and, for a
// bounded caller, allowed. The lock is held.
func (x *Index) startGrowth(bounded bool) error {
	t := x.table.Load()
	o := &t.overflow
	if x.closed || x.holds > 0 || t.busy.Load() || t.Bits == maxBits {
		return errNoMemory
	}
	// The number of overflow buckets of t is final: it grows only under the lock, and only in the newest table.
	n, err := x.newTable(t.Bits+1, o.mapped, bounded)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.growAt = o.used.Load() + o.mapped/4 // do not ask again at once
		if errors.Is(err, errNoMemory) && x.cfg.OnFull != nil {
			x.cfg.OnFull()
		}
		return err
	}
	n.old.Store(t)
	n.busy.Store(true)
	x.publish(n)
	x.want.Store(false)
	return nil
}

// growInBackground starts a growth, if it is still wanted, and allowed, and moves everything.
func (x *Index) growInBackground() {
	x.lock <- struct{}{}
	t := x.table.Load()
	if x.holds > 0 || t.image.Load() != nil {
		x.deferred.Store(true) // resumeGrowth
	} else if t.crowded() {
		_ = x.startGrowth(true) // if it may not, inserts make do
	}
	<-x.lock
	x.moveAll()
}

// resumeGrowth starts in the background what was put off while the table was held or blocks were missing.
func (x *Index) resumeGrowth() {
	if x.deferred.Swap(false) {
		x.spawn(x.growInBackground)
	}
}

// moveAll moves what nobody has begun to move.
func (x *Index) moveAll() {
	t := x.table.Load()
	for x.moveSpan(t) {
	}
}

// finishGrowth returns when no growth goes on. It helps.
func (x *Index) finishGrowth(ctx context.Context) error {
	t := x.table.Load()
	for x.moveSpan(t) {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	var w waiter
	for t.old.Load() != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.wait()
	}
	return nil
}

// moveSpan moves one span of buckets into t, if there is one that nobody has begun with. It may be called outside
// the epoch: the old table stays while one of its spans is not done.
func (x *Index) moveSpan(t *table) bool {
	old := t.old.Load()
	if old == nil || old.moves.next.Load() >= old.spans() {
		return false
	}
	s := old.moves.next.Add(1) - 1
	if s >= old.spans() {
		return false
	}
	for b := s * spanBuckets; b < min((s+1)*spanBuckets, old.Mask+1); b++ {
		t.ensureMoved(old, b)
	}
	if old.moves.done.Add(1) == old.spans() {
		x.endGrowth(t, old)
	}
	return true
}

// endGrowth lets go of old, all of whose buckets are moved.
func (x *Index) endGrowth(t, old *table) {
	t.overflow.release()
	x.growths.Add(1)
	if t.overflow.used.Load() > t.overflow.growAt {
		x.want.Store(true)
	}
	x.steady.Store(&t.Buckets) // before anybody can begin the next growth
	t.busy.Store(false)
	t.old.Store(nil)
	buckets := int(t.Mask + 1)
	x.cfg.Epoch.Defer(func() {
		x.free(old)
		if x.cfg.OnGrow != nil {
			x.cfg.OnGrow(buckets)
		}
	})
}

// ensureMoved returns when bucket b of old is moved into t. Afterwards the caller needs only t (I5).
func (t *table) ensureMoved(old *table, b uint64) {
	var w waiter
	p := mem.Word(mem.Add(old.bucket(b), linkOffset))
	for {
		l := link(p.Load())
		step()
		switch {
		case l.moved():
			return
		case l.claimed():
			w.wait()
		case p.CompareAndSwap(uint64(l), uint64(l|claimedBit)):
			t.move(old, b)
			step()
			p.Or(uint64(movedBit))
			return
		}
	}
}

// move moves bucket b of old, which is claimed, into t.
func (t *table) move(old *table, b uint64) {
	// Longer chains than these are rare enough for the heap.
	var a0, a1, a2 [4 * bucketSlots]word.Entry
	entries := old.freeze(b, a0[:0])
	lo, hi := split(entries, a1[:0], a2[:0])
	t.pack(b, lo)
	t.pack(b+old.Mask+1, hi)
	if invariant.Enabled {
		t.mustHold(b)
		t.mustHold(b + old.Mask + 1)
	}
}

// freeze appends the entries of bucket b to entries and makes every slot of its chain Frozen (I5). Entries without a
// chain are left behind: whoever is about to give one an address finds it gone and begins again.
func (t *table) freeze(b uint64, entries []word.Entry) []word.Entry {
	for p := t.bucket(b); p != nil; {
		for i := range bucketSlots {
			step()
			e := word.Entry(mem.Word(slotOf(p, i)).Swap(uint64(word.Frozen)))
			if e.Address() != word.None {
				entries = append(entries, e)
			}
		}
		step()
		// After this nothing is linked behind p (I6).
		l := link(mem.Word(mem.Add(p, linkOffset)).Or(uint64(claimedBit)))
		i, ok := l.target()
		if !ok {
			break
		}
		p = t.overflowBucket(i)
	}
	return entries
}

// split appends the entries of a bucket to those of the two buckets that it becomes when the table doubles.
func split(entries, lo, hi []word.Entry) (_, _ []word.Entry) {
	for _, e := range entries {
		half, rest, both := e.Tag().Split()
		e = e.WithTag(rest)
		if half == 0 || both {
			lo = append(lo, e)
		}
		if half == 1 || both {
			hi = append(hi, e)
		}
	}
	return alone(lo), alone(hi)
}

// alone returns what is needed of the entries of one bucket: an entry that has just lost its last bit is the owner of
// every hash, and an older catch-all before it is the owner of none (package comment, why catch-alls lose nothing).
func alone(entries []word.Entry) []word.Entry {
	for i := len(entries) - 1; i > 0; i-- {
		if entries[i].Tag() == word.CatchAll {
			if invariant.Enabled {
				invariant.Check(len(entries) == 2 && entries[0].Tag() == word.CatchAll, "I2: %v beside a catch-all", entries)
			}
			return entries[i : i+1]
		}
	}
	return entries
}

// pack writes entries into bucket b, which is empty and which nobody else looks at.
func (t *table) pack(b uint64, entries []word.Entry) {
	p := t.bucket(b)
	for i, e := range entries {
		slot := i % bucketSlots
		if slot == 0 && i > 0 {
			j, q := t.takeForMove()
			mem.StorePlain(mem.Add(p, linkOffset), uint64(makeLink(j)))
			p = q
		}
		mem.StorePlain(slotOf(p, slot), uint64(e))
	}
}
