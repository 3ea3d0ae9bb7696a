package mirrors

import "fmt"

// checkEntry returns what is wrong with an entry that takes its place at the end.
func (c *Config) checkEntry(s *State, e entry) string {
	v := c.fold(s, s.length)
	m := &s.m[e.writer]
	if v.epoch > c.Epoch[e.writer] {
		return "X3: an entry after a claim with a newer epoch"
	}
	switch e.kind {
	case version, head:
		if m.synced != v.set {
			return fmt.Sprintf("X2: mirror %d moves the head from where somebody else has put it", e.writer)
		}
		if e.kind == head {
			break
		}
		for a := s.parent[e.subject]; a != nobody; a = s.parent[a] {
			if v.live&(1<<a) != 0 && !s.ancestor(v.head, e.subject) {
				return fmt.Sprintf("X2: version %d is put upon %d, which was rolled back", e.subject, v.head)
			}
		}
	case purge:
		for a := uint8(0); a < versions; a++ {
			if e.subject&(1<<a) != 0 && (a == v.head || !s.ancestor(a, v.head)) {
				return fmt.Sprintf("X4: version %d is purged, the head is %d", a, v.head)
			}
		}
	}
	return ""
}

// check returns what is wrong with a state.
func (c *Config) check(s *State) string {
	v := c.fold(s, s.length)
	for content := uint8(0); content < versions; content++ {
		if claims := s.named(v, v.live, content); claims&^s.pieces[content] != 0 {
			return fmt.Sprintf("X1: a piece of content %d, which a version names, is gone", content)
		}
	}
	if s.lied {
		return "X5: what was acknowledged does not stand"
	}
	return ""
}

// lies reports whether mirror i must not acknowledge the operation that it is at.
func (c *Config) lies(s *State, i int) bool {
	m := &s.m[i]
	switch op := c.Script[i][m.op]; op {
	case Rollback, RollbackOwn:
		return c.fold(s, m.known).head != op.target(i)
	case Resume:
		return c.fold(s, m.known).head != m.current
	case Commit, CommitWhole:
		for n := uint8(1); n <= m.known; n++ {
			if e := s.sequence[n]; e.writer == uint8(i) && e.kind == version && e.subject == m.current {
				return false
			}
		}
		return true
	}
	return false
}

// checkEnd looks at a state in which both scripts have ended.
func (c *Config) checkEnd(s *State) string {
	if c.Alone {
		for i := range s.m {
			if s.m[i].trouble != fine {
				return fmt.Sprintf("mirror %d is alone and has met an error", i)
			}
		}
	}
	// A reader finds the end by getting entries; a listing may show the sequence as it was before any of the last ones.
	for late := uint8(0); late <= s.length; late++ {
		end := late
		if c.Plant != ListingIsTruth {
			for end < s.length {
				end++
			}
		}
		if c.fold(s, end).head != c.fold(s, s.length).head {
			return "X6: a reader opens at a version that is not the head"
		}
	}
	return ""
}
