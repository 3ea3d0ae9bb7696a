package protocol

// Where a session is between two steps. The names say what comes next.
const (
	opEnter    = iota // outside: go in, load the control word
	opLoad            // load the entry, and the boundary down to which memory is searched
	opWalk            // follow the chain, decide
	opLock            // update in place: lock the record
	opWrite           // write the value, unlock
	opSeal            // update by copy: seal the source
	opAllocate        // take a new record
	opPublish         // swap the entry
	opUndo            // it failed: abandon the allocation, unseal the source
	opDisk            // outside: follow the rest of the chain on disk
	opReenter         // read-modify-write: the callback has run; go in again
	opReload          // load the entry again
	opRecheck         // follow the chain again, compare with what was read
)

var opNames = [...]string{
	"enters", "loads the entry", "follows the chain", "locks the record", "writes it", "seals the source",
	"allocates", "swaps the entry", "undoes the copy", "reads from disk", "enters to write", "loads the entry again",
	"follows the chain again",
}

// stepSession is one step of session i, and in a coarse model those behind it that belong to it.
func (m *Model) stepSession(s *State, i int) (ok bool, bad string) {
	x := &s.session[i]
	done := x.done
	ok, bad = m.stepFirst(s, i)
	for ok && bad == "" && !m.cfg.Fine && x.done == done && m.continues(s, i) {
		ok, bad = m.stepFirst(s, i)
	}
	return ok, bad
}

// continues reports whether the next step of session i is part of the one it has just done.
func (m *Model) continues(s *State, i int) bool {
	x := &s.session[i]
	switch x.pc {
	case opLoad:
		kind := m.cfg.Ops[i][x.done].Kind
		return kind == Get || kind == RMW || kind == Take
	case opWalk, opRecheck:
		return !m.cfg.Evict
	case opAllocate, opSeal:
		return m.cfg.Window == 0
	case opWrite, opUndo:
		return true
	}
	return false
}

// stepOp is one step of an operation at the finest grain: get.go, set.go, delete.go, rmw.go.
func (m *Model) stepOp(s *State, i int) (ok bool, bad string) {
	x := &s.session[i]
	if ok, is := m.stepUnit(s, i); is {
		return ok, ""
	}
	if x.done == m.expected[i] {
		return false, ""
	}
	op := m.cfg.Ops[i][x.done]
	switch x.pc {
	case opEnter:
		return m.enterOp(s, i), ""
	case opLoad, opReload:
		return m.loadEntry(s, i, op)
	case opWalk:
		return m.walkChain(s, i, op)
	case opLock:
		if s.word[x.at] != x.seen {
			m.retry(s, i)
			return true, ""
		}
		s.word[x.at] |= lockedBit
		x.pc = opWrite
		return true, ""
	case opWrite:
		return true, m.writeInPlace(s, i, op)
	case opSeal:
		if s.word[x.source] != x.seen {
			m.retry(s, i)
			return true, ""
		}
		s.word[x.source] |= sealedBit
		x.pc = opAllocate
		return true, ""
	case opAllocate, opPublish, opUndo:
		return m.copyRecord(s, i, op)
	case opDisk:
		return true, m.readDisk(s, i, op)
	case opReenter:
		return m.reenter(s, i, op)
	}
	return m.recheck(s, i, op)
}

// enterOp begins an attempt. The first one is when the operation is called.
func (m *Model) enterOp(s *State, i int) bool {
	x := &s.session[i]
	if s.paused != 0 || x.starved != 0 && m.full(s) {
		return false
	}
	if x.called == 0 {
		x.called = 1
		s.before[i][x.done] = s.session[1-i].done
	}
	x.starved = 0
	s.enter(i)
	x.version = s.control
	if m.goesFirst(s, i) {
		x.restores = 1 + s.revived // before the value
	}
	if m.cfg.Ops[i][x.done].Kind == Get {
		x.version = 0 // a read is of no version
	}
	x.pc = opLoad
	return true
}

// loadEntry loads what an attempt is based on. An entry that does not exist is made, with no chain, by those who will
// need it.
func (m *Model) loadEntry(s *State, i int, op Op) (ok bool, bad string) {
	x := &s.session[i]
	slot, wait := m.find(s, op.Key)
	if wait {
		return false, ""
	}
	if s.slot[slot] == freeSlot {
		switch {
		case op.Kind == Set || x.pc == opReload:
			s.slot[slot] = none
		case op.Kind == Delete:
			return true, m.finish(s, i, 0)
		}
	}
	x.entry = s.slot[slot]
	if x.entry == freeSlot {
		x.entry = none
	}
	x.stop = s.head
	if op.Kind == Get || op.Kind != Set && op.Kind != Delete && x.pc == opLoad {
		x.begin, x.pc = s.begin, opWalk // this only reads
		if x.restores != 0 {
			x.chain = x.entry
		}
		return true, ""
	}
	x.slot, x.safe = slot, s.safe
	if op.Kind == Set {
		x.stop = s.safe
	}
	if m.overtaken(s, x.version, x.entry) {
		m.retry(s, i)
		return true, ""
	}
	if x.pc == opReload {
		x.pc = opRecheck
	} else {
		x.pc = opWalk
	}
	return true, ""
}

