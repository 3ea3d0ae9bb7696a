package hlog

import (
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

// extraordinary are the bits of the control word with which the general paths deal.
const extraordinary = closedBit | pausedBit | contendedBit

// wordAt returns the record at the head of the chain of h and its state if it is a live record of key and value of 8
// bytes, of this key, and at or above stop. The session is inside the epoch.
func (s *Session) wordAt(key, h uint64, stop uint64) (a word.Address, p mem.Ptr, st word.State) {
	// Without an entry the address is None, which is below every stop.
	if a = s.store.index().Seek(h).Address(); uint64(a) < stop {
		return 0, nil, 0
	}
	p = s.log.at(a)
	if st = stateAt(p); mem.Load(mem.Add(p, wordKeyOffset)) != key || st&wordShapeMask != wordShape {
		return 0, nil, 0
	}
	return a, p, st
}

// getWord is get. It does what wordAt does by itself: a call would cost it as much as looking at the record.
func (s *Session) getWord(key, h uint64) (value uint64, ok bool) {
	if s.closed {
		return 0, false
	}
	s.guard.Enter()
	if control(s.store.control.Load())&extraordinary == 0 {
		l := s.log
		if a := s.store.index().Seek(h).Address(); uint64(a) >= l.head.Load() {
			p := l.at(a)
			if st := stateAt(p); mem.Load(mem.Add(p, wordKeyOffset)) == key && st&wordShapeMask == wordShape {
				value = mem.Load(mem.Add(p, wordValueOffset))
				ok = stateAt(p) == st // H7
			}
		}
	}
	s.guard.Exit()
	return value, ok
}

// setWord is set, in place.
func (s *Session) setWord(key, value, h uint64) (ok bool) {
	if s.closed {
		return false
	}
	s.guard.Enter()
	if c := control(s.store.control.Load()); c&extraordinary == 0 {
		// wordAt has compared with readOnly; the offset of now need not be asked for (H2).
		if _, p, st := s.wordAt(key, h, s.log.readOnly.Load()); p != nil && linkAt(p).Version() == c.version() {
			if ok = casState(p, st, st|word.LockedBit); ok {
				mem.StorePlain(mem.Add(p, wordValueOffset), value)
				storeState(p, st.Bump())
			}
		}
	}
	s.guard.Exit()
	return ok
}

// readWordForUpdate is readForUpdate.
func (s *Session) readWordForUpdate(m *modification, key, h uint64) (value uint64, ok bool) {
	if s.closed {
		return 0, false
	}
	s.guard.Enter()
	if c := control(s.store.control.Load()); c&extraordinary == 0 {
		if a, p, st := s.wordAt(key, h, s.log.readOnly.Load()); p != nil {
			value = mem.Load(mem.Add(p, wordValueOffset))
			m.c, m.addr, m.st = c, a, st
			ok = stateAt(p) == st
		}
	}
	s.guard.Exit()
	return value, ok
}

// writeWordUpdate is writeUpdate after readWordForUpdate, in place.
func (s *Session) writeWordUpdate(m *modification, value uint64) (ok bool) {
	if s.closed {
		return false
	}
	s.guard.Enter()
	// As in tryUpdate: the record is where it was, and if its state is what it was it is still the newest (H4).
	if c := control(s.store.control.Load()); c == m.c && uint64(m.addr) >= s.log.readOnly.Load() {
		p := s.log.at(m.addr)
		if linkAt(p).Version() == c.version() && casState(p, m.st, m.st|word.LockedBit) {
			mem.StorePlain(mem.Add(p, wordValueOffset), value)
			storeState(p, m.st.Bump())
			ok = true
		}
	}
	s.guard.Exit()
	return ok
}
