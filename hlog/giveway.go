package hlog

import (
	"cmp"
	"time"
)

// giveWay returns when the commit that is under way has been dealt with, if one is, but after maxRest at the latest, and when
// the store closes (R6). Where background work is done step by step it returns at once.
func (s *Store) giveWay() { s.giveWayFor(cmp.Or(s.opts.giveWay, maxRest)) }

// giveWayAfter is giveWay for who has worked for so long since he last gave way, and rests no longer than that. It reports whether
// there was a commit to give way to.
func (s *Store) giveWayAfter(worked time.Duration) bool {
	return s.giveWayFor(cmp.Or(s.opts.giveWay, min(worked, maxRest)))
}

func (s *Store) giveWayFor(most time.Duration) bool {
	p := s.ledger.Next()
	if p == nil || s.background.work() != nil || s.hurried() {
		return false
	}
	s.background.givingWay.Add(1)
	defer s.background.givingWay.Add(-1)
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-p.Dealing():
	case <-t.C:
	case <-s.life.Context().Done():
	}
	return true
}

// hurried reports whether somebody waits for background work, or will if it rests.
func (s *Store) hurried() bool {
	return s.compactor.haste.reasons.Load() > 0 || s.relief.hurried.Load() || s.relief.behind.Load()
}
