package index

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Check verifies the invariants of every bucket and returns an error that shows the first bucket in which one does
// not hold. It ends a growth that goes on first. No operation may be under way. Blocks of an image that are missing are
// not looked at.
func (x *Index) Check() error {
	if err := x.hold(context.Background()); err != nil {
		return err
	}
	defer x.unhold()
	t := x.table.Load()
	linked := uint64(0)
	var scratch []word.Entry
	for b := uint64(0); b <= t.Mask; b++ {
		buckets, err := t.check(b, &scratch)
		if err != nil {
			return err
		}
		linked += uint64(buckets - 1)
	}
	if used := t.overflow.used.Load(); linked != used || used > t.overflow.mapped {
		return fmt.Errorf("index: %d overflow buckets are linked, %d used, %d mapped", linked, used, t.overflow.mapped)
	}
	return nil
}

// mustHold panics with a picture of bucket b if an invariant does not hold there.
func (t *table) mustHold(b uint64) {
	if _, err := t.check(b, new([]word.Entry)); err != nil {
		invariant.Check(false, "%v", err)
	}
}

// check verifies bucket b, which nobody else uses, and returns the number of buckets of its chain. scratch is reused.
func (t *table) check(b uint64, scratch *[]word.Entry) (buckets int, err error) {
	bad := func(format string, args ...any) (int, error) {
		return 0, fmt.Errorf("index: "+format+"\n%s", append(args, t.dump(b))...)
	}
	entries := (*scratch)[:0]
	for p := t.bucket(b); p != nil; p = t.next(p) {
		if loadLink(p)&^linkMask != 0 {
			return bad("I5: a link is marked")
		}
		for i := range bucketSlots {
			e := word.Entry(mem.Load(slotOf(p, i)))
			switch {
			case e == 0:
				continue
			case e.Tag() == 0:
				return bad("I5: slot %d.%d is %#x", buckets, i, uint64(e))
			case e.Tentative():
				return bad("I4: slot %d.%d is tentative", buckets, i)
			case e.Tag() == word.CatchAll && (buckets > 0 || i > 0):
				return bad("I3: slot %d.%d is a catch-all", buckets, i)
			case e.Address() != word.None && !e.Address().Valid():
				return bad("slot %d.%d has the address %#x", buckets, i, e.Address())
			}
			entries = append(entries, e)
		}
		buckets++
	}
	*scratch = entries
	if i, j, ok := overlap(entries); ok {
		return bad("I2: %s and %s match one hash", entryString(entries[i]), entryString(entries[j]))
	}
	return buckets, nil
}

// dump returns a picture of bucket b.
func (t *table) dump(b uint64) string {
	var s strings.Builder
	fmt.Fprintf(&s, "bucket %d of 2^%d:\n", b, t.Bits)
	n := 0
	for p := t.bucket(b); p != nil; p = t.next(p) {
		for i := range bucketSlots {
			fmt.Fprintf(&s, "  %d.%d  %s\n", n, i, entryString(word.Entry(mem.Load(slotOf(p, i)))))
		}
		l := loadLink(p)
		next, ok := l.target()
		fmt.Fprintf(&s, "  %d link  claimed=%v moved=%v next=%d,%v\n", n, l.claimed(), l.moved(), next, ok)
		n++
	}
	return s.String()
}

// entryString shows an entry with the bits of its tag, low bits last.
func entryString(e word.Entry) string {
	switch e {
	case 0:
		return "free"
	case word.Frozen:
		return "frozen"
	}
	s := fmt.Sprintf("tag 1_%0*b -> %#x", max(e.Tag().Bits(), 0), uint64(e.Tag())-1<<max(e.Tag().Bits(), 0), e.Address())
	if e.Tag() == word.CatchAll {
		s = fmt.Sprintf("catch-all -> %#x", e.Address())
	}
	if e.Tentative() {
		s += " tentative"
	}
	return s
}

// overlaps reports whether one hash can match both tags, of which neither is a catch-all.
func overlaps(a, b word.Tag) bool {
	if a < b {
		a, b = b, a
	}
	// The longer tag, taken for the low bits of a hash, has all the bits that the shorter one compares.
	return word.MakeQuery(uint64(a), 0).Matches(b)
}

// overlap returns two entries of a bucket, i before j, that break I2, if there are such.
func overlap(entries []word.Entry) (i, j int, found bool) {
	const few = 32
	if len(entries) > few {
		return overlapOfMany(entries)
	}
	for j, b := range entries {
		for i, a := range entries[:j] {
			if a.Tag() != word.CatchAll && b.Tag() != word.CatchAll && overlaps(a.Tag(), b.Tag()) {
				return i, j, true
			}
		}
	}
	return 0, 0, false
}

// overlapOfMany is overlap in n log n steps: sorted low bits first, a tag and those it is a prefix of lie together.
func overlapOfMany(entries []word.Entry) (i, j int, found bool) {
	type place struct {
		key uint32
		tag word.Tag
		at  int
	}
	sorted := make([]place, 0, len(entries))
	for i, e := range entries {
		if t := e.Tag(); t != word.CatchAll {
			sorted = append(sorted, place{bits.Reverse32(uint32(t)), t, i})
		}
	}
	slices.SortFunc(sorted, func(a, b place) int { return cmp.Compare(a.key, b.key) })
	for n := 1; n < len(sorted); n++ {
		if a, b := sorted[n-1], sorted[n]; overlaps(a.tag, b.tag) {
			return min(a.at, b.at), max(a.at, b.at), true
		}
	}
	return 0, 0, false
}
