package cold

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Tier is what a store has below the begin of its log: for each hash, the shares that say something of it. It never
// changes.
type Tier struct {
	begin      word.Address // of the log: the shares stand for all of it below
	generation uint64       // is raised by demotions and not by merges
	refs       index.Shares
	shares     []*Share // as refs
	starts     []uint64 // of ranges in which the same shares stand for an order
	ranges     [][]*Share
	depth      int // of the range with most shares
}

// NewTier returns the tier of a log that begins at begin. refs are the files that stand for the log below it, and shares
// the same files opened.
func NewTier(begin word.Address, generation uint64, refs index.Shares, shares []*Share) (*Tier, error) {
	t := &Tier{begin: begin, generation: generation, refs: refs, shares: shares}
	if len(refs) == 0 {
		return t, nil
	}
	if err := refs.Check(word.FirstAddress, begin); err != nil {
		return nil, fmt.Errorf("cold: T21: %w", err)
	}
	byID := make(map[uint64][]*Share, len(shares))
	t.starts = append(t.starts, 0)
	for _, s := range shares {
		byID[s.ref.ID] = append(byID[s.ref.ID], s)
		t.starts = append(t.starts, s.ref.First)
		if s.ref.Last < math.MaxUint64 {
			t.starts = append(t.starts, s.ref.Last+1)
		}
	}
	slices.Sort(t.starts)
	t.starts = slices.Compact(t.starts)
	sorted := slices.Clone(shares)
	slices.SortFunc(sorted, func(a, b *Share) int { return cmp.Compare(a.ref.First, b.ref.First) })
	for i, first := range t.starts {
		last := uint64(math.MaxUint64)
		if i+1 < len(t.starts) {
			last = t.starts[i+1] - 1
		}
		var here []*Share
		for _, r := range refs.Over(first, last) {
			for _, s := range byID[r.ID] {
				if s.ref == r {
					here = append(here, s)
				}
			}
		}
		slices.SortFunc(here, newerFirst)
		t.ranges = append(t.ranges, here)
		t.depth = max(t.depth, len(here))
	}
	return t, nil
}

// Begin returns where the log begins above the tier.
func (t *Tier) Begin() word.Address { return t.begin }

// Generation returns how many demotions went before.
func (t *Tier) Generation() uint64 { return t.generation }

// Depth returns how many shares stand for an order at the most: a lookup asks no more than that.
func (t *Tier) Depth() int { return t.depth }

// Refs returns the files of the tier. They must not be changed.
func (t *Tier) Refs() index.Shares { return t.refs }

// over returns the shares that stand for an order, newer ones first.
func (t *Tier) over(order uint64) []*Share {
	if len(t.ranges) == 0 {
		return nil
	}
	return t.ranges[sort.Search(len(t.starts), func(i int) bool { return t.starts[i] > order })-1]
}

// Fetch opens what a Lookup of an order takes, of shares that were only named, and reads from all of them at a time what it is
// going to read, so that whoever is behind the files has it at hand. Errors are *[CorruptError], and those of the files.
func (t *Tier) Fetch(f *Filters, order uint64) error {
	shares := t.over(order)
	if len(shares) == 1 {
		return shares[0].Open() // nothing can be asked beside it: the Lookup reads the rest, once
	}
	return together(len(shares), func(i int) error { return shares[i].fetch(f, order) })
}

// fetch reads the records of an order, unless the filter excludes it.
func (s *Share) fetch(f *Filters, order uint64) error {
	e, err := s.openNamed()
	if err != nil {
		return err
	}
	a, block := f.ask(s, order)
	if a == unknown {
		b := mem.AlignedBytes(BlockBytes, BlockBytes)
		if off := s.filterAt(block); len(e.b) > 0 && off >= e.at {
			copy(b, e.b[off-e.at:]) // so that it need not be kept by who is behind the file
		} else if err := s.readAt(b, off); err != nil {
			return err
		}
		if err := f.Put(s, block, b); err != nil {
			return err
		}
		if a = no; s.filterHolds(b, order) {
			a = maybe
		}
	}
	records := s.Seek(order)
	if a == no || records.N == 0 {
		return nil
	}
	return s.readAt(mem.AlignedBytes(records.N, BlockBytes), records.Off)
}

// Excludes reports whether the tier, as far as it can be told from memory, has no record of an order at all.
func (t *Tier) Excludes(f *Filters, order uint64) bool {
	for _, s := range t.over(order) {
		if a, _ := f.ask(s, order); a != no {
			return false
		}
	}
	return true
}

