package hlog

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/hlog/internal/units"
)

// unitPatience is how long units under way are waited for.
const unitPatience = time.Second

// unitGate keeps cuts and units apart (U1 to U5).
type unitGate struct {
	units.Gate
	patience time.Duration
	closing  atomic.Bool  // Close has been called
	lost     atomic.Int64 // nanoseconds for which the gate was shut in vain
	asked    *cookieCall  // of Store.cutMu: the last call of Options.Cookie
}

// Unit calls fn and returns its error. All that fn does on this session, and on tables of it, is in one version: a version
// that holds a part of it holds all, and a restore undoes all of it or nothing. So an update of several keys, together with
// the offset of the source that it came from, needs no stop of the workers before a checkpoint.
//
// It is not a transaction. Others see what a unit has done so far; an error that fn returns, or a panic, undoes nothing;
// and nothing is durable before a version is. What fn does by other means, such as methods of Store and other sessions, is
// not in the unit.
//
// A unit waits while a cut is being taken: usually less than a millisecond, and at most as long as other units are waited
// for. Cuts wait for a unit under way, for a second: then BeginCheckpoint and Restore return ErrUnitBusy, and so does
// Close, which commits no last version then; Options.CheckpointEvery tries again later. Therefore fn should be short. It
// must not begin a checkpoint, restore or close the store, nor wait for anybody who does, nor for another unit: each gives
// up after that second. The operations in it may wait as they always do, for memory or the disk: nothing they wait for
// needs a cut.
//
// The cost is that of a few instructions, without allocation, but for the session's first unit. ErrUnitNested when a unit of
// the session is under way; ErrClosed. In both cases fn has not been called. When fn closes the session, its unit ends
// there.
func (s *Session) Unit(fn func() error) error {
	// The usual way calls nothing but fn and the deferred function.
	if s.phase != usable || s.unit == nil || s.unit.Active() {
		if err := s.beginUnit(); err != nil {
			return err
		}
	} else if g := &s.store.units; !g.TryPass(s.unit) {
		if err := g.Wait(s.unit); err != nil {
			return err
		}
	}
	defer func() {
		if s.phase != ended && !s.store.units.TryLeave(s.unit) {
			s.store.units.Tell(s.unit)
		}
	}()
	return fn()
}

// beginUnit begins a unit, the first of the session as well, or says why it cannot begin.
func (s *Session) beginUnit() error {
	if s.phase != usable {
		if s.phase == ended || s.store.check() != nil {
			return ErrClosed
		}
	}
	if s.unit == nil {
		s.unit = s.store.units.Register()
	} else if s.unit.Active() {
		return ErrUnitNested
	}
	return s.store.units.Pass(s.unit)
}

// shutUnits lets no unit begin and returns when none is under way (U2); the caller opens the gate. It returns ErrUnitBusy
// when that takes too long, the error of ctx when it ends, and ErrClosed when the store is to be closed; then units go on.
// lost is units.lost at the beginning of the call: what it has lost since, while it waited for its turn, counts as its own
// wait, so that calls which queue up behind a unit that does not end all end together. The caller holds cutMu.
func (s *Store) shutUnits(ctx context.Context, lost int64) error {
	return s.units.shut(s.patienceWithUnits(lost), func() error {
		s.releasePages()
		if s.units.closing.Load() {
			return ErrClosed
		}
		return ctx.Err()
	})
}

// shutUnitsToClose is shutUnits for Close.
func (s *Store) shutUnitsToClose(lost int64) error {
	return s.units.shut(s.patienceWithUnits(lost), func() error {
		s.releasePages()
		return nil
	})
}

// patienceWithUnits returns how long a call may wait for units that has waited for its turn since lost was what it is.
func (s *Store) patienceWithUnits(lost int64) time.Duration {
	if s.background.work() != nil {
		return 0 // whoever calls would have to end the unit
	}
	return s.units.patience - time.Duration(s.units.lost.Load()-lost)
}

// reopen opens the gate that was shut at began. err is that of what was done meanwhile.
func (g *unitGate) reopen(began time.Time, err error) {
	if err == nil {
		g.Open()
		return
	}
	g.GiveUp()
	g.lost.Add(int64(time.Since(began)))
}

func (g *unitGate) shut(patience time.Duration, giveUp func() error) error {
	began := time.Now()
	err := g.Shut(func() error {
		if err := giveUp(); err != nil {
			return err
		}
		if time.Since(began) >= patience {
			return ErrUnitBusy
		}
		return nil
	})
	if err != nil {
		g.lost.Add(int64(time.Since(began)))
	}
	return err
}
