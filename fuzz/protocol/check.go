package protocol

import (
	"slices"

	"github.com/hybridlog/hybridlog/fuzz/protocol/search"
)

// values are what the two keys hold; 0 is absent.
type values [2]uint32

// finished reports whether everything that has begun has ended.
func (m *Model) finished(s *State) bool {
	for i := range s.session {
		if s.session[i].done != m.expected[i] {
			return false
		}
	}
	for i := range s.cut {
		if c := &s.cut[i]; c.pc != cutBegin && c.pc != cutDone || c.gate.passing() || c.gate.gaveUp != 0 {
			return false
		}
	}
	for i, u := range s.unit {
		if m.hasUnit(i) && u != unitOver {
			return false
		}
	}
	return !s.restoring() && s.restore.gate.gaveUp == 0 && !s.compacting() &&
		(s.growth.pc == growthIdle || s.growth.pc >= growthMoved)
}

// check looks at a state in which everything has finished. What the keys hold and what each operation has seen must
// have come about in some order of all operations and the restore, one after the other, that contradicts nobody's
// clock. And what each version recovers to must be what the keys held at one moment of such an order, in which a
// reader is only bound to come after what it has seen (see the package comment).
func (m *Model) check(s *State) (bad string) {
	h := history{m: m, s: s}
	h.order = search.Order[values]{Cuts: allCuts, Apply: h.apply, Allowed: h.allowed}
	var end values
	for k := range end {
		if end[k], bad = m.get(s, uint8(k)); bad != "" {
			return bad
		}
	}
	h.collect()
	begin := m.base()
	if !h.order.Exists(h.all&^allCuts, begin, end) {
		return "no order of the operations explains what came of them"
	}
	if h.all&allCuts != 0 && !h.order.Exists(h.all, begin, end) {
		return "a version is not what the keys held at any moment"
	}
	return ""
}

// get returns the value of key when nothing else is going on.
func (m *Model) get(s *State, key uint8) (v uint32, bad string) {
	slot, _ := m.find(s, key)
	a, found, bad := m.walk(s, entryOf(s.slot[slot]), key, s.head)
	if bad == "" && !found {
		a, found, bad = m.walkDisk(s, a, key, s.begin)
	}
	if bad != "" || !found {
		return 0, bad
	}
	if s.word[a]&(lockedBit|pendingBit) != 0 {
		return 0, "a record stays locked, or was never published"
	}
	return s.value[a], ""
}

// base returns what the keys hold in the beginning.
func (m *Model) base() (v values) {
	for i, b := range m.cfg.Base {
		v[b.Key] = uint32(baseToken + i + 1)
		if b.Tombstone {
			v[b.Key] = 0
		}
	}
	return v
}

// recovered returns what the keys hold in a store that is opened at version v (recover.go).
func (m *Model) recovered(s *State, v uint8) (out values) {
	members, _, begin := m.manifest(s, v)
	split := false
	if n := uint8(len(m.cfg.Versions)); v > n {
		split = s.cut[v-n-1].split != 0 && m.cfg.CatchAll && m.cfg.Plant != CoarseIndex
	}
	for k := range out {
		e := uint8(none)
		for a := uint8(1); a <= maxRecords; a++ {
			if members&(1<<a) != 0 && (!split || s.key[a] == uint8(k)) {
				e = a
			}
		}
		for ; e > begin; e = s.prev[e] {
			if s.key[e] == uint8(k) {
				out[k] = s.value[e]
				break
			}
		}
	}
	return out
}

// history is the events of which an order is looked for: the operations, then the checkpoints, then the restore.
type history struct {
	m     *Model
	s     *State
	order search.Order[values]
	all   uint16              // events that there were
	held  [checkpoints]values // what the checkpoints recover to
	back  values              // what the restore brings back
}

const (
	eventCut     = maxOps
	eventRestore = eventCut + checkpoints

	allCuts = 1<<eventRestore - 1<<eventCut
)

// collect finds out which events there were and which of them certainly came before which.
func (h *history) collect() {
	for i := range h.s.session {
		for j := range int(h.m.expected[i]) {
			e := i*opsEach + j
			h.all |= 1 << e
			h.order.After[e] = (1<<j - 1) << (i * opsEach)
			other := 1 - i
			h.order.After[e] |= (1<<h.s.before[i][j] - 1) << (other * opsEach)
		}
	}
	for i := range h.s.cut {
		if c := &h.s.cut[i]; c.pc == cutDone {
			h.collectCut(i, c)
		}
	}
	if r := &h.s.restore; r.pc == restoreDone {
		h.collectRestore(r)
	}
}

// collectCut adds checkpoint i: it holds what had returned when BeginCheckpoint was called, and nothing that was called
// after that had returned. An operation without effect is held or not held alike, so it may see what the checkpoint
// still lacks.
func (h *history) collectCut(i int, c *cut) {
	e := eventCut + i
	h.all |= 1 << e
	h.held[i] = h.m.recovered(h.s, uint8(len(h.m.cfg.Versions)+i+1))
	h.order.After[e] = uint16(c.returned)
	if i > 0 {
		h.order.After[e] |= 1 << (e - 1)
	}
	if c.restores != 0 {
		h.order.After[e] |= 1 << eventRestore
	}
	for op := range maxOps {
		if c.called&(1<<op) == 0 {
			h.order.Without[op] |= 1 << e
		}
	}
}

// collectRestore adds the restore: it undoes what had returned when it was called, and what is called after it has
// returned sees what it brought back.
func (h *history) collectRestore(r *restore) {
	h.all |= 1 << eventRestore
	h.back = h.m.recovered(h.s, h.m.cfg.Target+1)
	h.order.After[eventRestore] = uint16(r.returned) | uint16(r.cuts)<<eventCut
	for op := range maxOps {
		if r.called&(1<<op) == 0 {
			h.order.After[op] |= 1 << eventRestore
		}
	}
}

// allowed says that neither a cut nor the restore is taken in the middle of a unit.
func (h *history) allowed(e int, done uint16) bool { return e < eventCut || !h.m.tornUnit(done) }

// apply is what search.Order asks for.
func (h *history) apply(e int, v values, past []values) (values, bool) {
	switch {
	case e == eventRestore:
		return h.back, true
	case e >= eventCut:
		return v, v == h.held[e-eventCut]
	}
	op := h.m.cfg.Ops[e/opsEach][e%opsEach]
	old, saw := v[op.Key], h.s.result[e]
	token := uint32(e + 1)
	switch op.Kind {
	case Set:
		v[op.Key] = token
		return v, true
	case RMW:
		v[op.Key] = old<<4 | token
		return v, saw == old
	case Delete:
		if saw != 0 { // it has written
			v[op.Key] = 0
			return v, true
		}
		return v, old == 0 || len(past) > 0
	case Take:
		if saw != 0 {
			v[op.Key] = 0
			return v, saw == old
		}
	}
	// Nothing but a read.
	return v, saw == old || slices.ContainsFunc(past, func(p values) bool { return p[op.Key] == saw })
}
