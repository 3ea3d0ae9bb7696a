package hlog

import (
	"cmp"
	"runtime"
	"time"
)

// unitsEndIn is how often somebody who gives way to units looks whether they have ended.
const unitsEndIn = 200 * time.Microsecond

// giveWay returns when no cut waits for units, and the commit that is under way has been dealt with, if one is, but after maxRest
// for each at the latest, and when the store closes (R6). Where background work is done step by step it returns at once.
func (s *Store) giveWay() { s.giveWayFor(cmp.Or(s.opts.giveWay, maxRest)) }

// giveWayAfter is giveWay for who has worked for so long since he last gave way, and rests no longer than that. It reports whether
// there was a cut or a commit to give way to.
func (s *Store) giveWayAfter(worked time.Duration) bool {
	return s.giveWayFor(cmp.Or(s.opts.giveWay, min(worked, maxRest)))
}

func (s *Store) giveWayFor(most time.Duration) bool {
	gaveWay := s.letUnitsEnd(most)
	p := s.ledger.Next()
	if p == nil || s.background.work() != nil || s.hurried() {
		return gaveWay
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

// letUnitsEnd returns when no cut waits for units (package units), but after so long at the latest, and when the store closes
// (R6). It reports whether a cut has waited for them.
func (s *Store) letUnitsEnd(most time.Duration) bool {
	if !s.units.IsShut() || s.background.work() != nil || s.hurried() {
		return false
	}
	s.background.givingWay.Add(1)
	defer s.background.givingWay.Add(-1)
	for began := time.Now(); s.units.IsShut() && time.Since(began) < most && s.life.Context().Err() == nil; {
		time.Sleep(min(most, unitsEndIn))
	}
	return true
}

// yield is what the background does between two pieces of work for which a commit may come to wait: units that a cut waits for
// have the processor for a while, others for a moment. It reports whether there was such a cut.
func (s *Store) yield() bool {
	if s.letUnitsEnd(cmp.Or(s.opts.giveWay, minPiece)) {
		return true
	}
	runtime.Gosched()
	return false
}

// hurried reports whether somebody waits for background work, or will if it rests.
func (s *Store) hurried() bool {
	return s.compactor.haste.reasons.Load() > 0 || s.relief.hurried.Load() || s.relief.behind.Load()
}