// Lacks reports whether Excludes would perhaps say otherwise after ReadFilters.
func (t *Tier) Lacks(f *Filters, order uint64) bool {
	lacks := false
	for _, s := range t.over(order) {
		a, _ := f.ask(s, order)
		if a == maybe {
			return false
		}
		lacks = lacks || a == unknown
	}
	return lacks
}

// ReadFilters brings into memory what Excludes lacks to tell of an order, as far as it is of use. b has room for a block.
// Errors are *[CorruptError], and those of the file.
func (t *Tier) ReadFilters(f *Filters, order uint64, b []byte) error {
	for _, s := range t.over(order) {
		a, block := f.ask(s, order)
		if a == unknown {
			b = b[:BlockBytes]
			if err := s.readAt(b, s.filterAt(block)); err != nil {
				return err
			}
			if err := f.Put(s, block, b); err != nil {
				return err
			}
			if s.filterHolds(b, order) {
				a = maybe
			}
		}
		if a == maybe {
			return nil // the order is not excluded, whatever the others say
		}
	}
	return nil
}

// Lookup is the search for one key in a tier:
//
//	for l := t.Lookup(f, order, key); ; {
//		read, ok := l.Next()
//		if !ok {
//			break // l.Found and l.Value say what came of it
//		}
//		... fill a buffer with what read names, from its file ...
//		err := l.Take(buffer)
//	}
//
// It reads nothing itself, so that many searches can wait for the disk together, and it never reads a file twice.
type Lookup struct {
	Found Found
	Value []byte // appended to what it was

	filters *Filters
	order   uint64
	key     []byte
	shares  []*Share
	read    Read
	more    bool // read has yet to be handed out: it is what the one before it lacked
	passed  bool // the filter of shares[0] has let the order pass, or is not asked
}

// Read is what a [Lookup] has to read: an extent of a share.
type Read struct {
	Share *Share
	Extent
	filter int // number of the block of filter, less 1; 0 for records
}

// Records reports whether what is read is where records of the key begin: if the share has one, it is there.
func (r Read) Records() bool { return r.filter == 0 }

// File returns the file that is read, as [OpenShare] was given it.
func (r Read) File() io.ReaderAt { return r.Share.r }

// Fill fills b, of the length of the extent, from the file of the share. Errors are *[CorruptError], and those of the file.
func (r Read) Fill(b []byte) error { return r.Share.readAt(b, r.Off) }

// Lookup begins the search for a key, whose hash has an order.
func (t *Tier) Lookup(f *Filters, order uint64, key, dst []byte) Lookup {
	return Lookup{filters: f, order: order, key: key, shares: t.over(order), Value: dst}
}

// Next returns what has to be read next. ok is false when the search has ended.
func (l *Lookup) Next() (read Read, ok bool) {
	if l.more {
		l.more = false
		return l.read, true
	}
	for ; len(l.shares) > 0; l.shares, l.passed = l.shares[1:], false {
		s := l.shares[0]
		e := s.Seek(l.order)
		if e.N == 0 {
			continue
		}
		if !l.passed {
			a, block := l.filters.ask(s, l.order)
			if a == no {
				continue
			}
			// The filter of the oldest share is not worth a read: most keys that got here are in it.
			if a == unknown && len(l.shares) > 1 {
				l.read = Read{s, s.filterExtent(block), block + 1}
				return l.read, true
			}
			l.passed = true
		}
		l.filters.passes.Add(1)
		l.read = Read{Share: s, Extent: e}
		return l.read, true
	}
	return Read{}, false
}

// Known takes the value that the share of what Next has asked for has of the key, instead of that, which has [Read.Records].
func (l *Lookup) Known(value []byte) {
	l.Value, l.Found, l.shares = append(l.Value, value...), Live, nil
}

// Take takes what Next has asked for. Errors are *[CorruptError].
func (l *Lookup) Take(b []byte) (err error) {
	s := l.read.Share
	if n := l.read.filter; n > 0 {
		a := maybe
		if err := l.filters.Put(s, n-1, b); err != nil {
			return err
		}
		if !s.filterHolds(b, l.order) {
			a = no
		}
		if l.passed = true; a == no {
			l.shares, l.passed = l.shares[1:], false
		}
		return nil
	}
	var more Extent
	l.Value, l.Found, more, err = s.Find(l.Value, b, l.read.Extent, l.key)
	switch {
	case err != nil:
		l.shares = nil
	case more.N > 0:
		l.read.Extent, l.more = more, true
	case l.Found != Absent:
		l.shares = nil
	default:
		l.shares, l.passed = l.shares[1:], false
	}
	return err
}
