package tiers

// Where a session is between two steps. The names say what comes next.
const (
	opEnter   = iota // go in, load the log version
	opTier           // load the tier
	opWalk           // load the entry, follow the chain
	opCold           // outside: read from the tier
	opReenter        // the callback has run: go in again, compare version and generation
	opRecheck        // load the entry and follow the chain again
	opPublish        // swap the entry
)

var opNames = [...]string{"enters", "loads the tier", "loads the entry", "reads the tier", "enters to write", "loads the entry again", "swaps the entry"}

// stepSession is one step of session i.
func (c *Config) stepSession(s *State, i int) (ok bool, bad string) {
	x := &s.session[i]
	if int(x.done) == len(c.Ops[i]) {
		return false, ""
	}
	op := c.Ops[i][x.done]
	switch x.pc {
	case opEnter:
		if s.restore.pc == restorePaused {
			return false, ""
		}
		if x.called == 0 {
			x.called = 1
			s.before[i][x.done] = s.session[1-i].done
		}
		s.enter(i)
		x.version, x.pc = s.control, opTier
	case opTier:
		t := s.tiers[s.tier]
		x.tier, x.begin, x.generation, x.pc = s.tier+1, t.begin, t.generation, opWalk
	case opWalk:
		c.walk(s, i, op)
	case opCold:
		return true, c.readCold(s, i, op)
	case opReenter:
		return c.reenter(s, i), ""
	case opRecheck:
		c.recheck(s, i, op)
	case opPublish:
		return true, c.publish(s, i, op)
	}
	return true, ""
}

// walk decides by what the chain has.
func (c *Config) walk(s *State, i int, op Op) {
	x := &s.session[i]
	e := s.slot[c.slotOf(op.Key)]
	if op.Kind != Get && e > x.begin && s.version[e] > x.version {
		c.retry(s, i)
		return
	}
	a, found := s.walk(e, op.Key, x.begin)
	switch op.Kind {
	case Get:
		if found {
			c.finish(s, i, s.value[a])
			return
		}
		s.leave(i)
		x.pc, x.version = opCold, 0
	case RMW:
		s.leave(i)
		x.pc = opCold
		if found {
			x.from, x.old, x.pc, x.tier, x.begin = a, s.value[a], opReenter, 0, 0
			c.outside(s, i)
		}
	case Set:
		x.entry, x.pc = e, opPublish
	case Delete:
		_, has, _ := s.cold(x.tier-1, op.Key) // a filter says no more than this
		if found && s.value[a] == 0 || !found && (has != hasValue || c.Plant == NoTombstone) {
			c.finish(s, i, 0)
			return
		}
		x.entry, x.pc = e, opPublish
	}
}

// readCold reads from the tier that the session holds.
func (c *Config) readCold(s *State, i int, op Op) (bad string) {
	x := &s.session[i]
	t := x.tier - 1
	if c.Plant == LoadApart {
		t = s.tier
	}
	value, _, bad := s.cold(t, op.Key)
	if bad != "" {
		return bad
	}
	x.tier, x.begin = 0, 0
	if op.Kind == Get {
		c.finish(s, i, value)
		return ""
	}
	x.from, x.old, x.pc = none, value, opReenter
	c.outside(s, i)
	return ""
}

// outside is the last moment before an update goes in again.
func (c *Config) outside(s *State, i int) {
	if x := &s.session[i]; c.Plant == GenerationOut && x.generation == s.tiers[s.tier].generation {
		x.generation = 0 // it has been compared
	}
}

func (c *Config) reenter(s *State, i int) bool {
	x := &s.session[i]
	if s.restore.pc == restorePaused {
		return false
	}
	s.enter(i)
	t := s.tiers[s.tier]
	if s.control != x.version || x.generation != t.generation && c.Plant != NoGeneration && x.generation != 0 {
		c.retry(s, i)
		return true
	}
	x.begin, x.generation, x.pc = t.begin, 0, opRecheck
	return true
}

// recheck publishes only if the key is as it was read.
func (c *Config) recheck(s *State, i int, op Op) {
	x := &s.session[i]
	e := s.slot[c.slotOf(op.Key)]
	a, found := s.walk(e, op.Key, x.begin)
	if !found {
		a = none
	}
	if a != x.from || e > x.begin && s.version[e] > x.version {
		c.retry(s, i)
		return
	}
	x.entry, x.pc = e, opPublish
}

func (c *Config) publish(s *State, i int, op Op) (bad string) {
	x := &s.session[i]
	if s.slot[c.slotOf(op.Key)] != x.entry {
		c.retry(s, i)
		return ""
	}
	if s.tail == maxRecords {
		return "the model's log is too small"
	}
	token := uint16(i*opsEach) + uint16(x.done) + 1
	value := token
	switch op.Kind {
	case RMW:
		value = x.old<<4 | token
	case Delete:
		value = 0
	}
	old := x.old
	s.append(c, op.Key, x.entry, x.version, value)
	if op.Kind == Delete {
		old = 1 // it has written
	}
	c.finish(s, i, old)
	return ""
}

// retry starts over.
func (c *Config) retry(s *State, i int) {
	s.leave(i)
	x := &s.session[i]
	*x = session{done: x.done, called: 1}
}

// finish ends the operation; saw is what a reader or an update was given.
func (c *Config) finish(s *State, i int, saw uint16) {
	s.leave(i)
	x := &s.session[i]
	s.result[i*opsEach+int(x.done)] = saw
	*x = session{done: x.done + 1}
}