// overtaken reports whether the newest record of a chain is of the version after an operation's (C3).
func (m *Model) overtaken(s *State, version, entry uint8) bool {
	return m.cfg.Plant != NoMove && entry > s.safe && s.version[entry] == version+1
}

// mutable reports whether record a may be changed in place (H2, C2).
func (m *Model) mutable(s *State, version, a uint8) bool {
	boundary := s.readOnly
	if m.cfg.Plant == InPlaceToSafe {
		boundary = s.safe
	}
	return a > boundary && (s.version[a] == version || m.cfg.Plant == InPlaceAnyVersion)
}

// walkChain is the first attempt's decision.
func (m *Model) walkChain(s *State, i int, op Op) (ok bool, bad string) {
	x := &s.session[i]
	a, found, bad := m.walk(s, x.entry, op.Key, x.stop)
	if bad != "" {
		return true, bad
	}
	switch op.Kind {
	case Get:
		return m.getFrom(s, i, a, found)
	case RMW, Take:
		return m.readForUpdate(s, i, op, a, found)
	case Delete:
		switch {
		case !found && a <= s.begin:
			return true, m.finish(s, i, 0)
		case !found:
			m.toCopy(s, i, none)
			return true, ""
		case a <= x.safe && s.word[a]&tombstoneBit != 0:
			return true, m.finish(s, i, 0)
		case a <= x.safe:
			m.toCopy(s, i, none)
			return true, ""
		}
	}
	if !found { // Set
		m.toCopy(s, i, none)
		return true, ""
	}
	x.seen = s.word[a]
	switch {
	case x.seen&busyBits != 0:
		m.retry(s, i)
	case op.Kind == Delete && x.seen&tombstoneBit != 0:
		return true, m.finish(s, i, 0)
	case m.mutable(s, x.version, a) && !op.Big:
		x.at, x.pc = a, opLock
	default:
		m.toCopy(s, i, a)
	}
	return true, ""
}

// toCopy goes on with an update by copy over source, which is none if nobody can change the old record any more.
func (m *Model) toCopy(s *State, i int, source uint8) {
	x := &s.session[i]
	x.stop, x.safe, x.begin = 0, 0, 0
	if source == none || m.cfg.Plant == NoSeal {
		x.pc, x.source, x.seen = opAllocate, none, 0
		return
	}
	x.pc, x.source = opSeal, source
}

// getFrom finishes a read whose chain leaves memory, or has the key, at a.
func (m *Model) getFrom(s *State, i int, a uint8, found bool) (ok bool, bad string) {
	x := &s.session[i]
	if !found {
		s.leave(i)
		x.at, x.pc = a, opDisk
		x.entry, x.slot, x.stop, x.safe, x.version = 0, 0, 0, 0, 0
		return true, ""
	}
	if s.word[a]&lockedBit != 0 {
		return false, ""
	}
	return true, m.finish(s, i, s.value[a])
}

// readForUpdate is the read of a read-modify-write in memory.
func (m *Model) readForUpdate(s *State, i int, op Op, a uint8, found bool) (ok bool, bad string) {
	x := &s.session[i]
	if !found {
		s.leave(i)
		x.at, x.cold, x.pc = a, a, opDisk
		if a <= x.begin {
			x.cold = none
		}
		x.entry, x.slot, x.stop, x.safe = 0, 0, 0, 0
		return true, ""
	}
	w := s.word[a]
	if w&lockedBit != 0 {
		return false, ""
	}
	final := a <= s.safe
	if w&sealedBit != 0 && !final {
		m.retry(s, i)
		return true, ""
	}
	s.leave(i)
	x.entry, x.slot, x.stop, x.safe, x.begin = 0, 0, 0, 0, 0
	x.from, x.seen, x.pc = a, w, opReenter
	x.final, x.existed = bit(final), bit(w&tombstoneBit == 0)
	s.old[i] = s.value[a]
	return true, m.skipTake(s, i, op)
}

// skipTake finishes a Take that has found nothing: it has nothing to write.
func (m *Model) skipTake(s *State, i int, op Op) (bad string) {
	if op.Kind == Take && s.session[i].existed == 0 {
		return m.finish(s, i, 0)
	}
	return ""
}

// readDisk follows the chain from where it left memory. Nothing protects it but that the log on disk does not change;
// below begin it may be gone.
func (m *Model) readDisk(s *State, i int, op Op) (bad string) {
	x := &s.session[i]
	begin := x.begin
	if m.cfg.Plant == LateBegin {
		begin = s.begin
	}
	a, found, bad := m.walkDisk(s, x.at, op.Key, begin)
	if bad != "" {
		return bad
	}
	found = found && a > s.begin && s.word[a]&tombstoneBit == 0
	if !found && begin != s.begin {
		m.retry(s, i)
		return ""
	}
	value := uint32(0)
	if found {
		value = s.value[a]
	}
	if op.Kind == Get {
		return m.finish(s, i, value)
	}
	x.at, x.begin, x.existed, x.pc = 0, 0, bit(found), opReenter
	s.old[i] = value
	return m.skipTake(s, i, op)
}

