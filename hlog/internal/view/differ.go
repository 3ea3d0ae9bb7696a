package view

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Change is what has become of a key from one version to another.
type Change struct {
	Key     []byte
	Value   []byte // in the later version; nil when Deleted
	Deleted bool   // the key has no value there
}

// Changes calls fn for every key whose state in v is another than in old, nil for the empty state, until fn returns false (Z1 to Z3).
func (v *Version) Changes(ctx context.Context, old *Version, fn func(Change) bool) error {
	d := differ{old: old, new: v, fn: fn}
	only := unshared(old, v)
	gone := only.Clone() // log of which only the older version is certain to have the files
	gone.SubtractSet(checkpoint.Log(v.extents()))
	only.SubtractSet(gone)
	if err := d.walk(ctx, v, only); err != nil || d.ended {
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

// walk notes the records of some log of which v has the files that only one version has.
func (d *differ) walk(ctx context.Context, v *Version, log *checkpoint.ExtentSet) error {
	for _, r := range log.Ranges() {
		err := v.Segments.NewWalker().Walk(ctx, r.Start, r.End, func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if err := d.over(); err != nil {
				return false, err
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

// differ compares the keys of records that only one of two versions has.
type differ struct {
	old, new *Version // old may be nil: the empty state
	fn       func(Change) bool
	batch    []candidate
	bytes    int
	ended    bool // fn has returned false
}

// over returns why the comparison ends early, if it has to.
func (d *differ) over() error {
	if err := d.new.Ended(); err != nil || d.old == nil {
		return err
	}
	return d.old.Ended()
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
	// DifferBatch is how many keys are compared together, and differBytes how much they and their values take, about.
	DifferBatch   = 512
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
	return len(d.batch) == DifferBatch || d.bytes >= differBytes
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
		if c := &d.batch[i]; cap(c.data) > 2*differBytes/DifferBatch {
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
	r := others.borrow()
	defer others.giveBack(r)
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
		if value, alive, err = others.findBelow(nil, key); err != nil {
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
