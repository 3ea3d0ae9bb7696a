package hlog

import "github.com/hybridlog/hybridlog/hlog/internal/life"

// moveTo moves the store to a phase of its life, and with it the control word, which operations ask; package life has the
// phases and who asks for them otherwise. Nothing else moves the phase. It returns false, and changes nothing, if the phase
// does not follow the present one: of two that close a store one finds it closing.
func (s *Store) moveTo(p life.Phase) bool {
	if !s.life.Move(p) {
		return false
	}
	if p.Ends() {
		s.setControl(closedBit, 0)
		if s.log != nil {
			s.log.Interrupt() // who waits for a page, too
		}
	}
	return true
}

// check returns ErrClosed when the store closes or is closed.
func (s *Store) check() error {
	if s.life.Phase().Ends() {
		return ErrClosed
	}
	return nil
}

// waitOpen returns when operations may run, or ErrClosed.
func (s *Store) waitOpen() error {
	s.gateMu.Lock()
	defer s.gateMu.Unlock()
	for {
		c := control(s.control.Load())
		switch {
		case c.closed():
			return ErrClosed
		case c.open():
			return nil
		}
		s.gateCond.Wait()
	}
}

// setControl sets and clears bits of the control word and wakes those who wait for it. Closed is for moveTo, paused for a restore,
// which keeps operations outside meanwhile.
func (s *Store) setControl(set, clear control) {
	s.gateMu.Lock()
	for {
		c := s.control.Load()
		if s.control.CompareAndSwap(c, c&^uint64(clear)|uint64(set)) {
			break
		}
	}
	s.gateMu.Unlock()
	s.gateCond.Broadcast()
}
