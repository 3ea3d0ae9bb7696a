package hlog

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/hlog/internal/view"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Compaction empties the oldest part of the log: live records there are copied to the tail, if they are still the
// newest of their keys when the copy is published; the rest is dead. The new beginning takes effect with the next
// version, whose manifest leaves the emptied part out; its files go when no version, view or scan needs them.
//
// Tombstones are not copied: what they hide is older, and leaves with them. Their index entries go once a version begins
// above them. Older versions are not harmed: they have log and images of their own, and a restore to one of them opens
// the index anew instead of rewinding one that has forgotten keys (K3).

// compactState is what compaction hands to the next version.
type compactState struct {
	running lock.Mutex[lock.Compacting] // one compaction, restore or clearing of entries at a time

	haste     haste // of those who wait for a compaction, or for running
	space     space
	stuckTold atomic.Bool // the log has it that a record is larger than the pages

	copies copies // how many records were copied in each version

	reads *reclog.ReadAhead // of running, as sweep is: made when they are first needed
	sweep *reclog.Sweep

	mu      lock.Mutex[lock.Leaf]
	dropped []droppedTombstone // of mu: their entries may go once the log begins above them
	cleared uint64             // of mu: entries that led to log below it are missing in the index
}

// droppedTombstone is a tombstone that compaction has not moved.
type droppedTombstone struct {
	hash uint64
	at   uint64
}

// tells reports whether an error of a compaction is worth a line in the log: one that is there until the next opening is,
// once.
func (c *compactState) tells(err error) bool {
	return !errors.Is(err, ErrOptions) || c.stuckTold.CompareAndSwap(false, true)
}

// drop notes tombstones whose entries lead only to what has been dropped.
func (c *compactState) drop(tombstones []droppedTombstone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = append(c.dropped, tombstones...)
}

// reset forgets the tombstones of a compaction that no version has published: the store has been opened or restored, for a log that
// begins at begin, with an index that was made anew if fresh is set.
func (c *compactState) reset(begin uint64, fresh bool) {
	c.copies.reset()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = slices.DeleteFunc(c.dropped, func(d droppedTombstone) bool { return fresh || d.at >= begin })
	if fresh {
		c.cleared = begin
	}
}

// forgotten returns the address below which log may be missing from the index, where the log begins now being begin.
// That an entry has not been freed yet makes no difference once the tombstone it leads to is out of the log: no walk
// over the log comes upon it.
func (c *compactState) forgotten(begin uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.dropped {
		if d.at < begin {
			c.cleared = max(c.cleared, begin)
			break
		}
	}
	return c.cleared
}

// take returns the hashes of tombstones that have left the log, which begins at begin.
func (c *compactState) take(begin uint64) (hashes []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = slices.DeleteFunc(c.dropped, func(d droppedTombstone) bool {
		if d.at < begin {
			hashes = append(hashes, d.hash)
		}
		return d.at < begin
	})
	if len(hashes) > 0 {
		c.cleared = max(c.cleared, begin)
	}
	return hashes
}

// clearEntries frees the index entries that lead to nothing in the log any more. It comes after the commit that made
// the log begin where it does: every version from here on is opened without them, and none can bring such an entry,
// which may stand for more hashes than new ones would, back among new ones (R1).
func (s *Store) clearEntries() {
	s.compactor.running.Lock() // no restore moves the beginning back meanwhile
	defer s.compactor.running.Unlock()
	begin := s.log.Begin()
	hashes := s.compactor.take(begin)
	if len(hashes) == 0 {
		return
	}
	s.clearBelow(begin, hashes)
}

// clearBelow frees the entries of hashes that lead below begin.
func (s *Store) clearBelow(begin uint64, hashes []uint64) {
	g := s.epochs.Register()
	defer g.Release()
	for some := range slices.Chunk(hashes, clearGroup) {
		g.Enter()
		for _, h := range some {
			slot, e, status := s.index().Find(h)
			if status == index.Found && uint64(e.Address()) < begin && e.Address() != word.None {
				slot.Clear(e) // it fails if the key has come back
			}
		}
		g.Exit()
	}
}

// clearGroup is how many entries are freed in one stay in the epoch.
const clearGroup = 64

// Compact empties the log of the current version: what is live in it is copied to the tail, while operations go on. The
// next version is the first without the old log, whose files go when no version that is kept needs them. The store
// compacts by itself, unless Options.NoCompaction is set; a call is for a moment that suits better. Before the first
// version there is nothing to do.
//
// After an error, that of ctx included, nothing is lost, and what was copied need not be copied again. ErrReadOnly;
// ErrClosed; ErrCorrupt when log to be copied is damaged; ErrOptions when there is a record that is larger than
// Options.PageBytes, which only a directory can have that was written before stores took notes of that: the error says
// which options take it, and what lies before it was copied.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if !s.writable {
		return ErrReadOnly
	}
	m := s.current()
	if m == nil {
		return nil // nothing is committed: there is no old log
	}
	defer s.compactor.haste.begin()() // the caller waits
	return s.compactTo(ctx, m.Cut, true)
}

