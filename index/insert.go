package index

import (
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// insert makes an entry for h, which find has missed in t: hit, again if somebody was in the way, or full.
func (x *Index) insert(t *table, h uint64, why purpose) (mem.Ptr, word.Entry, result) {
	if why == create && x.want.Load() {
		return nil, 0, full // so that the caller comes to Load, which starts the growth
	}
	if t.busy.Load() {
		x.moveSpan(t)
	}
	step()
	b := t.bucket(h & t.Mask)
	p, last := t.freeSlot(b)
	if p == nil {
		step()
		switch r := x.extend(t, last); {
		case r != full:
			return nil, 0, r
		case why == create && t.capped.Load():
			return nil, 0, x.convert(b)
		default:
			x.starved.Store(true)
			return nil, 0, full
		}
	}
	e := word.MakeEntry(word.MakeTag(h, t.Bits), word.None)
	step()
	if !swap(p, 0, e.WithTentative()) {
		return nil, 0, again
	}
	if t.contested(b, word.MakeQuery(h, t.Bits), p) {
		swap(p, e.WithTentative(), 0) // fails if a mover was here, which is as good (I4)
		return nil, 0, again
	}
	step()
	if !swap(p, e.WithTentative(), e) {
		return nil, 0, again
	}
	return p, e, hit
}

// swap replaces old by e in the slot p, and reports whether old was there.
func swap(p mem.Ptr, old, e word.Entry) bool {
	return mem.Word(p).CompareAndSwap(uint64(old), uint64(e))
}

// freeSlot returns the first free slot of the chain of b, or nil and the last bucket.
func (t *table) freeSlot(b mem.Ptr) (p, last mem.Ptr) {
	for ; b != nil; b = t.next(b) {
		for i := range bucketSlots {
			if p := slotOf(b, i); mem.Load(p) == 0 {
				return p, b
			}
		}
		last = b
	}
	return nil, last
}

// contested reports whether the claim of mine in the chain of b has to be withdrawn because another entry matches the
// same hashes. Of two tentative entries the first in the chain wins: it waits here for the other to go. Since one waits
// only for entries that come later, and never while another waits for it, this ends.
func (t *table) contested(b mem.Ptr, q word.Query, mine mem.Ptr) bool {
	var w waiter
	passed := false
	for ; b != nil; b = t.next(b) {
		for i := range bucketSlots {
			p := slotOf(b, i)
			if p == mine {
				passed = true
				continue
			}
			for {
				step()
				e := word.Entry(mem.Load(p))
				if e == 0 || !q.Matches(e.Tag()) {
					break
				}
				// A frozen slot may have held a match, and the catch-all is one (I3).
				if !e.Tentative() || !passed {
					return true
				}
				w.wait()
			}
		}
	}
	return false
}

// convert makes the entry in the first slot of the full bucket b a catch-all (I3). The caller begins again, whatever
// came of it.
func (x *Index) convert(b mem.Ptr) result {
	const attempts = 64 // conversions between two attempts to grow after all
	e := word.Entry(mem.Load(b))
	step()
	if e.Tag() > word.CatchAll && !e.Tentative() && swap(b, e, e.WithTag(word.CatchAll)) {
		if x.catchAlls.Add(1)%attempts == 0 {
			x.want.Store(true)
		}
	}
	return again
}
