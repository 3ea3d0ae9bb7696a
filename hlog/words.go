package hlog

import (
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The paths of a Table whose key and value are 8 bytes each, for the case that decides its speed: the record is the
// first of its chain, and in memory. They do what the general paths do in so few instructions that the CPU starts on
// the next operation's cache misses before it is done with this one's. ok false means that the case is another one and
// that nothing has happened: the general path follows.

const (
	wordKeyOffset   = smallHeader
	wordValueOffset = smallHeader + word.Align

	// wordShape is the state of a live record of such a key and value, as far as it is fixed: its lengths, not
	// locked, not sealed, no tombstone, not invalid. Its capacity may be larger.
	wordShape     = word.State(word.Align)<<word.KeyLenShift | word.State(word.Align)<<word.ValueLenShift
	wordShapeMask = ^(word.State(1)<<word.ValueLenShift - 1)
)

// inside begins an operation as enter does, but only where nothing is out of the ordinary.
func (s *Session) inside() (c control, ok bool) {
	if s.closed {
		return 0, false
	}
	s.guard.Enter()
	if c = control(s.store.control.Load()); c&(closedBit|pausedBit|contendedBit) != 0 {
		s.guard.Exit()
		return 0, false
	}
	return c, true
}

// wordRecord returns the record of a key of 8 bytes, if it is at the head of its chain and at or above stop.
func (s *Session) wordRecord(key, h uint64, stop uint64) (a word.Address, p mem.Ptr, st word.State, ok bool) {
	_, e, status := s.store.index().Find(h)
	if a = e.Address(); status != index.Found || uint64(a) < stop {
		return 0, nil, 0, false
	}
	p = s.log.at(a)
	st = stateAt(p)
	return a, p, st, mem.Load(mem.Add(p, wordKeyOffset)) == key && st&wordShapeMask == wordShape
}

// getWord is get.
func (s *Session) getWord(key, h uint64) (value uint64, ok bool) {
	if _, ok := s.inside(); !ok {
		return 0, false
	}
	_, p, st, ok := s.wordRecord(key, h, s.log.head.Load())
	if ok {
		value = mem.Load(mem.Add(p, wordValueOffset))
		ok = stateAt(p) == st // H7
	}
	s.guard.Exit()
	return value, ok
}

// setWord is set, in place.
func (s *Session) setWord(key, value, h uint64) (ok bool) {
	c, ok := s.inside()
	if !ok {
		return false
	}
	a, p, st, ok := s.wordRecord(key, h, s.log.readOnly.Load())
	ok = ok && s.mutable(c, a, linkAt(p)) && casState(p, st, st|word.LockedBit)
	if ok {
		mem.StorePlain(mem.Add(p, wordValueOffset), value)
		storeState(p, st.Bump())
	}
	s.guard.Exit()
	return ok
}

// readWordForUpdate is readForUpdate.
func (s *Session) readWordForUpdate(m *modification, key, h uint64) (value uint64, ok bool) {
	c, ok := s.inside()
	if !ok {
		return 0, false
	}
	a, p, st, ok := s.wordRecord(key, h, s.log.readOnly.Load())
	if ok {
		value = mem.Load(mem.Add(p, wordValueOffset))
		m.c, m.addr, m.st = c, a, st
		ok = stateAt(p) == st
	}
	s.guard.Exit()
	return value, ok
}

// writeWordUpdate is writeUpdate after readWordForUpdate, in place.
func (s *Session) writeWordUpdate(m *modification, value uint64) (ok bool) {
	c, ok := s.inside()
	if !ok {
		return false
	}
	// As in tryUpdate: the record is where it was, and if its state is what it was it is still the newest (H4).
	if c == m.c && uint64(m.addr) >= s.log.readOnly.Load() {
		p := s.log.at(m.addr)
		ok = linkAt(p).Version() == c.version() && casState(p, m.st, m.st|word.LockedBit)
		if ok {
			mem.StorePlain(mem.Add(p, wordValueOffset), value)
			storeState(p, m.st.Bump())
		}
	} else {
		ok = false
	}
	s.guard.Exit()
	return ok
}
