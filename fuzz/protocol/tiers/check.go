package tiers

import (
	"slices"

	"github.com/hybridlog/hybridlog/fuzz/protocol/search"
)

// values are what the keys hold; 0 is absent.
type values [keys]uint16

// checkEnd looks at a state in which nobody has a step left.
func (c *Config) checkEnd(s *State) (bad string) {
	for i := range s.session {
		if int(s.session[i].done) != len(c.Ops[i]) {
			return "an operation waits for ever"
		}
	}
	h := history{c: c, s: s}
	h.order = search.Order[values]{Cuts: 1 << eventCut, Apply: h.apply}
	var end values
	for k := range end {
		if end[k], bad = c.get(s, uint8(k)); bad != "" {
			return bad
		}
	}
	if bad = h.collect(); bad != "" {
		return bad
	}
	begin := values{}
	for i, op := range c.Base {
		begin[op.Key] = c.baseValue(op, uint8(i+1))
	}
	if !h.order.Exists(h.all&^(1<<eventCut), begin, end) {
		return "no order of the operations explains what came of them"
	}
	if h.all&(1<<eventCut) != 0 && !h.order.Exists(h.all, begin, end) {
		return "the version is not what the keys held at any moment"
	}
	return c.checkScan(s)
}

// checkScan looks at what a scan has visited when no key was ever absent: each key once, with a value that it had.
func (c *Config) checkScan(s *State) string {
	if s.scan.pc != scanDone {
		return ""
	}
	for k := range keys {
		if s.scan.times[k] != 1 {
			return "a scan visits a key twice, or not at all"
		}
		known := slices.ContainsFunc(c.Base, func(op Op) bool { return int(op.Key) == k && op.Kind == Set })
		if !known {
			return "the scenario has keys that are absent"
		}
	}
	return ""
}

// get returns the value of a key when nothing else is going on.
func (c *Config) get(s *State, key uint8) (v uint16, bad string) {
	if a, found := s.walk(s.slot[c.slotOf(key)], key, s.tiers[s.tier].begin); found {
		return s.value[a], ""
	}
	v, _, bad = s.cold(s.tier, key)
	return v, bad
}

// history is the events of which an order is looked for: the operations, the checkpoint, the restore.
type history struct {
	c     *Config
	s     *State
	order search.Order[values]
	all   uint16 // events that there were
	held  values // what the version holds
}

const (
	eventCut     = maxOps
	eventRestore = eventCut + 1
)

func (h *history) collect() (bad string) {
	s := h.s
	for i := range s.session {
		for j := range h.c.Ops[i] {
			e := i*opsEach + j
			h.all |= 1 << e
			h.order.After[e] = (1<<j-1)<<(i*opsEach) | (1<<s.before[i][j]-1)<<((1-i)*opsEach)
		}
	}
	if s.cut.pc != cutDone {
		return ""
	}
	if h.held, bad = s.recovered(); bad != "" {
		return bad
	}
	h.all |= 1 << eventCut
	h.order.After[eventCut] = uint16(s.cut.returned)
	for e := range maxOps {
		if s.cut.called&(1<<e) == 0 {
			h.order.Without[e] = 1 << eventCut
		}
	}
	if s.restore.pc == restoreDone {
		h.all |= 1 << eventRestore
		h.order.After[eventRestore] = uint16(s.restore.returned) | 1<<eventCut
		for e := range maxOps {
			if s.restore.called&(1<<e) == 0 {
				h.order.After[e] |= 1 << eventRestore
			}
		}
	}
	return ""
}

// apply is what search.Order asks for.
func (h *history) apply(e int, v values, past []values) (values, bool) {
	switch e {
	case eventRestore:
		return h.held, true
	case eventCut:
		return v, v == h.held
	}
	op := h.c.Ops[e/opsEach][e%opsEach]
	old, saw := v[op.Key], h.s.result[e]
	token := uint16(e + 1)
	switch op.Kind {
	case Set:
		v[op.Key] = token
		return v, true
	case RMW:
		v[op.Key] = old<<4 | token
		return v, saw == old
	case Delete:
		if saw != 0 {
			v[op.Key] = 0
			return v, true
		}
		return v, old == 0 || len(past) > 0
	}
	return v, saw == old || slices.ContainsFunc(past, func(p values) bool { return p[op.Key] == saw })
}
