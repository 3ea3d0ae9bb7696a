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
	for b := uint64(0); b <= t.mask; b++ {
		if err := t.check(b); err != nil {
			return err
		}
		linked += uint64(len(t.chain(b)) - 1)
	}
	if used := t.overflow.used.Load(); linked != used || used > t.overflow.mapped {
		return fmt.Errorf("index: %d overflow buckets are linked, %d used, %d mapped", linked, used, t.overflow.mapped)
	}
	return nil
}

// mustHold panics with a picture of bucket b if an invariant does not hold there.
func (t *table) mustHold(b uint64) {
	if err := t.check(b); err != nil {
		invariant.Check(false, "%v", err)
	}
}

// check verifies bucket b, which nobody else uses.
func (t *table) check(b uint64) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("index: "+format+"\n%s", append(args, t.dump(b))...)
	}
	var entries []word.Entry
	for i, words := range t.chain(b) {
		if link(words[bucketSlots])&^linkMask != 0 {
			return bad("I5: a link is marked")
		}
		for j, w := range words[:bucketSlots] {
			e := word.Entry(w)
			switch {
			case e == 0:
				continue
			case e.Tag() == 0:
				return bad("I5: bucket %d, slot %d of the chain is %#x", i, j, w)
			case e.Tentative():
				return bad("I4: bucket %d, slot %d of the chain is tentative", i, j)
			case e.Tag() == word.CatchAll && (i > 0 || j > 0):
				return bad("I3: the catch-all is in bucket %d, slot %d of the chain", i, j)
			case e.Address() != word.None && !e.Address().Valid():
				return bad("bucket %d, slot %d of the chain has the address %#x", i, j, e.Address())
			}
			entries = append(entries, e)
		}
	}
	if i, j, ok := overlap(entries); ok {
		return bad("I2: %s and %s match one hash", entryString(entries[i]), entryString(entries[j]))
	}
	return nil
}

// chain returns the words of the buckets of b's chain.
func (t *table) chain(b uint64) (all [][bucketSlots + 1]uint64) {
	for p := t.bucket(b); p != nil; p = t.next(p) {
		var words [bucketSlots + 1]uint64
		for i := range words {
			words[i] = mem.Load(slotOf(p, i))
		}
		all = append(all, words)
	}
	return all
}

// dump returns a picture of bucket b.
func (t *table) dump(b uint64) string {
	var s strings.Builder
	fmt.Fprintf(&s, "bucket %d of 2^%d:\n", b, t.bits)
	for i, words := range t.chain(b) {
		for j, w := range words[:bucketSlots] {
			fmt.Fprintf(&s, "  %d.%d  %s\n", i, j, entryString(word.Entry(w)))
		}
		l := link(words[bucketSlots])
		next, ok := l.target()
		fmt.Fprintf(&s, "  %d link  claimed=%v moved=%v next=%d,%v\n", i, l.claimed(), l.moved(), next, ok)
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

// overlapOfMany is overlap in n log n steps: sorted low bits first, a tag and those that it is a prefix of lie together.
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
