package view

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// A scan of a view follows no chains and loads no index (Z4 to Z8): it reads the shares of the version in the order of their
// hashes, and sets a bit for each record that they name; then it reads the log in its own order.
//
//	shares and the log behind them     h1 -> a    h2 -> d    h3 -> c     (newest record of each hash)
//	                                         \        \        /
//	bits, one for 16 bytes of log      . 1 . . . . 1 . 1 . .
//	log                                  a   b     c   d                 b owes: a later record of its key
//
// All reads are sequential, on a remote as well.

// Scan is such a scan. It belongs to one goroutine.
type Scan struct {
	Listing Listing
	Bytes   int // that marks and owed may take

	v       *Version
	fn      func(key, value []byte) bool
	ended   bool // fn has returned false
	seed    uint64
	marks   marks
	owed    owed
	orphans map[uint64]orphan // by the print of the key
}

// Listing is an index.Listing; tests put another in its place.
type Listing interface {
	Next(ctx context.Context) (triples []index.Triple, more bool, err error)
	Rewind()
	Close()
}

// orphan is the newest record of a key that the index does not name, because a newer record of another key has its hash.
type orphan struct {
	at        word.Address // 0: none in the log, but in the tier
	tombstone bool
}

// MaxUntold is how much log behind its shares a version may have for its scans to go by the shares: what that log tells is
// held in memory. Versions of this release have less (R4).
const MaxUntold = 16 << 20

// NewScan returns a scan of a version whose shares, and a little log behind them, tell of all its records.
func (v *Version) NewScan(fn func(key, value []byte) bool) *Scan {
	return &Scan{
		Listing: index.NewListing(index.Source{Shares: shares.Of(v.Manifest.Shares), Drop: v.begin, Open: v.OpenShare}, v.Untold.newest()),
		Bytes:   v.ScanBytes,
		v:       v, fn: fn, seed: rand.Uint64(), orphans: map[uint64]orphan{},
	}
}

// Scan calls fn once for every key that has a value in the version, in no particular order, until fn returns false.
func (v *Version) Scan(ctx context.Context, fn func(key, value []byte) bool) error {
	if v.Untold != nil {
		return v.NewScan(fn).Run(ctx)
	}
	return v.ScanChains(ctx, fn)
}

// Untold is what the flusher has told of the log of a version that its shares do not stand for. Opening the version replays that
// log, and tells it again.
type Untold struct {
	sorting sync.Once
	triples []index.Triple
}

// UntoldOf returns what is to be told of version m, nil if that is too much, or if m has an image or runs of an earlier release.
func UntoldOf(m *checkpoint.Manifest) *Untold {
	x := &m.Index
	if x.Image != nil || len(x.Runs) > 0 || m.Cut > max(x.Replay(), ledger.LogBegin(m))+MaxUntold {
		return nil
	}
	return &Untold{}
}

// Teller returns what tells, while the version is being opened; nil if there is nobody to tell.
func (b *Untold) Teller() func(from, to uint64, records []index.Logged) {
	if b == nil {
		return nil
	}
	return func(_, _ uint64, records []index.Logged) {
		for i := range records {
			b.triples = append(b.triples, records[i].Triple)
		}
	}
}

// newest returns the newest records of all hashes, in the order of hashes.
func (b *Untold) newest() []index.Triple {
	b.sorting.Do(func() { b.triples = slices.Clip(index.NewestOf(b.triples)) })
	return b.triples
}

// Run visits what there is. It closes the listing.
func (c *Scan) Run(ctx context.Context) error {
	defer c.Listing.Close()
	defer c.marks.close()
	defer c.owed.close()
	begin, cut := uint64(c.v.begin), c.v.Manifest.Cut
	if err := c.marks.open(begin, cut, c.Bytes/2); err != nil {
		return err
	}
	c.owed.max = c.Bytes / 4 / owedSlot // while it is made anew there are two
	c.marks.begin(begin)
	err := c.overTier(ctx)
	if err == nil && !c.ended {
		c.owed.expect = c.superseded()
		err = c.overLog(ctx)
	}
	if err == nil && !c.ended {
		c.owed.each(c.orphan)
		err = c.visitOrphans(ctx)
	}
	return err
}