// reenter begins the write of a read-modify-write (writeUpdate, tryUpdate).
func (m *Model) reenter(s *State, i int, op Op) (ok bool, bad string) {
	x := &s.session[i]
	if s.paused != 0 && !(m.cfg.Plant == CarryPaused && x.restores != 0) || x.starved != 0 && m.full(s) {
		return false, ""
	}
	if s.control != x.version && m.cfg.Plant != KeepVersion && !m.carry(s, i) {
		m.retry(s, i)
		return true, ""
	}
	x.starved = 0
	s.enter(i)
	if x.from > s.readOnly {
		if x.from <= s.gone {
			return true, "a frame was reused under a writer"
		}
		if s.version[x.from] == x.version && !op.Big {
			if x.seen&busyBits != 0 {
				m.retry(s, i)
				return true, ""
			}
			x.at, x.pc = x.from, opLock
			x.from, x.cold, x.final, x.existed = 0, 0, 0, 0
			return true, ""
		}
	}
	x.pc = opReload
	return true, ""
}

// recheck decides whether the key is as it was read (updateByCopy).
func (m *Model) recheck(s *State, i int, op Op) (ok bool, bad string) {
	x := &s.session[i]
	a, found, bad := m.walk(s, x.entry, op.Key, x.stop)
	if bad != "" {
		return true, bad
	}
	source := uint8(none)
	same := false
	switch {
	case !found:
		if a <= s.begin {
			a = none
		}
		if x.from != none {
			same = a == x.from && (x.final != 0 || m.cfg.Plant == StaleUpdate)
		} else {
			same = a == x.cold
		}
	case a == x.from:
		same = s.word[a]&^busyBits == x.seen&^busyBits || m.cfg.Plant == StaleUpdate
		if a > x.safe {
			source = a
			same = same && x.seen&busyBits == 0
		}
	}
	if !same && !(m.cfg.Plant == CarryStale && x.restores != 0) {
		m.retry(s, i)
		return true, ""
	}
	x.from, x.cold, x.final, x.existed = 0, 0, 0, 0
	m.toCopy(s, i, source)
	return true, ""
}

// newValue returns what an operation writes; 0 deletes.
func (m *Model) newValue(s *State, i int, op Op) uint32 {
	token := uint32(i*opsEach) + uint32(s.session[i].done) + 1
	switch op.Kind {
	case Set:
		return token
	case RMW:
		return s.old[i]<<4 | token
	}
	return 0
}

// writeInPlace changes the record that the session has locked.
func (m *Model) writeInPlace(s *State, i int, op Op) (bad string) {
	x := &s.session[i]
	a := x.at
	if s.onDisk(a) {
		return "a record was changed after it was flushed"
	}
	s.value[a] = m.newValue(s, i, op)
	w := (s.word[a] + sequence) &^ (lockedBit | tombstoneBit)
	if s.value[a] == 0 {
		w |= tombstoneBit
	}
	s.word[a] = w
	return m.finish(s, i, s.old[i])
}

// copyRecord is Session.publish after the source is sealed.
func (m *Model) copyRecord(s *State, i int, op Op) (ok bool, bad string) {
	x := &s.session[i]
	switch x.pc {
	case opAllocate:
		if m.full(s) {
			if x.source != none {
				s.word[x.source] = x.seen
			}
			m.retry(s, i)
			x.starved, s.hold.kick = 1, bit(m.cfg.Hold)
			return true, ""
		}
		if s.tail == maxRecords {
			return true, "the model's log is too small"
		}
		x.fresh = s.allocate(op.Key, x.version, x.entry, m.newValue(s, i, op))
		m.took(s)
		x.pc = opPublish
	case opPublish:
		ok, bad := m.publish(s, x.slot, x.entry, x.fresh)
		if bad != "" {
			return true, bad
		}
		if ok {
			return true, m.finish(s, i, s.old[i])
		}
		x.pc = opUndo
	case opUndo:
		if x.source != none {
			s.word[x.source] = x.seen
		}
		fresh := x.fresh
		m.retry(s, i)
		s.abandon(fresh)
	}
	return true, ""
}

// retry leaves the epoch to start over.
func (m *Model) retry(s *State, i int) {
	s.leave(i)
	x := &s.session[i]
	*x = session{done: x.done, called: 1}
	s.old[i] = 0
}

// finish ends the operation; saw is what a reader or an update was given.
func (m *Model) finish(s *State, i int, saw uint32) (bad string) {
	s.leave(i)
	x := &s.session[i]
	e := i*opsEach + int(x.done)
	s.result[e] = saw
	if op := m.cfg.Ops[i][x.done]; op.Kind == Delete && (x.pc == opWrite || x.pc == opPublish) {
		s.result[e] = 1 // it has written something
	}
	*x = session{done: x.done + 1}
	s.old[i] = 0
	return ""
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
