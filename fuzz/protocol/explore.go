package protocol

import (
	"fmt"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// Result is what an exploration has come to.
type Result struct {
	States      int // distinct ones
	Transitions int
	Depth       int // steps of the longest shortest way to a state
	Ends        int // states in which everything had finished, checked
	Complete    bool
	Violation   *Violation
}

// Violation is a way into a state that must not be.
type Violation struct {
	What  string
	Trace []string // one step a line
}

// Explore visits every state that can be reached, breadth first, until one is wrong or there are limit states.
func (m *Model) Explore(limit int) Result {
	x := explorer{m: m, limit: limit}
	x.seen.init(1 << 12)
	first := m.initial()
	x.add(&first, 0, actors)
	r := &x.result
	for len(x.next) > 0 && r.Violation == nil && r.States < limit {
		x.now, x.next = x.next, x.now[:0]
		base := x.base
		x.base += uint32(len(x.now))
		for i := range x.now {
			if !x.expand(&x.now[i], base+uint32(i)) {
				break
			}
		}
		r.Depth++
	}
	r.Complete = r.Violation == nil && len(x.next) == 0
	return *r
}

// explorer is a breadth-first search. Of the states behind the front it keeps only hashes, and how each was reached.
type explorer struct {
	m         *Model
	limit     int
	result    Result
	seen      hashSet
	now, next []State
	base      uint32   // number of the first state in next
	parent    []uint32 // of each state, by number
	actor     []uint8  // whose step led to it
}

// add notes a state if it is new.
func (x *explorer) add(s *State, parent uint32, actor int) {
	if !x.seen.insert(xxh3.Hash(mem.AsBytes(s))) {
		return
	}
	x.next = append(x.next, *s)
	x.parent = append(x.parent, parent)
	x.actor = append(x.actor, uint8(actor))
	x.result.States++
}

// expand visits the successors of a state; false ends the search.
func (x *explorer) expand(s *State, number uint32) bool {
	moved, withoutCompaction := false, false
	var n State
	for actor := range actors {
		n = *s
		ok, bad := x.m.step(&n, actor)
		if bad != "" {
			x.fail(bad, number, actor)
			return false
		}
		if ok {
			moved = true
			withoutCompaction = withoutCompaction || actor != actorCompact || s.compact.pc == compactTell
			x.result.Transitions++
			x.add(&n, number, actor)
		}
	}
	if x.m.finished(s) {
		x.result.Ends++
		if bad := x.m.check(s); bad != "" {
			x.fail(bad, number, actors)
			return false
		}
	} else if !moved && x.m.cfg.Window == 0 {
		x.fail("everybody waits for ever", number, actors)
		return false
	} else if x.m.cfg.Hold && !withoutCompaction && s.awaitsUnits() {
		x.fail("a unit that a cut waits for waits for compaction", number, actors)
		return false
	}
	return x.result.States < x.limit
}

// fail notes a violation: in the step of actor out of a state, or in the state itself.
func (x *explorer) fail(what string, number uint32, actor int) {
	var way []int
	if actor != actors {
		way = append(way, actor)
	}
	for n := number; n != 0; n = x.parent[n] {
		way = append(way, int(x.actor[n]))
	}
	v := &Violation{What: what}
	s := x.m.initial()
	for i := len(way) - 1; i >= 0; i-- {
		before := s
		x.m.step(&s, way[i])
		v.Trace = append(v.Trace, x.m.describe(&before, &s, way[i]))
	}
	x.result.Violation = v
}

// describe says what an actor does between two states.
func (m *Model) describe(before, after *State, actor int) string {
	var b strings.Builder
	switch actor {
	case actorSession0, actorSession1:
		x := &before.session[actor]
		if was := before.unit[actor]; was != after.unit[actor] {
			fmt.Fprintf(&b, "session %d %s", actor, unitNames[was])
			break
		}
		op := m.cfg.Ops[actor][x.done]
		fmt.Fprintf(&b, "session %d, %v of key %d: %s", actor, op.Kind, op.Key, opNames[x.pc])
		if after.session[actor].done > x.done {
			b.WriteString(", returns")
		}
	case actorCompact:
		fmt.Fprintf(&b, "compaction at %d: %s", before.compact.at, compactNames[before.compact.pc])
	case actorPager:
		fmt.Fprintf(&b, "pager: %s", pagerNames[before.pager.pc])
	case actorCut0, actorCut1:
		i := actor - actorCut0
		fmt.Fprintf(&b, "checkpoint %d: %s", i, atGate(&before.cut[i].gate, &after.cut[i].gate, cutNames[before.cut[i].pc]))
	case actorGrowth:
		fmt.Fprintf(&b, "index: %s", growthNames[before.growth.pc])
	case actorRestore:
		fmt.Fprintf(&b, "restore: %s", atGate(&before.restore.gate, &after.restore.gate, restoreNames[before.restore.pc]))
	case actorWarm:
		b.WriteString("warming: reads a record back, lowers head over it")
	case actorOpener:
		fmt.Fprintf(&b, "pages: %s", openerNames[before.hold.pc])
	}
	after.changes(&b, before)
	return b.String()
}

// changes writes what is different from before.
func (s *State) changes(b *strings.Builder, before *State) {
	for _, w := range []struct {
		name       string
		old, value uint8
	}{
		{"tail", before.tail, s.tail}, {"readOnly", before.readOnly, s.readOnly}, {"safeReadOnly", before.safe, s.safe},
		{"flushed", before.flushed, s.flushed}, {"head", before.head, s.head}, {"begin", before.begin, s.begin},
		{"version", before.control, s.control}, {"limit", before.hold.limit, s.hold.limit},
		{"entry", before.slot[0], s.slot[0]}, {"new entry", before.slot[1], s.slot[1]}, {"other entry", before.slot[2], s.slot[2]},
	} {
		if w.old != w.value {
			fmt.Fprintf(b, "; %s = %d", w.name, w.value)
		}
	}
	for a := 1; a <= int(s.tail); a++ {
		if s.word[a] != before.word[a] || s.value[a] != before.value[a] {
			fmt.Fprintf(b, "; record %d (key %d, version %d, over %d) = %x %s", a, s.key[a], s.version[a], s.prev[a],
				s.value[a], wordString(s.word[a]))
		}
	}
}

func wordString(w uint8) string {
	s := ""
	for i, name := range []string{"locked", "sealed", "tombstone", "pending"} {
		if w&(1<<i) != 0 {
			s += name + " "
		}
	}
	return fmt.Sprintf("%schange %d", s, w/sequence)
}

// String returns the name of the operation.
func (k Kind) String() string {
	return [...]string{"get", "set", "update", "delete", "take"}[k]
}

// hashSet is a set of hashes with open addressing. Two states with one hash would be taken for one; among ten
// million states that happens once in three hundred thousand explorations.
type hashSet struct {
	slots []uint64
	n     int
}

func (h *hashSet) init(n int) { h.slots = make([]uint64, n) }

// insert adds x and reports whether it was missing.
func (h *hashSet) insert(x uint64) bool {
	if x == 0 {
		x = 1
	}
	if 2*h.n >= len(h.slots) {
		h.grow()
	}
	if !h.place(x) {
		return false
	}
	h.n++
	return true
}

func (h *hashSet) place(x uint64) bool {
	mask := uint64(len(h.slots) - 1)
	for i := x & mask; ; i = (i + 1) & mask {
		switch h.slots[i] {
		case 0:
			h.slots[i] = x
			return true
		case x:
			return false
		}
	}
}

func (h *hashSet) grow() {
	old := h.slots
	h.slots = make([]uint64, 2*len(old))
	for _, x := range old {
		if x != 0 {
			h.place(x)
		}
	}
}
