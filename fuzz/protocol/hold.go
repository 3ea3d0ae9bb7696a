package protocol

// hold is what holds up the opening of pages while compaction is behind (hlog's space.go), and what opens them: the pager, whose
// other work goes on in actors of its own. A page takes one record here, and none is opened before somebody waits for it.
//
// The engine opens a page after a while in any case. The model has no clock and leaves that out, so that whoever would have to
// wait for the clock waits for ever (P3).
type hold struct {
	rate   uint8 // pages that are opened for each record that compaction goes over; 0: nothing is held up
	credit uint8 // pages that may be opened
	urgent uint8 // compaction waits for a page
	limit  uint8 // the last record for which there is a page
	kick   uint8 // somebody has asked for pages
	pc     uint8
}

const (
	openIdle   = iota // take what somebody has asked for
	openHeld          // is anything held up?
	openGate          // does a cut wait for units?
	openUrgent        // does compaction wait?
	openCredit        // may a page be opened?
	openGrant         // open one
)

var openerNames = [...]string{
	"looks who waits", "looks whether they are held up", "looks whether a cut waits for units", "looks whether compaction waits",
	"looks whether one may be opened", "opens one",
}

// full reports whether there is no page for another record.
func (m *Model) full(s *State) bool {
	return m.cfg.Window > 0 && s.tail-s.gone >= m.cfg.Window || m.cfg.Hold && s.tail >= s.hold.limit
}

// took says that the record that was allocated has taken the last page: those who were told of it find none, and ask again.
func (m *Model) took(s *State) {
	if m.cfg.Hold && m.full(s) && s.awaitsPage() {
		s.hold.kick = 1
	}
}

// begin holds up pages from now on, as a round of compaction begins.
func (h *hold) begin(m *Model) {
	if m.cfg.Hold {
		h.rate, h.credit = 1, 0
	}
}

// wentOver says that compaction has gone over a record.
func (h *hold) wentOver(m *Model) {
	if m.cfg.Hold && h.rate != 0 {
		h.credit, h.kick = h.credit+h.rate, 1
	}
}

// stepOpener is a step of the pager where it opens pages (mayOpen).
func (m *Model) stepOpener(s *State) (ok bool) {
	h := &s.hold
	switch h.pc {
	case openIdle:
		if h.kick == 0 {
			return false
		}
		h.kick = 0
		if s.awaitsPage() && s.tail >= h.limit {
			h.pc = openHeld
		}
	case openHeld:
		h.pc = openGate
		if h.rate == 0 {
			h.pc = openGrant
		}
	case openGate:
		h.pc = openUrgent
		if s.gate != 0 && m.cfg.Plant != HoldUnits {
			h.pc = openGrant
		}
	case openUrgent:
		h.pc = openCredit
		if h.urgent != 0 && m.cfg.Plant != HoldCompaction {
			h.credit, h.pc = h.credit-min(h.credit, 1), openGrant
		}
	case openCredit:
		h.pc = openIdle
		if h.credit > 0 {
			h.credit, h.pc = h.credit-1, openGrant
		}
	case openGrant:
		h.limit, h.kick, h.pc = s.tail+1, 1, openIdle // those who wait look, and ask again
	}
	return true
}

// awaitsPage reports whether anybody waits for a page.
func (s *State) awaitsPage() bool {
	waits := s.compact.pc == compactAsk || s.compact.pc == compactWait
	for i := range s.session {
		waits = waits || s.session[i].starved != 0
	}
	return waits
}

// awaitsUnits reports whether a cut or a restore waits for units that are under way.
func (s *State) awaitsUnits() bool {
	waits := s.restore.gate.pc == gateDrain && s.restore.gate.wait != 0
	for i := range s.cut {
		waits = waits || s.cut[i].gate.pc == gateDrain && s.cut[i].gate.wait != 0
	}
	return waits
}

// stepHold is a step of compaction that concerns pages which are held up.
func (m *Model) stepHold(s *State) (ok bool) {
	c, h := &s.compact, &s.hold
	switch c.pc {
	case compactUrgent, compactAsk:
		if (c.pc == compactUrgent) == (m.cfg.Plant != AskFirst) {
			h.urgent = 1
		} else {
			h.kick = 1
		}
	case compactWait:
		if m.full(s) {
			return false
		}
		h.urgent = 0
		c.pc = compactEnter
		return true
	case compactLift:
		h.rate = 0
	case compactTell:
		if m.cfg.Plant != LiftUntold {
			h.kick = 1
		}
	}
	c.pc++
	return true
}
