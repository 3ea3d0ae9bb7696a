package mirrors

// next returns the states that one step of mirror i leads to, and what is wrong with the step.
func (c *Config) next(s State, i int) (after []State, bad string) {
	m := &s.m[i]
	if int(m.op) == len(c.Script[i]) {
		return nil, ""
	}
	switch m.pc {
	case pcBegin:
		c.begin(&s, i)
	case pcPlan:
		c.plan(&s, i)
	case pcPieces:
		content := oneOf(uint16(m.missing))
		s.pieces[content] |= 1 << c.generation(m)
		if m.missing &^= 1 << content; m.missing == 0 {
			m.pc = pcEntry
		}
	case pcClaim, pcEntry:
		return c.putEntry(s, i)
	case pcAnchor:
		n := m.known // the entry before the one that was put
		if c.Plant != NoAnchor && s.deleted&(1<<n) != 0 {
			c.search(&s, i) // what was put is a stray
			break
		}
		m.known++
		return []State{c.stands(s, i)}, ""
	case pcRead:
		return c.read(s, i)
	case pcList:
		v := c.fold(&s, m.known)
		for content := range s.pieces {
			m.doomed[content] = s.pieces[content] & (1<<m.purged - 1) &^ s.named(v, v.live, uint8(content))
		}
		m.pc = pcDelete
	case pcDelete:
		if c.Lossy && c.Script[i][m.op] == Retain && m.doomed != ([versions]uint16{}) {
			late := s
			for content, claims := range m.doomed {
				late.late[content] |= claims
			}
			c.finished(&late, i)
			after = append(after, late)
		}
		if !c.deleteOne(&s, i) {
			c.finished(&s, i)
		}
	}
	after = append(after, s)
	if m.pc != pcBegin && c.Script[i][m.op].target(i) != nobody && !m.doubt {
		given := s // ErrRemote: rolled back here, not there
		g := &given.m[i]
		g.op, g.pc, g.put, g.missing = g.op+1, pcBegin, entry{}, 0
		after = append(after, given)
	}
	if m.pc != pcBegin && c.Copies[i] {
		after = append(after, c.killed(s, i))
	}
	return after, ""
}

// killed ends the process of mirror i, which has acknowledged nothing.
func (c *Config) killed(s State, i int) State {
	c.failed(&s, i)
	return s
}

// arrive has the deletions that are on their way take effect.
func (c *Config) arrive(s State) (after State, any bool) {
	for content, claims := range s.late {
		s.pieces[content] &^= claims
		any = any || claims != 0
	}
	s.late = [versions]uint16{}
	return s, any
}

// generation is the number that new pieces carry.
func (c *Config) generation(m *mirror) uint8 {
	switch c.Plant {
	case SameNames:
		return 0
	case SameClaim:
		return m.claim
	}
	return max(m.claim, m.purged)
}

// begin does what an operation does locally.
func (c *Config) begin(s *State, i int) {
	m := &s.m[i]
	m.pc = pcRead
	if c.Copies[i] {
		m.trouble, m.claim, m.purged = fine, 0, 0
	}
	switch op := c.Script[i][m.op]; op {
	case Commit, CommitWhole:
		v := uint8(1 + 3*i + int(m.made))
		m.made++
		s.parent[v] = m.current
		if op == CommitWhole {
			s.whole |= 1 << v
		}
		m.current = v
	case Rollback, RollbackOwn:
		m.current = op.target(i)
	case Open:
		m.trouble, m.claim, m.purged = fine, 0, 0
	case Trim:
		m.pc = pcPlan
	}
	if m.trouble != fine {
		c.failed(s, i)
	}
}

func (c *Config) failed(s *State, i int) {
	m := &s.m[i]
	m.op, m.pc, m.put, m.missing, m.doubt, m.doomed = m.op+1, pcBegin, entry{}, 0, false, [versions]uint16{}
}

func (c *Config) finished(s *State, i int) {
	s.lied = s.lied || c.lies(s, i)
	c.failed(s, i)
}