// compactTo empties the log below target, which lies at or below the cut of the current version. It stops short of a
// record that no page could take, of which only a directory of an older store may have one (K5); that is ErrOptions. If it is
// hurried, it takes more memory.
func (s *Store) compactTo(ctx context.Context, target uint64, hurried bool) error {
	if s.cold.standing.Load() != nil {
		return s.demoteTo(ctx, target)
	}
	s.compactor.running.Lock()
	defer s.compactor.running.Unlock()
	if err := s.check(); err != nil {
		return err
	}
	if s.cold.standing.Load() != nil {
		return nil // somebody has just begun to demote
	}
	began := time.Now()
	hold, _ := s.hold("a compaction") // versions may go meanwhile, and their log with them
	defer hold.Release()
	m := hold.Parent
	if m == nil || len(m.Extents) == 0 || target <= m.Extents[0].Start || target <= s.ledger.EmptyBelow() {
		return nil
	}
	target = min(target, m.Cut)
	c := &compaction{picker: s.newPicker()}
	c.take = c.move
	if hurried {
		c.probes.Limit = s.memory.compactProbes()
		s.memory.cold.Add(int64(c.probes.Limit))
		defer s.memory.cold.Add(-int64(c.probes.Limit))
		s.log.Kick()
	}
	defer c.close()
	w := c.walker()
	defer w.Close()
	var stuck error // what ended the compaction before its target
	// The records of the next version in m's fuzzy end are not m's, but they are the live store's.
	for _, e := range checkpoint.Extend(m, checkpoint.Extent{}, hold.Live) {
		if e.Start >= target {
			break
		}
		skip := view.Skip(e)
		err := c.pace.walk(ctx, w, e.Start, e.End, func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if uint64(a) >= target {
				target = uint64(a) // the end of what is empty must be the start of a record
				return false, nil
			}
			if skip(a, rec) {
				return true, nil
			}
			if is, err := c.stuck(a, rec, sh); is || err != nil {
				target = uint64(a)
				if is {
					stuck = s.stuckError(a, sh)
				}
				return false, err
			}
			c.seen += int64(sh.Size)
			if rec.State().Tombstone() {
				s.log.MetTombstone()
			}
			return true, c.visit(ctx, a, rec, sh)
		})
		if err != nil {
			return err
		}
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	s.compactor.drop(c.dropped)
	s.ledger.Emptied(target)
	s.events.compacted(target, c.moved, time.Since(began))
	return stuck
}

// closeCompactor waits for a compaction that is under way, which finds the store closed, and gives back what it reads with.
func (s *Store) closeCompactor() error {
	defer s.compactor.haste.begin()()
	s.compactor.running.Lock()
	defer s.compactor.running.Unlock()
	if s.compactor.reads == nil {
		return nil
	}
	s.compactor.reads.Stop()
	return s.compactor.sweep.Rest()
}

// compaction moves records on behalf of one Compact.
type compaction struct {
	picker
	seen  int64 // bytes of records looked at
	moved int64 // bytes of records copied

	published bool // the record that is being moved has been copied

	dropped []droppedTombstone
}

// stuck reports whether the record at a is the newest of its key but fits into no page as they are now. Compaction ends
// there; a dead record of that kind is passed over.
func (c *compaction) stuck(a word.Address, rec record.Bytes, sh record.Shape) (bool, error) {
	if c.s.log.Holds(sh) {
		return false, nil
	}
	from, err := c.leaves(rec.Key(sh), a)
	if err != nil || from < a {
		return false, err
	}
	return c.probes.Follow(rec.Key(sh), a, from)
}

// move copies the record at a to the tail, or drops it if it is a tombstone. seen is where its chain left memory when
// it was found to be the newest of its key (K1); when the chain has changed since, the question is asked again.
func (c *compaction) move(a, seen word.Address, rec record.Bytes, sh record.Shape) error {
	key := rec.Key(sh)
	h := c.s.hash(key)
	c.published = false
	for tries := 0; ; tries++ {
		ctl, err := c.x.enter()
		if err != nil {
			return err
		}
		o, changed := c.publishIf(ctl, a, seen, rec, sh, key, h)
		c.x.guard.Exit()
		switch {
		case changed:
			if seen, err = c.leaves(key, a); err != nil || seen < a {
				return err
			}
			if newest, err := c.probes.Follow(key, a, seen); err != nil || !newest {
				return err
			}
		case o == done:
			if c.published {
				c.x.inherit(a, 0)
			}
			return nil
		default:
			if err := c.x.provide(o, h, tries); err != nil {
				return err
			}
		}
	}
}

// publishIf moves the record if its chain still leaves memory at seen, from where it is known to be the newest of its
// key; changed reports that it does not.
func (c *compaction) publishIf(ctl control, a, seen word.Address, rec record.Bytes, sh record.Shape, key []byte, h uint64) (o outcome, changed bool) {
	l := c.s.log
	slot, e, status := c.s.index().Find(h)
	if status == index.NeedLoad {
		return needLoad, false
	}
	if c.x.overtaken(ctl, e, l.SafeReadOnly()) {
		return again, false
	}
	at, _, ok := l.Find(e.Address(), key, l.Head())
	switch {
	case ok && at != a:
		return done, false // superseded
	case at != seen && at != a:
		return done, true
	}
	if rec.State().Tombstone() {
		// It goes with the log below it. Its entry has to wait until then (K3).
		c.dropped = append(c.dropped, droppedTombstone{hash: h, at: uint64(a)})
		return done, false
	}
	value := rec.Value(sh)
	o = c.x.publish(ctl, slot, e, source{heat: rec.Link().Heat()}, key, value, false)
	if o == done {
		c.published = true
		c.moved += int64(sh.Size)
		c.s.compactor.copies.add(ctl.version())
		c.s.counters.compactedBytes.Add(int64(sh.Size))
	}
	return o, false
}
