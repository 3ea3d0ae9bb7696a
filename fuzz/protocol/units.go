package protocol

// Where a session with a unit is (hlog/internal/units). It is inside the epoch of the units in unitSaid and unitIn.
const (
	unitOut    = iota // says that the unit is under way
	unitSaid          // looks at the gate
	unitWaits         // has found it shut
	unitIn            // does the operations, leaves after the last one
	unitOver          //
	unitLooked        // with LookFirst: has found the gate open, and says so next
)

var unitNames = [...]string{"says that its unit is under way", "looks at the gate", "waits at the gate", "ends its unit", "", "says that its unit is under way"}

// passage is how far a checkpoint or a restore has come at the gate of the units.
type passage struct {
	pc     uint8
	wait   uint8 // sessions whose units are waited for
	gaveUp uint8
}

const (
	gateAsk   = iota // shut the gate
	gateScan         // see who is inside
	gateTell         // have pages opened that are held up: a unit may wait for one
	gateDrain        // wait for them
	gateHeld         // open the gate
	gateOpened
)

var gateNames = [...]string{"shuts the gate", "looks for units", "asks for pages that are held up", "waits for them", "opens the gate", ""}

func (m *Model) hasUnit(i int) bool { return m.cfg.Units&(1<<i) != 0 }

// stepUnit is the next step of session i that is not one of an operation; is tells that there is one, or that the session
// has to wait for one.
func (m *Model) stepUnit(s *State, i int) (ok, is bool) {
	u := &s.unit[i]
	switch {
	case !m.hasUnit(i) || *u == unitOver:
		return false, false
	case *u == unitIn:
		if s.session[i].done < m.expected[i] {
			return false, false
		}
		*u = unitOver
		s.leaveUnit(i)
		return true, true
	case *u == unitOut && m.cfg.Plant == LookFirst:
		if s.gate != 0 {
			return false, true
		}
		*u = unitLooked
	case *u == unitOut:
		*u = unitSaid
	case *u == unitSaid && s.gate != 0 && m.cfg.Plant != NoLook:
		*u = unitWaits
		s.leaveUnit(i)
	case *u == unitWaits && s.gate != 0:
		return false, true
	default:
		*u = unitIn
	}
	return true, true
}

// leaveUnit takes session i out of the epoch of the units, which those who wait for it see.
func (s *State) leaveUnit(i int) {
	keep := ^uint8(1 << i)
	s.restore.gate.wait &= keep
	for j := range s.cut {
		s.cut[j].gate.wait &= keep
	}
}

// stepGate brings whoever is to take a cut a step nearer to holding the gate, unless he does; units are not waited for with
// the mistake. With GiveUp he does not wait the first time: he lets those in who wait, and starts over.
func (m *Model) stepGate(s *State, p *passage, mistake Plant) (ok bool) {
	switch p.pc {
	case gateAsk:
		s.gate = 1
	case gateScan:
		for i, u := range s.unit {
			if (u == unitSaid || u == unitIn) && m.cfg.Plant != mistake {
				p.wait |= 1 << i
			}
		}
	case gateTell:
		if s.hold.rate != 0 && m.cfg.Plant != UnitsUntold {
			s.hold.kick = 1
		}
	case gateDrain:
		if p.wait == 0 {
			break
		}
		if !m.cfg.GiveUp || p.gaveUp != 0 {
			return false
		}
		*p = passage{gaveUp: 1}
		s.gate = 0
		for i := range s.unit {
			if s.unit[i] == unitWaits {
				s.unit[i] = unitIn
			}
		}
		return true
	}
	p.pc++
	if p.pc == gateTell && !m.cfg.Hold {
		p.pc++
	}
	if p.pc == gateHeld && m.cfg.Plant == OpenEarly {
		s.gate = 0
	}
	return true
}

// openGate lets units begin again.
func (s *State) openGate(p *passage) {
	s.gate = 0
	*p = passage{pc: gateOpened}
}

// passing reports whether whoever takes a cut is at the gate, with which he holds the lock Cut.
func (p *passage) passing() bool { return p.pc != gateAsk && p.pc != gateOpened }

// restoring reports whether a restore is under way.
func (s *State) restoring() bool {
	return s.restore.pc != restoreBegin && s.restore.pc != restoreDone || s.restore.gate.passing()
}

// tornUnit reports whether a checkpoint or a restore that comes after the operations done comes between two operations of
// one unit (P6).
func (m *Model) tornUnit(done uint16) bool {
	for i := range sessions {
		all := uint16(1<<m.expected[i]-1) << (i * opsEach)
		if part := done & all; m.hasUnit(i) && part != 0 && part != all {
			return true
		}
	}
	return false
}

// atGate says what somebody does at the gate between two states, or else what he does there.
func atGate(before, after *passage, otherwise string) string {
	switch {
	case *before == *after:
		return otherwise
	case after.gaveUp != before.gaveUp && after.pc == gateAsk:
		return "gives up waiting for units"
	}
	return gateNames[before.pc]
}
