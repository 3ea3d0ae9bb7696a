package hlog

import (
	"sync/atomic"
	"time"
)

// An update whose callback is slow would never succeed on a key that others update all the time: the value has always
// changed when it comes back. After patience failures it takes precedence for a while: writers of keys that share its
// stripe wait for it, outside the epoch. Precedence ends by itself, so that a callback that blocks or panics stops
// nobody for longer than that.
//
// What a callback has made of a value is dropped, too, when a checkpoint has begun meanwhile. Where checkpoints come faster than
// the callback, the same would happen for ever: an update that takes precedence is therefore written in the version that is
// current when it is done, as long as the value is as it was read, and nothing was restored (H10).
const (
	patience      = 32
	stripes       = 64
	minDeference  = time.Millisecond
	maxDeference  = time.Second
	deferenceTick = 20 * time.Microsecond
)

// precedence holds, for each stripe of hashes, until when some update goes first, in nanoseconds since the store was
// opened; 0: none does. The control word's contended bit is set while any may.
type precedence struct {
	epoch time.Time
	until [stripes]atomic.Int64
}

func (p *precedence) now() int64 { return int64(time.Since(p.epoch)) }

// insist makes the session's next attempt at the key of hash h take precedence, for longer each time.
func (s *Session) insist(h uint64, before int) {
	p := &s.store.precedence
	if !s.insisting {
		s.insisting, s.restores = true, noRestores
	}
	p.until[h%stripes].Store(p.now() + int64(min(minDeference<<min(before, 16), maxDeference)))
	s.store.control.Or(uint64(contendedBit))
}

// noRestores is the number of restores of an update that has not read the value since it takes precedence.
const noRestores = ^uint64(0)

// carries reports whether an update that takes precedence and has read under another version may be written under c, which the
// session has entered the epoch under: then no restore is under way, and none comes before it leaves.
func (s *Session) carries(c control) bool {
	return s.insisting && c.open() && s.restores == s.store.counters.restores.Load()
}

// relent gives precedence back.
func (s *Session) relent(h uint64) {
	s.insisting = false
	s.store.precedence.until[h%stripes].Store(0)
	s.store.endPrecedence()
}

// deferTo lets an update that takes precedence on the stripe of h go first. The caller is outside the epoch.
func (s *Session) deferTo(h uint64) {
	p := &s.store.precedence
	until := &p.until[h%stripes]
	for p.now() < until.Load() {
		time.Sleep(deferenceTick)
	}
	s.store.endPrecedence()
}

// endPrecedence clears the contended bit when no update takes precedence any more.
func (s *Store) endPrecedence() {
	p := &s.precedence
	if p.any() {
		return
	}
	s.control.And(^uint64(contendedBit))
	if p.any() { // it came in between and would go unnoticed
		s.control.Or(uint64(contendedBit))
	}
}

func (p *precedence) any() bool {
	now := p.now()
	for i := range p.until {
		if now < p.until[i].Load() {
			return true
		}
	}
	return false
}
