package hlog

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Change is what has become of a key from one version to another. Key and Value are valid until the function that they are
// given to returns, and must not be changed.
type Change struct {
	Key     []byte
	Value   []byte // in the later version; nil when Deleted
	Deleted bool   // the key has no value there
}

// Changes calls fn for every key whose state in version to is another than in version from: once, in no particular order,
// until fn returns false. A key that has been written and has its old value again has not changed. Version 0 as from is the
// empty state, as to the current version. Neither need be an ancestor of the other: rollbacks between them are undone like
// any change. Whoever holds the state of from and applies all changes holds the state of to.
//
// The time it takes follows the log and the cold files (Options.ColdAfter) that only one of the two versions has: what was
// written since, and what compaction, demotions and merges have moved. It needs some MiB of memory, and what a View needs of
// each version. Writers, checkpoints, compaction and purges go on meanwhile. fn may use
// the store, but must not close it.
//
// ErrVersionNotFound when there is no such version (one that only the remote has is fetched), before fn is called; ErrCorrupt
// when log or index of one is damaged; ErrClosed when the store is closed meanwhile; the error of ctx.
func (s *Store) Changes(ctx context.Context, from, to checkpoint.Version, fn func(Change) bool) error {
	var old *View
	if from != 0 {
		w, err := s.OpenVersion(ctx, from)
		if err != nil {
			return err
		}
		defer w.Close()
		old = w
	}
	w, err := s.OpenVersion(ctx, to)
	if err != nil {
		return err
	}
	defer w.Close()
	return w.changes(ctx, old, fn)
}

// Changes is Store.Changes for versions that are open: it calls fn for every key whose state in the view is another than in
// from, nil for the empty state. Nothing can have purged what a view shows: whoever keeps the view of the version that was
// applied last, and asks the next one for its changes, misses none.
//
// Both may have been opened on a remote (OpenRemote, Follower.View): then what only one of them has is read from there, and
// kept in memory as far as the views have it.
//
// ErrOtherStore when from is a view of another Store, or of a remote with another history, or one of the two is on a remote and
// the other is not; ErrVersionNotFound when one was purged from the remote: all that before fn is called. Views of a store keep
// what they show. Those on a remote cannot, since nobody there knows of them: when one of the two is purged meanwhile, that is
// ErrVersionNotFound, too, after fn was called for some of the changes. ErrClosed when one of the views, or the store, is closed
// or is closed meanwhile; ErrRemote; ErrCorrupt; the error of ctx. Whenever there is an error, what fn was told is right, and
// not all. fn must not close the views.
func (w *View) Changes(ctx context.Context, from *View, fn func(Change) bool) error {
	if w.remote != nil {
		return w.changesOnRemote(ctx, from, fn)
	}
	if from != nil && from.s != w.s {
		return fmt.Errorf("%w: the versions whose changes are asked for", ErrOtherStore)
	}
	return w.changes(ctx, from, fn)
}

// changes is Changes from old, nil for the empty state, to w.
//
// A key that has changed has a newest record in each version, or in one of them. They are not the same record, and at least
// one is in the log of its version only:
//
//	Z1  If both versions had both records, the newer one would be the newest in both. If one version has none, it has not
//	    got the other's either: a tombstone that would hide it is dropped by compaction only together with what it hides
//	    (K3). So whoever looks at all records that only one version has comes upon every key that has changed, and
//	    deletions need no tombstone to be found.
//	Z2  Of each key that has changed one record answers for it: its newest in w, if only w has that; else its newest in
//	    old, which w has not got then. So each key is reported once, and nobody has to remember which ones were.
//
// What a version says of a key of which its log has nothing is what its cold files say:
//
//	Z3  A key that has changed and of which one log or both have a record has its newest record in a log that only that
//	    version has: if both logs had it, nothing would have changed. So that record answers, compared with what the other
//	    version says, be it in its log or below. A key of which neither log has anything has changed only if the tiers say
//	    different things of it, and is in a cold file that only one of them has (cold.Differ), which answers then.
func (w *View) changes(ctx context.Context, old *View, fn func(Change) bool) error {
	if err := w.start(); err != nil {
		return err
	}
	defer w.end()
	if old != nil {
		if err := old.start(); err != nil {
			return err
		}
		defer old.end()
	}
	d := differ{old: old, new: w, fn: fn}
	only := unshared(old, w)
	gone := only.Clone() // log of which only the older version is certain to have the files
	gone.SubtractSet(checkpoint.Log(w.extents()))
	only.SubtractSet(gone)
	if err := d.walk(ctx, w, only); err != nil || d.ended {
		return err
	}
	if err := d.walk(ctx, old, &gone); err != nil || d.ended {
		return err
	}
	if more, err := d.flush(ctx); err != nil || !more {
		return err
	}
	return d.tiers(ctx)
}

// walk notes the records of some log of which w has the files that only one version has.
func (d *differ) walk(ctx context.Context, w *View, log *checkpoint.ExtentSet) error {
	for _, r := range log.Ranges() {
		err := w.s.segments.NewWalker().Walk(ctx, r.Start, r.End, func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if d.new.isClosed() || d.old != nil && d.old.isClosed() {
				return false, ErrClosed
			}
			if now := d.new.has(a, rec); now != d.old.has(a, rec) && d.add(a, rec, sh, now) {
				return d.flush(ctx)
			}
			return true, nil
		})
		if err != nil || d.ended {
			return err
		}
	}
	return nil
}