// overTier marks the first stretch of log, and visits the keys of the tier whose hash no record of the log has; a key whose
// hash one has is owed a record in the log (Z7).
func (c *Scan) overTier(ctx context.Context) error {
	if c.v.Below == nil {
		return c.mark(ctx)
	}
	var triples []index.Triple // marked up to at
	at, more := 0, true
	next := func() (err error) {
		if err := c.v.Ended(); err != nil {
			return err
		}
		at = 0
		triples, more, err = c.Listing.Next(ctx)
		c.marks.setAll(triples)
		return c.listError(err)
	}
	err := c.v.Below.Over(ctx, func(key, value []byte) (bool, error) {
		o := c.v.order(key)
		for more && (at == len(triples) || triples[at].Order() < o) {
			if at < len(triples) {
				at++
			} else if err := next(); err != nil {
				return false, err
			}
		}
		if at == len(triples) || triples[at].Order() != o {
			c.ended = !c.fn(key, value)
			return !c.ended, nil
		}
		return true, c.owe(ctx, c.print(key), uint64(c.v.begin))
	})
	for err == nil && more && !c.ended {
		err = next()
	}
	return err
}

// superseded returns about how many records of the log the listing, which has been gone over once, did not name.
func (c *Scan) superseded() int {
	var bytes int64
	for _, e := range c.v.Manifest.Extents {
		bytes += int64(e.End - e.Start)
	}
	if c.marks.bytes == 0 {
		return 0
	}
	return int(max(bytes-c.marks.bytes, 0) * c.marks.told / c.marks.bytes)
}

// mark marks the stretch of log that the marks are of.
func (c *Scan) mark(ctx context.Context) error {
	for {
		if err := c.v.Ended(); err != nil {
			return err
		}
		triples, more, err := c.Listing.Next(ctx)
		if err != nil || !more {
			return c.listError(err)
		}
		c.marks.setAll(triples)
	}
}

func (c *Scan) listError(err error) error { return c.v.IndexFault(err) }

// overLog visits all records whose bit is set, stretch by stretch.
func (c *Scan) overLog(ctx context.Context) error {
	err := c.walk(ctx, uint64(c.v.begin), func(a word.Address, rec record.Bytes, sh record.Shape, p uint64) (bool, error) {
		for uint64(a) >= c.marks.end {
			if err := c.goOn(ctx); err != nil {
				return false, err
			}
		}
		newest, tombstone := c.marks.take(a), rec.State().Tombstone()
		if !newest || c.owed.owing > 0 {
			if p == 0 {
				p = c.print(rec.Key(sh))
			}
			if newest || tombstone {
				c.owed.pay(p)
			} else if err := c.owe(ctx, p, uint64(a)); err != nil {
				return false, err
			}
		}
		if newest && !tombstone {
			c.ended = !c.fn(rec.Key(sh), rec.Value(sh))
		}
		return !c.ended, nil
	})
	for err == nil && !c.ended && c.marks.end < c.v.Manifest.Cut {
		err = c.goOn(ctx)
	}
	if err != nil || c.ended {
		return err
	}
	return c.allMet()
}

// goOn marks the next stretch of log: the one before has been walked.
func (c *Scan) goOn(ctx context.Context) error {
	if err := c.allMet(); err != nil {
		return err
	}
	c.marks.begin(c.marks.end)
	c.Listing.Rewind()
	return c.mark(ctx)
}

// allMet returns an error if a bit is left of the stretch that was walked (Z8).
func (c *Scan) allMet() error {
	if a, left := c.marks.first(); left {
		return c.v.Segments.Corrupt(a, "the index leads to a record here, and version %d has none", c.v.Manifest.Version)
	}
	return nil
}

