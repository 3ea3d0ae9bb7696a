package hlog

import (
	"cmp"
	"time"
)

// giveWay returns when the commit that is under way has been decided, if one is, but after maxRest at the latest, and when the
// store closes (R6). Where background work is done step by step it returns at once.
func (s *Store) giveWay() {
	p := s.ledger.Next()
	if p == nil || s.background.work() != nil || s.hurried() {
		return
	}
	s.background.givingWay.Add(1)
	defer s.background.givingWay.Add(-1)
	t := time.NewTimer(cmp.Or(s.opts.giveWay, maxRest))
	defer t.Stop()
	select {
	case <-p.Decided():
	case <-t.C:
	case <-s.life.Context().Done():
	}
}

// hurried reports whether somebody waits for background work, or will if it rests.
func (s *Store) hurried() bool {
	return s.compactor.haste.reasons.Load() > 0 || s.relief.hurried.Load() || s.relief.behind.Load()
}
