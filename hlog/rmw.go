package hlog

import (
	"slices"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// RMW replaces the value of key by what fn makes of it, atomically.
//
// fn is given a copy of the value, nil when the key has none. It may change the copy and return it, a prefix of it or an
// extension of it, or return any other bytes; they are copied before RMW returns. Returning nil deletes the key, or
// leaves it absent.
//
// fn runs with no lock held: it may take its time, and if it panics the value is unchanged. When the value has been
// changed by somebody else meanwhile, fn runs again with the new one, so it must have no other effect. It must not use
// the session that called it.
//
// The errors are those of Get, but for ErrNotFound, and of Set. ErrTooLarge may come after fn was called, when what it
// returned is too large.
func (s *Session) RMW(key []byte, fn func(old []byte) []byte) error {
	s.count(opUpdate, 1)
	h := s.store.hash(key)
	if done, err := s.rmwFast(key, h, fn); done || err != nil {
		return err
	}
	if err := s.checkWrite(key, 0); err != nil {
		return err
	}
	return s.modify(key, h, fn)
}

// rmwFast is RMW where glimpse finds the value and it fits the scratch. done false without an error means that the case is
// another one, or that the record has changed meanwhile.
func (s *Session) rmwFast(key []byte, h uint64, fn func(old []byte) []byte) (done bool, err error) {
	old, x, c, final := s.glimpse(key, h, s.scratch)
	if old == nil {
		return false, nil
	}
	value := fn(old) // with nothing held (H10)
	if value != nil && s.replace(x, c, value) {
		return true, nil
	}
	s.rmw = modification{c: c, seen: x, final: final, existed: true}
	return s.writeUpdate(&s.rmw, key, h, value, value == nil, 0)
}

// glimpse is readForUpdate where the key's record is small, in memory, the first of its chain, and its value fits into
// buf, which the result shares; see getFast. The result is nil if the case is another one, else as long as the value and
// with its room, and x, c and final are what modification says.
func (s *Session) glimpse(key []byte, h uint64, buf []byte) (old []byte, x record.Seen, c control, final bool) {
	if s.phase != usable || buf == nil { // nil would mean absent
		return nil, x, 0, false
	}
	s.guard.Enter()
	if c = control(s.store.control.Load()); c&extraordinary == 0 {
		l := s.log
		a := s.store.index().Seek(h).Address()
		if uint64(a) >= l.ReadOnly() || uint64(a) >= l.Head() && s.store.writable {
			final = uint64(a) < l.SafeReadOnly() // before the value
			x = record.See(a, l.At(a))
			if value, ok := x.AppendFor(key, buf[:0]); ok {
				old = value[:len(value):min(cap(value), x.State().Capacity())]
				l.Used(x)
			}
		}
	}
	s.guard.Exit()
	return old, x, c, final
}

// replace makes value the value of a record that glimpse has found under c, if that takes no more than a change in place.
func (s *Session) replace(x record.Seen, c control, value []byte) (ok bool) {
	if s.phase != usable || len(value) > x.State().Capacity() {
		return false
	}
	s.guard.Enter()
	if control(s.store.control.Load()) == c {
		// A record that is mutable now is where it was, and if its state is what it was it is still the newest of its key:
		// what supersedes it seals it first (H4).
		if r, locked := s.door(c).Lock(x); locked {
			r.SetSmall(value)
			ok = true
		}
	}
	s.guard.Exit()
	return ok
}

func (s *Session) modify(key []byte, h uint64, fn func(old []byte) []byte) error {
	if s.phase == unbound {
		if err, served := s.updateEarly(key, func(old []byte) ([]byte, error) { return fn(old), nil }); served {
			return err
		}
	}
	m := &s.rmw
	for tries := 0; ; tries++ {
		old, err := s.readForUpdate(m, key, h)
		if err != nil {
			return err
		}
		value := fn(old)
		ok, err := s.writeUpdate(m, key, h, value, value == nil, tries)
		if ok || err != nil {
			return err
		}
	}
}

// initialScratch is the first capacity of a session's scratch, in bytes.
const initialScratch = 64

// modification is a read-modify-write between its read and its write. The callback runs in between, outside the
// epoch and holding nothing (H10); the write succeeds only if the record is as it was read.
type modification struct {
	c       control
	seen    record.Seen  // the newest record of the key in memory, none if there is none
	cold    word.Address // then: where its chain leaves memory, None if it ends
	final   bool         // seen could no longer change when it was read
	existed bool
	use     coldUse // of the record, if it was read from disk or from the cache
	tier    uint64  // if seen is none: the generation of the tier that was asked, or would have been
}

// unchangedOnDisk reports whether the key is as it was read if its chain leaves memory at a. A record that was read
// while it could still change, and has been evicted since, may have changed in between.
func (m *modification) unchangedOnDisk(a word.Address) bool {
	if at := m.seen.Address(); at != word.None {
		return a == at && m.final
	}
	return a == m.cold
}

// readForUpdate reads the value of key into the session's scratch; nil when the key has none.
func (s *Session) readForUpdate(m *modification, key []byte, h uint64) ([]byte, error) {
	if s.scratch == nil {
		s.scratch = make([]byte, 0, initialScratch) // never nil: nil means absent
	}
	if s.insisting {
		s.restores = s.store.counters.restores.Load() // before the value
	}
	for tries := 0; ; tries++ {
		c, err := s.enter()
		if err != nil {
			return nil, err
		}
		t, begin := s.below() // before the entry, see getCold
		_, e, status := s.store.index().Find(h)
		a, p, ok := s.log.Find(e.Address(), key, s.log.Head())
		if !ok {
			if status == index.NeedLoad {
				s.guard.Exit()
				if err := s.store.loadIndex(h); err != nil {
					return nil, err
				}
				continue
			}
			t.hold()
			s.guard.Exit()
			old, retry, err := s.readColdForUpdate(m, c, key, h, a, t, begin)
			t.release()
			if retry {
				continue
			}
			return old, err
		}
		final := uint64(a) < s.log.SafeReadOnly() // before the value
		value, x := record.AppendValue(s.scratch[:0], a, p)
		s.log.Used(x)
		st, capacity := x.State(), x.Capacity()
		*m = modification{c: c &^ contendedBit, seen: x, final: final, existed: !st.Tombstone()}
		superseded := st.Sealed() && !final
		s.guard.Exit()
		if superseded {
			record.BackOff(tries)
			continue
		}
		s.scratch = value
		if !m.existed {
			return nil, nil
		}
		if cap(value) < capacity {
			s.scratch = slices.Grow(value, capacity-len(value))
		}
		return s.scratch[:len(value):capacity], nil
	}
}

// readColdForUpdate is readForUpdate where the chain leaves memory at a. retry asks to start over.
func (s *Session) readColdForUpdate(m *modification, c control, key []byte, h uint64, a word.Address, t *tier, begin uint64) (old []byte, retry bool, err error) {
	*m = modification{c: c &^ contendedBit, cold: a, tier: t.generation()}
	if uint64(a) < begin {
		m.cold = word.None
	}
	rec, sh, err := s.findCold(key, a, begin, updating)
	found := err == nil && rec != nil && !rec.State().Tombstone()
	if err == nil && rec == nil && t != nil {
		var value []byte
		if value, found, err = s.findInTier(t, key, h, updating); found {
			m.existed, m.use = true, s.tiers.use
			s.scratch = append(s.scratch[:0], value...)
			return s.scratch, false, nil
		}
	}
	if !found && (s.store.belowMoved(t, begin) || err != nil && s.chainMoved(key, h, m.cold)) {
		return nil, true, nil
	}
	if err != nil || !found {
		return nil, false, err
	}
	m.existed, m.use = true, s.coldUse
	s.scratch = append(s.scratch[:0], rec.Value(sh)...)
	return s.scratch, false, nil
}

// writeUpdate makes value the value of key, or deletes it, if nothing has changed since readForUpdate filled m. ok
// is false when something has: the caller starts over with a new read.
func (s *Session) writeUpdate(m *modification, key []byte, h uint64, value []byte, remove bool, tries int) (ok bool, err error) {
	if remove && !m.existed {
		if s.insisting {
			s.relent(h)
		}
		return true, nil
	}
	if !s.log.Fits(len(key), len(value)) {
		return false, ErrTooLarge
	}
	switch {
	case tries >= patience:
		s.insist(h, tries-patience)
	case tries == 0:
		s.insisting = false // a callback may have panicked
	}
	o, err := s.attempt(m, key, h, value, remove)
	for err == nil && o == needSpace { // what was read is as good as before, and may have come from disk
		if err = s.log.WaitForSpace(s.needed); err == nil {
			o, err = s.attempt(m, key, h, value, remove)
		}
	}
	if err != nil {
		return false, err
	}
	if o == done {
		if m.use.cached != word.None {
			s.store.cache.Take(m.use.cached)
		}
		if s.insisting {
			s.relent(h)
		}
		return true, nil
	}
	return false, s.provide(o, h, tries)
}

// attempt enters the epoch for one attempt, which fails if a checkpoint has begun since readForUpdate, but for an update that
// takes precedence.
func (s *Session) attempt(m *modification, key []byte, h uint64, value []byte, remove bool) (outcome, error) {
	c, err := s.enterToWrite(h)
	if err != nil {
		return again, err
	}
	o := again
	if c != m.c && s.carries(c) {
		m.c = c
	}
	if c == m.c {
		o = s.tryUpdate(m, key, h, value, remove)
	}
	s.guard.Exit()
	return o, nil
}

// tryUpdate is one attempt inside the epoch.
func (s *Session) tryUpdate(m *modification, key []byte, h uint64, value []byte, remove bool) outcome {
	d, x := s.door(m.c), m.seen
	if !d.Admits(x) || len(value) > x.Capacity() {
		return s.updateByCopy(m, key, h, value, remove)
	}
	// The record cannot have left memory since it was read, and if it is in the state it was read in it is still the
	// newest of its key: what supersedes it seals it first (H4).
	r, locked := d.Lock(x)
	switch {
	case !locked:
		return again
	case remove:
		r.Delete()
	default:
		r.Set(value)
	}
	return done
}

func (s *Session) updateByCopy(m *modification, key []byte, h uint64, value []byte, remove bool) outcome {
	t, begin := s.below()
	slot, e, status := s.store.index().FindOrCreate(h)
	if status == index.NeedLoad {
		return needLoad
	}
	head := s.log.Head()
	safe := s.log.SafeReadOnly()
	if s.overtaken(m.c, e, safe) {
		return again
	}
	a, _, ok := s.log.Find(e.Address(), key, head)
	if !ok {
		if uint64(a) < begin {
			a = word.None
		}
		if !m.unchangedOnDisk(a) || m.seen.Address() == word.None && t.generation() != m.tier { // T28
			return again // the chain has more in memory, or less, than was looked at
		}
		return s.publish(m.c, slot, e, source{heat: m.use.heat}, key, value, remove)
	}
	x := m.seen
	if a != x.Address() {
		return again
	}
	if !x.Unchanged() {
		return again // changed in place, and then made read-only
	}
	src := source{heat: heatNow(x)}
	if uint64(a) >= safe {
		if x.Busy() {
			return again
		}
		src.seen, src.grown = x, len(value) > x.Capacity()
	}
	return s.publish(m.c, slot, e, src, key, value, remove)
}
