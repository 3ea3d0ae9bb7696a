package hlog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The paths of a Table whose key and value are 8 bytes each, for the case that decides its speed: the record is the
// first of its chain, and in memory. They do what the general paths do in so few instructions that the CPU starts on
// the next operation's cache misses before it is done with this one's. ok false means that the case is another one and
// that nothing has happened: the general path follows.

// getWord is get.
func (s *Session) getWord(key uint64) (value uint64, ok bool) {
	if s.phase != usable {
		return 0, false
	}
	s.guard.Enter()
	if control(s.store.control.Load())&extraordinary == 0 {
		l := s.log
		// Without an entry the address is None, which is below head.
		if a := s.store.index().Seek(mix(key, s.seed)).Address(); uint64(a) >= l.Head() {
			if x := record.See(a, l.At(a)); x.IsPair(key) {
				value, ok = x.Word()
				l.Used(x)
			}
		}
	}
	s.guard.Exit()
	return value, ok
}

// setWord is set, in place.
func (s *Session) setWord(key, value uint64) (ok bool) {
	if s.phase != usable {
		return false
	}
	s.guard.Enter()
	if c := control(s.store.control.Load()); c&extraordinary == 0 {
		a := s.store.index().Seek(mix(key, s.seed)).Address()
		if d := s.door(c); d.Mutable(a) {
			if x := record.See(a, s.log.At(a)); x.IsPair(key) {
				if r, locked := d.Lock(x); locked {
					r.SetWord(value)
					s.log.Used(x)
					ok = true
				}
			}
		}
	}
	s.guard.Exit()
	return ok
}

// updateWord is Update in place, of the record at a, which was the head of the key's chain a moment ago; with None, of the
// one to which the index leads. fn works on s.word. When it returns false fn may have run, on a value that has changed
// since.
func (s *Session) updateWord(a word.Address, key uint64, fn func(v *uint64, existed bool)) (ok bool) {
	if s.phase != usable {
		return false
	}
	s.guard.Enter()
	if c := control(s.store.control.Load()); c&extraordinary == 0 {
		if a == word.None {
			a = s.store.index().Seek(mix(key, s.seed)).Address()
		}
		// A record that is mutable, alive and not sealed is the newest of its key (H4).
		if uint64(a) >= s.log.ReadOnly() {
			if x := record.See(a, s.log.At(a)); x.IsPair(key) {
				if value, whole := x.Word(); whole {
					s.guard.Exit()
					s.word = value
					fn(&s.word, true) // with nothing held (H10)
					if s.phase != usable {
						return false
					}
					s.guard.Enter()
					// As in tryUpdate: a record that is mutable now is where it was, and if its state is what it was
					// it is the newest.
					if control(s.store.control.Load()) == c {
						if r, locked := s.door(c).Lock(x); locked {
							r.SetWord(s.word)
							s.log.Used(x)
							s.guard.Exit()
							return true
						}
					}
				}
			}
		}
	}
	s.guard.Exit()
	return false
}
