package protocol

// compaction empties the log of the current version (compact.go).
type compaction struct {
	pc      uint8
	version uint8 // that is compacted, counted from 1
	live    uint8 // the store had gone on from it without a restore in between
	at      uint8 // the record that is looked at
	log     uint8 // log version of the attempt
	entry   uint8
	slot    uint8
	stop    uint8
	seen    uint8 // where the chain left memory when the record was found to be the newest of its key
	fresh   uint8
}

const (
	compactNext    = iota // take the next record of the version
	compactLook           // go in, load entry and head
	compactFollow         // is it the newest of its key?
	compactEnter          // go in, load the control word
	compactLoad           // load entry, head and safeReadOnly
	compactDecide         // has the chain changed?
	compactPublish        // a copy was allocated: swap the entry
	compactUndo           // it failed
	compactUrgent         // no page is open at the tail: say that compaction waits for one
	compactAsk            // ask for it
	compactWait           // wait until one is
	compactLift           // nothing is held up any more
	compactTell           // have the pages opened that were
	compactEnd            // free the entries that lead nowhere
	compactDone
)

var compactNames = [...]string{
	"takes the next record", "loads entry and head", "follows the chain", "enters", "loads the entry again",
	"decides and allocates", "swaps the entry", "undoes the copy",
	"says that it waits for a page", "asks for one", "has got one", "holds up no page any more", "has pages opened", "frees an entry", "",
}

// compacting reports whether a compaction is under way.
func (s *State) compacting() bool {
	pc := s.compact.pc
	return pc != compactNext && pc < compactEnd || pc == compactNext && s.compact.version != 0
}

// stepCompact is one step of the compactor, and in a coarse model those behind it that belong to it.
func (m *Model) stepCompact(s *State) (ok bool, bad string) {
	if !m.cfg.Compact {
		return false, ""
	}
	for ok, bad = m.stepMove(s); ok && bad == "" && !m.cfg.Fine; ok, bad = m.stepMove(s) {
		c := &s.compact
		switch c.pc {
		case compactNext:
			if next, end := m.nextMember(s); next <= end {
				continue
			}
		case compactFollow, compactDecide:
			if !m.cfg.Evict {
				continue
			}
		case compactUndo:
			continue
		}
		break
	}
	return ok, bad
}

func (m *Model) stepMove(s *State) (ok bool, bad string) {
	c := &s.compact
	switch c.pc {
	case compactNext:
		return m.nextRecord(s), ""
	case compactLook:
		slot, wait := m.find(s, s.key[c.at])
		if wait || s.paused != 0 {
			return false, ""
		}
		s.enter(guardCompact)
		c.entry, c.stop = entryOf(s.slot[slot]), s.head
		c.pc = compactFollow
	case compactFollow:
		return true, m.follow(s)
	case compactEnter:
		if s.paused != 0 {
			return false, ""
		}
		s.enter(guardCompact)
		c.log, c.pc = s.control, compactLoad
	case compactLoad:
		slot, wait := m.find(s, s.key[c.at])
		if wait {
			return false, ""
		}
		c.slot, c.entry, c.stop = slot, entryOf(s.slot[slot]), s.head
		c.pc = compactDecide
		if m.overtaken(s, c.log, c.entry) {
			c.resume(s, compactEnter)
		}
	case compactDecide:
		return true, m.decide(s)
	case compactPublish:
		ok, bad := m.publish(s, c.slot, c.entry, c.fresh)
		if bad != "" {
			return true, bad
		}
		c.pc = compactUndo
		if ok {
			c.resume(s, compactNext)
		}
	case compactUndo:
		fresh := c.fresh
		c.resume(s, compactEnter)
		s.abandon(fresh)
	case compactEnd:
		return m.clearEntry(s), ""
	case compactUrgent, compactAsk, compactWait, compactLift, compactTell:
		return m.stepHold(s), ""
	default:
		return false, ""
	}
	return true, ""
}

// entryOf returns the address that a slot leads to.
func entryOf(e uint8) uint8 {
	if e == freeSlot || e == frozen {
		return none
	}
	return e
}

// resume leaves the epoch and goes on at pc, with nothing but the record in mind.
func (c *compaction) resume(s *State, pc uint8) {
	s.leave(guardCompact)
	n := compaction{pc: pc, version: c.version, live: c.live, at: c.at}
	if pc == compactEnter {
		n.seen = c.seen
	}
	*c = n
}