// unshared returns the log that has every record which only one of two versions has: what only one has, and the fuzzy ends of
// extents, in which one may have records that the other has not (C4).
func unshared(old, new *View) *checkpoint.ExtentSet {
	a, b := old.extents(), new.extents()
	both, shared := checkpoint.Log(a), checkpoint.Log(a)
	one := checkpoint.Log(b)
	both.AddSet(one)
	only := shared.Clone()
	only.SubtractSet(one)
	shared.SubtractSet(only)
	both.SubtractSet(shared)
	for _, e := range slices.Concat(a, b) {
		if !slices.Contains(a, e) || !slices.Contains(b, e) {
			both.Add(e.Fuzzy, e.End)
		}
	}
	return &both
}

// extents returns the log of the version, none of the empty state, which is nil.
func (w *View) extents() []checkpoint.Extent {
	if w == nil {
		return nil
	}
	return w.m.Extents
}

// has reports whether the record at a belongs to the version. The empty state, which is nil, has none.
func (w *View) has(a word.Address, rec record.Bytes) bool {
	return slices.ContainsFunc(w.extents(), func(e checkpoint.Extent) bool {
		return e.Start <= uint64(a) && uint64(a) < e.End && !recordSkip(e)(a, rec)
	})
}

// differ compares the keys of records that only one of two versions has.
type differ struct {
	old, new *View // old may be nil
	fn       func(Change) bool
	batch    []candidate
	bytes    int
	ended    bool // fn has returned false
}

// candidate is such a record, and what has come of it.
type candidate struct {
	at      word.Address
	new     bool   // the newer version has it; else the older
	data    []byte // key, then value
	keyLen  int
	alive   bool     // no tombstone
	below   *twoSaid // of a key in cold files: then at, new and alive mean nothing
	change  Change
	changed bool
	err     error
}

const (
	differBatch   = 512
	differBytes   = 1 << 20
	differReaders = 32 // reads that are under way together
)

// add notes a record; full asks for a flush.
func (d *differ) add(a word.Address, rec record.Bytes, sh record.Shape, new bool) (full bool) {
	c := d.next()
	data := append(append(c.data[:0], rec.Key(sh)...), rec.Value(sh)...)
	*c = candidate{at: a, new: new, data: data, keyLen: len(rec.Key(sh)), alive: !rec.State().Tombstone()}
	return d.added(len(data))
}

// next returns a candidate to be filled, which may have room for data.
func (d *differ) next() *candidate {
	if len(d.batch) < cap(d.batch) {
		d.batch = d.batch[:len(d.batch)+1]
	} else {
		d.batch = append(d.batch, candidate{})
	}
	return &d.batch[len(d.batch)-1]
}

// added counts what was noted; full asks for a flush.
func (d *differ) added(bytes int) (full bool) {
	d.bytes += bytes
	return len(d.batch) == differBatch || d.bytes >= differBytes
}

// flush compares what was added, many keys at a time since most of the time goes into waiting for the disk, and reports what
// has changed. more is false when fn has had enough.
func (d *differ) flush(ctx context.Context) (more bool, err error) {
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(differReaders, len(d.batch)) {
		readers.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(d.batch) && ctx.Err() == nil; i = next.Add(1) - 1 {
				d.batch[i].err = d.compare(&d.batch[i])
			}
		})
	}
	readers.Wait()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	for i := range d.batch {
		c := &d.batch[i]
		if c.err != nil {
			return false, c.err
		}
		if c.changed && !d.fn(c.change) {
			d.ended = true
			break
		}
	}
	for i := range d.batch {
		if c := &d.batch[i]; cap(c.data) > 2*differBytes/differBatch {
			c.data = nil // all that is kept stays within 2*differBytes
		}
	}
	d.batch, d.bytes = d.batch[:0], 0
	return !d.ended, nil
}

// compare finds out whether c answers for its key, and what has become of that (Z2, Z3).
func (d *differ) compare(c *candidate) error {
	key := c.data[:c.keyLen]
	if c.below != nil {
		return d.compareBelow(c, key)
	}
	mine, others := d.new, d.old
	if !c.new {
		mine, others = d.old, d.new
	}
	newest, err := mine.newestIs(c.at, key)
	if err != nil || !newest || others == nil {
		c.note(key, c.data[c.keyLen:], newest && c.alive, nil, false)
		return err
	}
	r := others.readers.Get().(*viewReader)
	defer others.readers.Put(r)
	a, rec, sh, err := others.find(r, key)
	if err != nil {
		return err
	}
	var value []byte
	alive := rec != nil && !rec.State().Tombstone()
	if alive {
		value = rec.Value(sh)
	}
	if rec == nil {
		if value, alive, err = others.findInTier(r, nil, key); err != nil {
			return err
		}
	}
	switch {
	case c.new:
		c.note(key, c.data[c.keyLen:], c.alive, value, alive)
	case rec == nil || d.old.has(a, rec): // else that record answers
		c.note(key, bytes.Clone(value), alive, c.data[c.keyLen:], c.alive)
	}
	return nil
}

// note keeps what has become of a key, from the value that it had to the one that it has, if it had and has one.
func (c *candidate) note(key, value []byte, has bool, old []byte, had bool) {
	switch {
	case has && (!had || !bytes.Equal(value, old)):
		c.change, c.changed = Change{Key: key, Value: value}, true
	case had && !has:
		c.change, c.changed = Change{Key: key, Deleted: true}, true
	}
}

// newestIs reports whether the record at a, which the version has, is the newest of key in it.
func (w *View) newestIs(a word.Address, key []byte) (bool, error) {
	r := w.readers.Get().(*viewReader)
	defer w.readers.Put(r)
	if e, err := w.entry(r, w.s.hash(key)); err != nil || e == a {
		return e == a, err
	}
	at, _, _, err := w.find(r, key)
	return at == a, err
}