// plan decides what an operation does next, when all of the sequence is known.
func (c *Config) plan(s *State, i int) {
	m := &s.m[i]
	op := c.Script[i][m.op]
	v := c.fold(s, m.known)
	switch {
	case op == Trim:
		m.pc = pcDelete
		return
	case op == Open:
		if c.Epoch[i] > 0 && m.claim == 0 {
			m.pc = pcClaim
			return
		}
		if v.set != m.synced {
			m.current, m.synced = v.head, v.set
		}
		c.finished(s, i)
		return
	case m.claim == 0:
		m.pc = pcClaim
		return
	}
	switch op {
	case Retain:
		c.planRetain(s, i, v)
		return
	case Sweep:
		c.prepare(m, entry{kind: purge})
		return
	}
	c.planCurrent(s, i, v)
}

// planCurrent makes the current version that of the remote: first the head goes to its nearest ancestor that is there, then
// what is missing is put, the oldest first.
func (c *Config) planCurrent(s *State, i int, v view) {
	m := &s.m[i]
	if v.head == m.current {
		c.finished(s, i)
		return
	}
	near, missing := m.current, uint8(nobody)
	for near != nobody && v.live&(1<<near) == 0 {
		near, missing = s.parent[near], near
	}
	retry := c.Plant != HeadNotRetried || c.Script[i][m.op].target(i) != nobody
	if missing == nobody || near != nobody && near != v.head && retry {
		c.prepare(m, entry{kind: head, subject: near})
		return
	}
	e := entry{kind: version, subject: missing}
	if p := s.parent[missing]; s.whole&(1<<missing) == 0 && p != nobody {
		from := v.live
		if c.Plant == ReusePurged {
			from = 1<<versions - 1
		}
		if claims := s.named(v, from, p); claims != 0 {
			e.parents = oneOf(claims)
		} else {
			e.parents = c.piece(s, i, p)
		}
	}
	e.own = c.piece(s, i, missing)
	c.prepare(m, e)
	if m.missing != 0 {
		m.pc = pcPieces
	}
}

// piece returns the claim of the piece of a content that no version names: one that is there, or else one to be put.
func (c *Config) piece(s *State, i int, content uint8) uint8 {
	m := &s.m[i]
	if claims := c.left(s, m, content); c.Copies[i] && claims != 0 {
		return oneOf(claims)
	}
	m.missing |= 1 << content
	return c.generation(m)
}

func (c *Config) prepare(m *mirror, e entry) {
	m.put, m.pc = e, pcEntry
}

// planRetain purges the ancestors of the head.
func (c *Config) planRetain(s *State, i int, v view) {
	m := &s.m[i]
	gone := uint8(0)
	for a := uint8(0); a < versions; a++ {
		ours := s.ancestor(a, m.current) && s.ancestor(a, v.head) || c.Plant == RetainOthers
		if v.live&(1<<a) != 0 && ours && (a != v.head || c.Plant == RetainNewest) {
			gone |= 1 << a
		}
	}
	if gone == 0 {
		c.finished(s, i)
		return
	}
	for content := range s.pieces {
		m.doomed[content] = s.named(v, gone, uint8(content)) &^ s.named(v, v.live&^gone, uint8(content))
	}
	c.prepare(m, entry{kind: purge, subject: gone})
	if c.Plant == DeleteFirst {
		m.pc = pcDelete
	}
}

