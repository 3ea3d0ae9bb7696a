package protocol

// pager moves the regions of the log (pager.go).
type pager struct {
	pc     uint8
	wait   uint8 // guards that its Synchronize waits for
	target uint8
	passes uint8
}

const (
	pageShift = iota // raise readOnly
	pageDrain        // wait; raise safeReadOnly, flush
	pageEvict        // raise head
	pageReuse        // wait; the frames below head get new contents
)

var pagerNames = [...]string{"raises readOnly", "raises safeReadOnly and flushes", "raises head", "reuses the frames below head"}

func (m *Model) stepPager(s *State) (ok bool, bad string) {
	p := &s.pager
	switch p.pc {
	case pageShift:
		if p.passes == m.cfg.Passes || s.flushed == s.tail && (!m.cfg.Evict || s.head == s.tail) {
			return false, ""
		}
		p.passes++
		p.target = s.tail
		s.readOnly = max(s.readOnly, p.target)
		p.wait = m.synchronize(s, NoFlushDrain)
		p.pc = pageDrain
	case pageDrain:
		if p.wait != 0 {
			return false, ""
		}
		s.safe = max(s.safe, p.target)
		bad = s.flush(p.target)
		p.target, p.pc = 0, pageShift
		if m.cfg.Evict {
			p.pc = pageEvict
		}
	case pageEvict:
		s.head = max(s.head, s.flushed)
		p.wait = m.synchronize(s, NoEvictDrain)
		p.pc = pageReuse
	case pageReuse:
		if p.wait != 0 {
			return false, ""
		}
		s.gone = s.head
		p.pc = pageShift
	}
	return true, bad
}

// stepWarm reads the newest record below head back into its frame and lowers head over it (hybridLog.warm).
func (m *Model) stepWarm(s *State) (ok bool) {
	if !m.cfg.Warm || s.head == 0 || s.head != s.gone || s.pager.pc == pageReuse || s.head > s.start {
		return false
	}
	s.word[s.head] &^= busyBits
	s.head--
	s.gone--
	return true
}

// cut is a checkpoint (checkpoint.go).
type cut struct {
	pc         uint8
	wait       uint8
	fuzzy      uint8
	logVersion uint8
	empty      uint8 // what compaction had emptied when it began
	end        uint8
	filler     uint8
	split      uint8 // the index was the finer one at the cut
	begin      uint8 // where the version's log begins, once it is committed
	returned   uint8 // operations that had returned before BeginCheckpoint was called
	called     uint8 // operations that were called before it returned
	restores   uint8 // a restore had returned before
	gate       passage
}

const (
	cutBegin  = iota // note the tail
	cutBump          // begin the next version
	cutTake          // wait for the operations of the old one; move the tail to a block boundary: that is the cut
	cutFill          // write the filler that covers the gap
	cutShift         // raise readOnly
	cutCommit        // wait; raise safeReadOnly, flush, write the manifest, raise begin
	cutDone
)

var cutNames = [...]string{"notes the tail", "begins the next version", "takes the cut", "covers the gap", "raises readOnly", "flushes and commits", ""}

// stepCut is one step of checkpoint i. Without a pager nobody could notice the gap while it is open, so that a coarse
// model fills it at once.
func (m *Model) stepCut(s *State, i int) (ok bool, bad string) {
	ok, bad = m.stepCheckpoint(s, i)
	if ok && bad == "" && m.fillsAtOnce() && s.cut[i].pc == cutFill {
		return m.stepCheckpoint(s, i)
	}
	return ok, bad
}

func (m *Model) fillsAtOnce() bool { return !m.cfg.Fine && m.cfg.Passes == 0 }

