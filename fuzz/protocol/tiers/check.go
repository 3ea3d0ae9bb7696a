package tiers

import "slices"

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
	for k := range h.end {
		if h.end[k], bad = c.get(s, uint8(k)); bad != "" {
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
	if h.todo = h.all &^ (1 << eventCut); !h.search(0, begin) {
		return "no order of the operations explains what came of them"
	}
	for k, v := range begin {
		h.past[k] = append(h.past[k], v)
	}
	if h.todo = h.all; h.todo&(1<<eventCut) != 0 && !h.search(0, begin) {
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

// history is the search for an order of events: the operations, the checkpoint, the restore.
type history struct {
	c         *Config
	s         *State
	end       values
	after     [maxOps + 2]uint8 // events that came before this one
	late      uint8             // operations that the checkpoint must not hold
	all, todo uint8
	past      [keys][]uint16 // with the checkpoint: what each key has held so far
	held      values         // what the version holds
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
			h.after[e] = (1<<j-1)<<(i*opsEach) | (1<<s.before[i][j]-1)<<((1-i)*opsEach)
		}
	}
	if s.cut.pc != cutDone {
		return ""
	}
	if h.held, bad = s.recovered(); bad != "" {
		return bad
	}
	h.all |= 1 << eventCut
	h.after[eventCut] = s.cut.returned
	h.late = ^s.cut.called
	if s.restore.pc == restoreDone {
		h.all |= 1 << eventRestore
		h.after[eventRestore] = s.restore.returned | 1<<eventCut
		for e := range maxOps {
			if s.restore.called&(1<<e) == 0 {
				h.after[e] |= 1 << eventRestore
			}
		}
	}
	return ""
}

// search looks for an order of what is left to do, with done behind it and v as what the keys hold.
func (h *history) search(done uint8, v values) bool {
	if done == h.todo {
		return v == h.end
	}
	for e := range eventRestore + 1 {
		if h.todo&(1<<e) == 0 || done&(1<<e) != 0 || h.after[e]&h.todo&^done != 0 {
			continue
		}
		next, ok := h.apply(e, v)
		if !ok || e < maxOps && next != v && h.late&(1<<e) != 0 && h.todo&^done&(1<<eventCut) != 0 {
			continue
		}
		past := h.past
		if h.todo&(1<<eventCut) != 0 {
			for k := range next {
				h.past[k] = append(h.past[k], next[k])
			}
		}
		if h.search(done|1<<e, next) {
			return true
		}
		h.past = past
	}
	return false
}

// apply returns what the keys hold after event e, if what it saw fits.
func (h *history) apply(e int, v values) (values, bool) {
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
		return v, old == 0 || h.todo&(1<<eventCut) != 0
	}
	return v, saw == old || slices.Contains(h.past[op.Key], saw)
}
