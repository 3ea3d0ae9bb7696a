package protocol

// An update whose callback is slow goes first after some failures (hlog's fairness.go). Two things come of that. Other writers
// of the key wait for a while, which the model leaves out: it may end at any time, so that all that can happen without it has
// to be right. And a checkpoint that has begun between the read and the write does not make the update start over: it is
// carried into the version that is current when it writes. In the model it goes first from its first attempt on.

// goesFirst reports whether the operation that session i is at is such an update.
func (m *Model) goesFirst(s *State, i int) bool {
	kind := m.cfg.Ops[i][s.session[i].done].Kind
	return m.cfg.First&(1<<i) != 0 && (kind == RMW || kind == Take)
}

// carry has an update that goes first go on in the current version, if it may (Session.carries). The session has not entered
// the epoch, but does so in the same step: nothing is under way that would have to be waited for in between.
func (m *Model) carry(s *State, i int) bool {
	x := &s.session[i]
	if x.restores == 0 || m.cfg.Plant == NoCarry || x.restores != 1+s.revived && m.cfg.Plant != CarryOverRestore {
		return false
	}
	if m.cfg.Plant != CarryOldVersion {
		x.version = s.control
	}
	return true
}

// stepFirst is stepOp, and looks whether an update that goes first starts over for a reason (P7).
func (m *Model) stepFirst(s *State, i int) (ok bool, bad string) {
	x := &s.session[i]
	if x.restores == 0 || x.pc != opReenter && x.pc != opReload && x.pc != opRecheck {
		return m.stepOp(s, i)
	}
	done, same := x.done, m.asRead(s, i)
	ok, bad = m.stepOp(s, i)
	if bad == "" && same && x.done == done && x.pc == opEnter {
		bad = "an update that goes first starts over, although nothing has changed what it has read"
	}
	return ok, bad
}

// asRead reports whether everything is as the update of session i, which goes first, has read it. What has left memory since
// is not: it has to be read again.
func (m *Model) asRead(s *State, i int) bool {
	x := &s.session[i]
	slot, moving := m.find(s, m.cfg.Ops[i][x.done].Key)
	switch {
	case moving || entryOf(s.slot[slot]) != x.chain || x.restores != 1+s.revived:
		return false
	case x.from == none:
		return true
	}
	return s.word[x.from] == x.seen && x.from > s.head
}
