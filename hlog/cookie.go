package hlog

import (
	"fmt"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// cookieCall is one call of Options.Cookie. returned is closed when the function has returned, or has ended its goroutine.
type cookieCall struct {
	returned chan struct{}
	cookie   []byte
	done     bool // it has returned, and cookie is what it has returned
}

// awaits waits until the call has returned, and reports whether it has within that time.
func (c *cookieCall) awaits(patience time.Duration) bool {
	if c == nil {
		return true
	}
	select {
	case <-c.returned: // whatever is left of patience
		return true
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.returned:
		return true
	case <-timer.C:
		return false
	}
}

func checkCookie(b []byte) error {
	if len(b) > checkpoint.MaxCookie {
		return fmt.Errorf("%w: cookie of %d bytes, at most %d", ErrTooLarge, len(b), checkpoint.MaxCookie)
	}
	return nil
}

// askForCookie gives a version that nobody has asked for the cookie that Options.Cookie returns. The caller holds cutMu, and
// no unit is under way (U2): what the function tells of units describes the version exactly.
//
// The function has a goroutine of its own, because it may wait for somebody who waits for a unit to begin, or for cutMu: the
// caller gives up after patience with ErrUnitBusy, and they go on (U4). What a call returns that was given up is dropped, and
// the next call begins when it has returned.
func (s *Store) askForCookie(o *checkpointOptions, patience time.Duration) error {
	if s.opts.Cookie == nil {
		return nil
	}
	b, err := s.callCookie(patience)
	if err == nil {
		err = checkCookie(b)
	}
	if err != nil {
		return fmt.Errorf("hlog: Options.Cookie: %w", err)
	}
	if b != nil {
		o.cookie, o.given = append([]byte(nil), b...), true
	}
	return nil
}

func (s *Store) callCookie(patience time.Duration) ([]byte, error) {
	if s.background.work() != nil {
		return s.opts.Cookie(), nil // there is nobody else who could go on
	}
	began := time.Now()
	if !s.units.asked.awaits(patience) {
		return nil, errCookieBusy
	}
	c := &cookieCall{returned: make(chan struct{})}
	s.units.asked = c
	go func() {
		defer close(c.returned)
		c.cookie = s.opts.Cookie()
		c.done = true
	}()
	if !c.awaits(patience-time.Since(began)) || !c.done {
		return nil, errCookieBusy
	}
	return c.cookie, nil
}

// errCookieBusy is ErrUnitBusy: for whoever gets it the two are the same, a cut that could not be taken in time.
var errCookieBusy = fmt.Errorf("%w: it has not returned", ErrUnitBusy)