// walkLook is after how many records a walk looks at whether the view was closed.
const walkLook = 256

// walk calls fn for each record of the version from an address on, with the print of its key, 0 if it has not been made.
func (c *Scan) walk(ctx context.Context, from uint64, fn func(a word.Address, rec record.Bytes, sh record.Shape, p uint64) (bool, error)) error {
	var prints []uint64 // of a group
	at := 0             // of prints: that of the next record
	w, done := c.v.Segments.NewWalkerAhead(c.v.Queues)
	defer done()
	prepare := func(group []reclog.Found) error {
		prints, at = prints[:0], 0
		for i := range group {
			p := c.print(group[i].Rec.Key(group[i].Shape))
			c.owed.prefetch(p)
			prints = append(prints, p)
		}
		return nil
	}
	more, visits := true, 0
	for _, e := range checkpoint.Trim(c.v.Manifest.Extents, from) {
		skip := Skip(e)
		err := w.Walk(ctx, e.Start, e.End, func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if visits%walkLook == 0 {
				if err := c.v.Ended(); err != nil {
					return false, err
				}
				if c.owed.owing > 0 {
					w.Prepare = prepare // from the next chunk on
				}
			}
			visits++
			p := uint64(0)
			if at < len(prints) {
				p = prints[at]
				at++
			}
			if skip(a, rec) {
				return true, nil
			}
			var err error
			more, err = fn(a, rec, sh, p)
			return more, err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// print returns what a key is told from others by.
func (c *Scan) print(key []byte) uint64 { return max(xxh3.HashSeed(key, c.seed)&^owes, 2) }

// owe notes that a key is owed a record from the address on. When there is no room, all that are owed get it first (Z6).
func (c *Scan) owe(ctx context.Context, p, from uint64) error {
	if ok, err := c.owed.owe(p); ok || err != nil {
		return err
	}
	err := c.walk(ctx, from, func(_ word.Address, rec record.Bytes, sh record.Shape, p uint64) (bool, error) {
		if p == 0 {
			p = c.print(rec.Key(sh))
		}
		c.owed.pay(p)
		return c.owed.owing > 0, nil
	})
	if err != nil {
		return err
	}
	c.owed.each(c.orphan)
	c.owed.clear()
	_, err = c.owed.owe(p)
	return err
}

func (c *Scan) orphan(p uint64) { c.orphans[p] = orphan{} }

// visitOrphans visits the keys that the index does not name (Z5).
func (c *Scan) visitOrphans(ctx context.Context) error {
	if len(c.orphans) == 0 {
		return nil
	}
	err := c.walk(ctx, uint64(c.v.begin), func(a word.Address, rec record.Bytes, sh record.Shape, _ uint64) (bool, error) {
		p := c.print(rec.Key(sh))
		if _, ok := c.orphans[p]; ok {
			c.orphans[p] = orphan{a, rec.State().Tombstone()}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	var inLog []word.Address
	for p, o := range c.orphans {
		if o.at > 0 {
			delete(c.orphans, p)
		}
		if o.at > 0 && !o.tombstone {
			inLog = append(inLog, o.at)
		}
	}
	slices.Sort(inLog)
	reader := c.v.Log.NewReader()
	for _, a := range inLog {
		rec, sh, err := reader.Read(a)
		if err != nil {
			return err
		}
		if c.ended = !c.fn(rec.Key(sh), rec.Value(sh)); c.ended {
			return nil
		}
	}
	if len(c.orphans) == 0 || c.v.Below == nil {
		return nil
	}
	return c.v.Below.Over(ctx, func(key, value []byte) (bool, error) {
		if _, ok := c.orphans[c.print(key)]; ok {
			c.ended = !c.fn(key, value)
		}
		return !c.ended, nil
	})
}