// nextRecord goes on to the next record of the version, or ends.
func (m *Model) nextRecord(s *State) bool {
	c := &s.compact
	if c.version == 0 {
		if s.current == 0 || s.restoring() {
			return false
		}
		c.version, c.live = s.current, s.live
		s.hold.begin(m)
	}
	next, end := m.nextMember(s)
	if next > end {
		s.empty = end
		*c = compaction{pc: compactEnd}
		if m.cfg.Hold && m.cfg.Plant != HoldUntilVersion {
			c.pc = compactLift
		}
		return true
	}
	s.hold.wentOver(m)
	c.at, c.pc = next, compactLook
	if m.cfg.Plant == CompactAlways {
		c.pc = compactEnter
	}
	return true
}

// nextMember returns the record to be looked at next; there is none if it lies beyond end.
func (m *Model) nextMember(s *State) (next, end uint8) {
	members, end := m.inherited(s)
	for next = s.compact.at + 1; next <= end && members&(1<<next) == 0; next++ {
	}
	return next, end
}

// inherited returns the records of the compacted version's log that are the live store's, and where that log ends.
func (m *Model) inherited(s *State) (members uint16, end uint8) {
	v, n := s.compact.version, uint8(len(m.cfg.Versions))
	if v <= n {
		return m.baseMembers(v), m.cfg.Versions[v-1]
	}
	i := v - n - 1
	if s.compact.live != 0 && m.cfg.Plant != CompactSkipsEnd {
		return s.extent[i], s.cut[i].end
	}
	return s.member[i], s.cut[i].end
}

// follow decides whether the record is the newest of its key: in memory, and from where the chain leaves it on disk.
func (m *Model) follow(s *State) (bad string) {
	c := &s.compact
	key := s.key[c.at]
	at, found, bad := m.walk(s, c.entry, key, c.stop)
	if bad != "" {
		return bad
	}
	if !found && at > c.at {
		c.seen = at
		if at, _, bad = m.walkDisk(s, at, key, c.at-1); bad != "" {
			return bad
		}
	} else {
		c.seen = at
	}
	if at != c.at {
		c.resume(s, compactNext) // superseded
		return ""
	}
	c.resume(s, compactEnter)
	return ""
}

// decide moves the record if its chain is as it was, or drops it if it is a tombstone that no version misses.
func (m *Model) decide(s *State) (bad string) {
	c := &s.compact
	key := s.key[c.at]
	at, found, bad := m.walk(s, c.entry, key, c.stop)
	switch {
	case bad != "":
		return bad
	case m.cfg.Plant == CompactAlways:
	case found && at != c.at:
		c.resume(s, compactNext)
		return ""
	case at != c.seen && at != c.at:
		c.resume(s, compactLook)
		return ""
	}
	tombstone := s.word[c.at]&tombstoneBit != 0
	if tombstone && (c.at <= m.floor(s) || m.cfg.Plant == DropTombstone) {
		s.dropped |= 1 << key
		c.resume(s, compactNext)
		return ""
	}
	if m.full(s) {
		c.resume(s, compactEnter)
		c.pc = compactUrgent
		return ""
	}
	if s.tail == maxRecords {
		return "the model's log is too small"
	}
	c.fresh = s.allocate(key, c.log, c.entry, s.value[c.at])
	m.took(s)
	c.pc = compactPublish
	return ""
}

// floor returns the address up to which all versions share the log.
func (m *Model) floor(s *State) uint8 {
	least := uint8(maxRecords)
	for _, c := range m.cfg.Versions {
		least = min(least, c)
	}
	for i := range s.cut {
		if s.cut[i].pc == cutDone {
			least = min(least, s.cut[i].fuzzy)
		}
	}
	return least
}

// clearEntry frees an entry that leads only to log that is no longer the store's (clearEntries).
func (m *Model) clearEntry(s *State) bool {
	if s.dropped == 0 {
		s.compact.pc = compactDone
		return true
	}
	if s.begin < s.empty || s.restoring() {
		return false
	}
	key := uint8(1)
	if s.dropped&1 != 0 {
		key = 0
	}
	slot, wait := m.find(s, key)
	if wait {
		return false
	}
	s.dropped &^= 1 << key
	if e := s.slot[slot]; e != freeSlot && e != none && e != frozen && e <= s.begin {
		s.slot[slot] = freeSlot
	}
	return true
}