// putEntry is the put-if-absent of the next entry.
func (c *Config) putEntry(s State, i int) (after []State, bad string) {
	m := &s.m[i]
	n := m.known + 1
	if n > entries {
		return nil, "the sequence is too long for the model"
	}
	e := m.put
	if m.pc == pcClaim {
		e = entry{kind: claim}
	}
	e.writer = uint8(i)
	if !m.doubt {
		m.nonce++
	}
	e.nonce = m.nonce
	m.put = e
	free := n == s.length+1 || s.deleted&(1<<n) != 0 && s.stray&(1<<n) == 0
	if !free {
		ours := s.sequence[n].writer == uint8(i) && s.sequence[n].nonce == m.nonce && m.doubt && c.Plant != NoNonce
		if ours || c.Plant == TakenIsOurs {
			m.known++
			return []State{c.stands(s, i)}, ""
		}
		m.doubt, m.pc = false, pcRead
		m.missing, m.doomed = 0, [versions]uint16{}
		if c.Plant == NoPlanAnew && e.kind != claim {
			m.pc, m.known = pcEntry, n // reads on, and puts what it had planned
		}
		return []State{s}, ""
	}
	if n == s.length+1 {
		if bad := c.checkEntry(&s, e); bad != "" {
			return nil, bad
		}
		s.sequence[n], s.length = e, n
	} else {
		s.stray |= 1 << n
	}
	if c.Lossy && !m.doubt {
		lost := s
		lost.m[i].doubt = true
		after = append(after, lost)
	}
	m.pc = pcAnchor
	m.doubt = false
	return append(after, s), ""
}

// stands goes on after the entry of mirror i stands, as far as it knows.
func (c *Config) stands(s State, i int) State {
	m := &s.m[i]
	e := m.put
	m.put, m.doubt = entry{}, false
	switch e.kind {
	case claim:
		m.claim, m.pc = m.known, pcPlan
	case purge:
		if m.purged, m.pc = m.known, pcDelete; c.Script[i][m.op] == Sweep {
			m.pc = pcList
		}
	default:
		m.pc, m.synced = pcPlan, m.known
		if e.subject == m.current {
			c.finished(&s, i)
		}
	}
	return s
}

// read is the get of the next entry.
func (c *Config) read(s State, i int) (after []State, bad string) {
	m := &s.m[i]
	n := m.known + 1
	switch {
	case n > s.length:
		m.pc = pcPlan
	case s.deleted&(1<<n) != 0:
		c.search(&s, i)
	default:
		m.known = n
		c.meet(&s, i, s.sequence[n])
	}
	if m.trouble != fine && n <= s.length && s.deleted&(1<<n) == 0 {
		c.failed(&s, i)
	}
	return []State{s}, ""
}

// search finds the end of the sequence anew.
func (c *Config) search(s *State, i int) {
	m := &s.m[i]
	for m.known < s.length {
		m.known++
		c.meet(s, i, s.sequence[m.known])
	}
	m.pc, m.put, m.missing, m.doubt, m.doomed = pcRead, entry{}, 0, false, [versions]uint16{}
	if m.trouble != fine {
		c.failed(s, i)
	}
}

// meet is what mirror i makes of an entry that it has not put.
func (c *Config) meet(s *State, i int, e entry) {
	m := &s.m[i]
	if e.writer == uint8(i) && c.Plant != NoNonce { // a put whose answer was lost
		if e.kind == version || e.kind == head {
			m.synced = m.known
		}
		return
	}
	opening := c.Script[i][m.op] == Open
	if e.kind == purge && c.Plant != NoClaimAnew { // J6; the code claims anew after any entry of another
		m.claim, m.purged = 0, 0
	}
	switch {
	case e.kind == claim && c.Epoch[e.writer] > c.Epoch[i] && c.Plant != NoEpoch:
		m.trouble = fenced
	case (e.kind == version || e.kind == head) && !opening && c.Plant != NoDescent:
		m.trouble = diverged
	}
}

// deleteOne deletes a piece, or an entry; false when nothing is left to delete.
func (c *Config) deleteOne(s *State, i int) bool {
	m := &s.m[i]
	if c.Script[i][m.op] == Trim {
		if m.trimmed+2 >= m.known {
			return false
		}
		m.trimmed++
		s.deleted |= 1 << m.trimmed
		s.stray &^= 1 << m.trimmed
		return true
	}
	for content := range m.doomed {
		if m.doomed[content] != 0 {
			one := oneOf(m.doomed[content])
			m.doomed[content] &^= 1 << one
			s.pieces[content] &^= 1 << one
			if m.doomed == ([versions]uint16{}) && m.put.kind == purge {
				m.pc = pcEntry // with DeleteFirst
			}
			return true
		}
	}
	if m.put.kind == purge {
		m.pc = pcEntry
		return true
	}
	return false
}