func (m *Model) stepCheckpoint(s *State, i int) (ok bool, bad string) {
	c := &s.cut[i]
	switch c.pc {
	case cutBegin:
		if i >= int(m.cfg.Checkpoints) || s.restoring() {
			return false, ""
		}
		if i > 0 && (s.cut[i-1].pc <= cutBump || s.cut[i-1].gate.passing() || s.cut[i-1].pc < cutShift && m.cfg.Plant != NoAwaitCut) {
			return false, ""
		}
		if c.gate.pc == gateAsk {
			c.returned, c.restores = s.returned(), bit(s.restore.pc == restoreDone)
		}
		if m.cfg.Units != 0 && c.gate.pc != gateHeld {
			return m.stepGate(s, &c.gate, CutInUnit), ""
		}
		c.fuzzy, c.logVersion, c.empty = s.tail, s.control, s.empty
		c.pc = cutBump
	case cutBump:
		s.control++
		c.called |= s.called()
		c.wait = m.synchronize(s, NoCutWait)
		c.pc = cutTake
	case cutTake:
		if c.gate.pc == gateHeld {
			s.openGate(&c.gate)
			c.called |= s.called()
			return true, ""
		}
		if c.wait != 0 || i > 0 && s.cut[i-1].pc < cutShift {
			return false, ""
		}
		if s.tail == maxRecords {
			return true, "the model's log is too small"
		}
		c.split = bit(s.growth.pc != growthIdle)
		c.filler = m.openGap(s, guardCut+i)
		c.end = s.tail
		c.pc = cutFill
	case cutFill:
		s.closeGap(&c.filler, guardCut+i)
		c.pc = cutShift
	case cutShift:
		if i > 0 && s.cut[i-1].pc != cutDone {
			return false, ""
		}
		s.readOnly = max(s.readOnly, c.end)
		c.wait = m.synchronize(s, NoFlushDrain)
		c.pc = cutCommit
	case cutCommit:
		if c.wait != 0 {
			return false, ""
		}
		s.safe = max(s.safe, c.end)
		bad = s.flush(c.end)
		m.commit(s, i)
		c.pc = cutDone
	default:
		return false, ""
	}
	return true, bad
}

// openGap moves the tail to a block boundary (alignTail). Until closeGap has written the filler there is nothing
// that could be flushed or walked over: whoever does this is inside the epoch.
func (m *Model) openGap(s *State, guard int) (filler uint8) {
	if m.cfg.Plant != FillOutside {
		s.enter(guard)
	}
	s.hold.limit += bit(m.cfg.Hold) // the gap lies in the page that is open
	return s.allocate(noKey, 0, none, 0)
}

// closeGap writes the filler. Nobody looks at it any more, so it goes like what was abandoned.
func (s *State) closeGap(filler *uint8, guard int) {
	s.leave(guard)
	a := *filler
	*filler = 0
	s.abandon(a)
}

// commit writes the manifest of checkpoint i: a child of the current version.
func (m *Model) commit(s *State, i int) {
	c := &s.cut[i]
	member, extent, begin := m.lineage(s)
	for a := s.start + 1; a <= c.end; a++ {
		extent |= 1 << a
		if a <= c.fuzzy || s.version[a] != c.logVersion+1 || m.cfg.Plant == NoSkip {
			member |= 1 << a
		}
	}
	c.begin = max(begin, c.empty)
	trim := ^uint16(1<<(c.begin+1) - 1)
	s.member[i], s.extent[i] = member&trim, extent&trim
	s.current, s.live, s.start = uint8(len(m.cfg.Versions)+i+1), 1, c.end
	s.begin = max(s.begin, c.empty)
}

// lineage returns the records that the current version hands to its child (checkpoint.Extend), and where they begin.
func (m *Model) lineage(s *State) (member, extent uint16, begin uint8) {
	n := uint8(len(m.cfg.Versions))
	switch {
	case s.current == 0:
		return 0, 0, 0
	case s.current <= n:
		all := m.baseMembers(s.current)
		return all, all, 0
	}
	i := s.current - n - 1
	if s.live != 0 {
		return s.extent[i], s.extent[i], s.cut[i].begin
	}
	return s.member[i], s.extent[i], s.cut[i].begin
}

// baseMembers returns the records of version v of the base, counted from 1.
func (m *Model) baseMembers(v uint8) uint16 { return 1<<(m.cfg.Versions[v-1]+1) - 2 }

// growth moves the one bucket of the index to the next table (index/grow.go).
type growth struct {
	pc    uint8
	wait  uint8
	entry uint8
}

const (
	growthIdle    = iota // publish the next table and claim the bucket
	growthClaimed        // freeze it
	growthFrozen         // write its entries into the next table, mark it moved
	growthMoved          // wait; give the old table back
	growthFreed
)

var growthNames = [...]string{"publishes a table and claims the bucket", "freezes it", "writes the entries, marks it moved", "frees the old table", ""}

func (m *Model) stepGrowth(s *State) (ok bool, bad string) {
	g := &s.growth
	switch g.pc {
	case growthIdle:
		if !m.cfg.Grow {
			return false, ""
		}
	case growthClaimed:
		g.entry = s.slot[0]
		if m.cfg.Plant != NoFreeze {
			s.slot[0] = frozen
		}
	case growthFrozen:
		if g.entry != none && g.entry != freeSlot {
			s.slot[1] = g.entry
			if m.cfg.CatchAll {
				s.slot[2] = g.entry
			}
		}
		g.entry = 0
		g.wait = s.inside
	case growthMoved:
		if g.wait != 0 {
			return false, ""
		}
		s.slot[0] = frozen
	default:
		return false, ""
	}
	g.pc++
	return true, ""
}

