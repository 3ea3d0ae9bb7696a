package index

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Shares is the index on disk as a version names it: share files, in any order. Where several stand for the same hashes
// and the same log, all of them are right (I16).
type Shares []ShareRef

// place is a range of orders.
type span struct{ first, last uint64 }

// size returns the length of the range as a share of all orders.
func (s span) size() float64 { return math.Ldexp(float64(s.last-s.first)+1, -64) }

func (s span) cut(o span) span      { return span{max(s.first, o.first), min(s.last, o.last)} }
func (s span) overlaps(o span) bool { return s.first <= o.last && o.first <= s.last }
func (s span) contains(o span) bool { return s.first <= o.first && s.last >= o.last }
func (r ShareRef) span() span       { return span{r.First, r.Last} }
func (r ShareRef) in(s span) float64 {
	return float64(r.Triples) * s.cut(r.span()).size() / r.span().size()
}
func (r ShareRef) inside(o, end word.Address) bool { return r.From >= o && r.To <= end }

// supersedes reports whether r stands for all the log that o stands for, having been merged from it and more. Two runs of
// one stretch, of records of different versions, do not supersede each other.
func (r ShareRef) supersedes(o ShareRef) bool {
	return o.inside(r.From, r.To) && (r.From < o.From || r.To > o.To || r.Level > o.Level)
}

// open returns the parts of the range of r, ascending, in which no other share supersedes it.
func (l Shares) open(r ShareRef) (parts []span) {
	var closed []span
	for _, o := range l {
		if o.supersedes(r) && o.span().overlaps(r.span()) {
			closed = append(closed, o.span())
		}
	}
	slices.SortFunc(closed, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	at := r.First
	for _, c := range closed {
		if c.first > at {
			parts = append(parts, span{at, c.first - 1})
		}
		if c.last >= r.Last {
			return parts
		}
		at = max(at, c.last+1)
	}
	return append(parts, span{at, r.Last})
}

// Add returns the shares with others besides, without what these supersede: what is left of a share is named as a part of its
// range.
func (l Shares) Add(others ...ShareRef) Shares {
	return l.add(others, func(r ShareRef, open []span) ShareRef { return r.within(span{open[0].first, open[len(open)-1].last}) })
}

// With is Add that names shares as long as anything is left of them as they were written. Whoever knows the range of a file knows
// where in it a block ought to be, and the seed of its sum, without its directory ([Source.Distant]).
func (l Shares) With(others ...ShareRef) Shares {
	return l.add(others, func(r ShareRef, _ []span) ShareRef { return r })
}

func (l Shares) add(others []ShareRef, left func(r ShareRef, open []span) ShareRef) Shares {
	all := slices.Concat(l, others)
	kept := make(Shares, 0, len(all))
	for i, r := range all {
		touched := i >= len(l) || slices.ContainsFunc(others, func(o ShareRef) bool { return o.supersedes(r) && o.span().overlaps(r.span()) })
		if !touched {
			kept = append(kept, r)
		} else if open := all.open(r); len(open) > 0 {
			kept = append(kept, left(r, open))
		}
	}
	return kept
}

// within returns r for a part of its range.
func (r ShareRef) within(s span) ShareRef {
	if s != r.span() {
		part := s.size() / r.span().size()
		r.Triples, r.Live = int64(float64(r.Triples)*part), int64(float64(r.Live)*part)
		r.First, r.Last = s.first, s.last
	}
	return r
}

// Over returns the shares that have to be read for the hashes with orders between first and last.
func (l Shares) Over(first, last uint64) Shares {
	var found Shares
	s := span{first, last}
	for _, r := range l {
		if r.span().overlaps(s) {
			found = append(found, r)
		}
	}
	kept := make(Shares, 0, len(found))
	for _, r := range found {
		if !slices.ContainsFunc(found, func(o ShareRef) bool { return o.supersedes(r) && o.span().contains(s.cut(r.span())) }) {
			kept = append(kept, r)
		}
	}
	return kept
}

// Check returns an error if some hash has log between from and to that no share stands for (I17).
func (l Shares) Check(from, to word.Address) error {
	var starts []uint64
	for _, r := range l {
		if r.First > r.Last || r.From >= r.To {
			return fmt.Errorf("index: I17: share %d is of the hashes from %#x to %#x and the log from %#x to %#x", r.ID, r.First, r.Last, r.From, r.To)
		}
		starts = append(starts, r.First)
		if r.Last < math.MaxUint64 {
			starts = append(starts, r.Last+1)
		}
	}
	slices.Sort(starts)
	sorted := slices.SortedFunc(slices.Values(l), func(a, b ShareRef) int { return cmp.Compare(a.From, b.From) })
	for _, o := range append(slices.Compact(starts), 0) {
		end := from
		for _, r := range sorted {
			if r.First <= o && o <= r.Last && r.From <= end {
				end = max(end, r.To)
			}
		}
		if end < to {
			return fmt.Errorf("index: I17: no share stands for the hash %#x and the log from %#x to %#x", unorder(o), end, to)
		}
	}
	return nil
}

// Bytes returns the length of the files together.
func (l Shares) Bytes() (n int64) {
	for _, r := range l {
		n += r.Bytes
	}
	return n
}

// bottom returns where the log begins that the shares stand for.
func (l Shares) bottom() word.Address {
	b := word.MaxAddress
	for _, r := range l {
		b = min(b, r.From)
	}
	return b
}