// restore takes the live store back to a version of the base (restore.go).
type restore struct {
	pc       uint8
	wait     uint8
	returned uint8
	called   uint8
	cuts     uint8 // checkpoints that came before it
	filler   uint8
	gate     passage
}

const (
	restoreBegin  = iota // pause the store
	restoreDrain         // wait; move the tail to a block boundary
	restoreFill          // cover the gap; make everything read-only
	restoreApply         // rewind the entries, go on from the version
	restoreResume        // begin the next log version, let operations in
	restoreDone
)

var restoreNames = [...]string{"pauses the store", "waits, aligns the tail", "covers the gap, makes everything read-only", "rewinds the entries", "bumps the log version and resumes", ""}

func (m *Model) stepRestore(s *State) (ok bool, bad string) {
	ok, bad = m.stepRollback(s)
	if ok && bad == "" && m.fillsAtOnce() && s.restore.pc == restoreFill {
		return m.stepRollback(s)
	}
	return ok, bad
}

func (m *Model) stepRollback(s *State) (ok bool, bad string) {
	r := &s.restore
	switch r.pc {
	case restoreBegin:
		if !m.cfg.Restore || s.compacting() {
			return false, ""
		}
		if n := int(m.cfg.Target) - len(m.cfg.Versions); n >= 0 && s.cut[n].pc != cutDone {
			return false, ""
		}
		for i := range s.cut {
			if c := &s.cut[i]; c.pc != cutBegin && c.pc != cutDone || c.gate.passing() {
				return false, ""
			}
			r.cuts |= bit(s.cut[i].pc == cutDone) << i
		}
		if r.gate.pc == gateAsk {
			r.returned = s.returned()
		}
		if m.cfg.Units != 0 && r.gate.pc != gateHeld {
			return m.stepGate(s, &r.gate, RestoreInUnit), ""
		}
		s.paused = 1
		r.wait = m.synchronize(s, NoRestoreDrain)
	case restoreDrain:
		if r.gate.pc == gateHeld {
			s.openGate(&r.gate)
			return true, ""
		}
		if r.wait != 0 {
			return false, ""
		}
		if s.tail == maxRecords {
			return true, "the model's log is too small"
		}
		r.filler = m.openGap(s, guardRestore)
	case restoreFill:
		s.closeGap(&r.filler, guardRestore)
		s.readOnly, s.safe = s.tail, s.tail
	case restoreApply:
		if s.growth.pc > growthIdle && s.growth.pc < growthMoved {
			return false, ""
		}
		m.rewind(s)
	case restoreResume:
		if m.cfg.Plant != NoBump {
			s.control++
		}
		s.paused = 0
		r.called |= s.called()
	default:
		return false, ""
	}
	r.pc++
	return true, ""
}

// rewind points the entries at the newest records that belong to the target, and goes on from it.
func (m *Model) rewind(s *State) {
	v := m.cfg.Target + 1
	members, fuzzy, begin := m.manifest(s, v)
	for i, e := range s.slot {
		if e == freeSlot || e == frozen {
			continue
		}
		for e > fuzzy && members&(1<<e) == 0 {
			e = s.prev[e]
		}
		s.slot[i] = e
	}
	s.flushed = max(s.flushed, s.tail)
	s.begin, s.empty, s.dropped = begin, 0, 0
	s.revived++
	s.current, s.live, s.start = v, 0, s.tail
}

// manifest returns what version v, counted from 1, consists of: its records, up to where all of the log belongs to
// it, and where its log begins.
func (m *Model) manifest(s *State, v uint8) (members uint16, fuzzy, begin uint8) {
	if n := uint8(len(m.cfg.Versions)); v > n {
		c := &s.cut[v-n-1]
		return s.member[v-n-1], c.fuzzy, c.begin
	}
	return m.baseMembers(v), m.cfg.Versions[v-1], 0
}

// called returns the operations that have been called, returned those that have returned, a bit each.
func (s *State) called() (mask uint8) {
	for i := range s.session {
		n := s.session[i].done + s.session[i].called
		mask |= (1<<n - 1) << (i * opsEach)
	}
	return mask
}

func (s *State) returned() (mask uint8) {
	for i := range s.session {
		mask |= (1<<s.session[i].done - 1) << (i * opsEach)
	}
	return mask
}
