package hlog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Set makes value the value of key. Both are copied. An empty value, nil included, is a value. It waits for the disk
// only when memory is full of log that has not been written yet.
//
// ErrEmptyKey, ErrTooLarge, ErrReadOnly, ErrClosed; or an error of the disk, when the log has to be written and cannot
// be. In each case nothing has changed.
func (s *Session) Set(key, value []byte) error {
	s.count(opSet, 1)
	h := s.store.hash(key)
	if s.setFast(key, value, h) {
		return nil
	}
	if err := s.checkWrite(key, len(value)); err != nil {
		return err
	}
	return s.set(key, value, h)
}

// setFast is set where the key's record is small, mutable, the first of its chain, and has room for the value; see
// getFast.
func (s *Session) setFast(key, value []byte, h uint64) (ok bool) {
	if s.phase != usable {
		return false
	}
	s.guard.Enter()
	if c := control(s.store.control.Load()); c&extraordinary == 0 {
		a := s.store.index().Seek(h).Address()
		if d := s.door(c); d.Mutable(a) {
			if x := record.See(a, s.log.At(a)); x.Is(key) && len(value) <= x.State().Capacity() {
				if r, locked := d.Lock(x); locked {
					r.SetSmall(value)
					s.log.Used(x)
					ok = true
				}
			}
		}
	}
	s.guard.Exit()
	return ok
}

func (s *Session) set(key, value []byte, h uint64) error {
	if s.phase == unbound && s.setEarly(key, value) {
		return nil
	}
	for tries := 0; ; tries++ {
		c, err := s.enterToWrite(h)
		if err != nil {
			return err
		}
		o, cold := s.trySet(c, key, value, h)
		s.guard.Exit()
		if o == done {
			if cold != word.None {
				s.superseded(cold, key)
			}
			return nil
		}
		if err := s.provide(o, h, tries); err != nil {
			return err
		}
	}
}

// trySet is one attempt inside the epoch. It looks for the key down to safeReadOnly only: what lies below cannot be
// updated in place, needs no seal, and is superseded without being read. cold is where the superseded record may be in the
// cache.
func (s *Session) trySet(c control, key, value []byte, h uint64) (o outcome, cold word.Address) {
	slot, e, status := s.store.index().FindOrCreate(h)
	if status == index.NeedLoad {
		return needLoad, word.None
	}
	head := s.log.Head() // before safe, which it never passes
	safe := s.log.SafeReadOnly()
	if s.overtaken(c, e, safe) {
		return again, word.None
	}
	a, p, ok := s.log.Find(e.Address(), key, safe)
	if !ok {
		src := source{}
		switch a = e.Address(); {
		case uint64(a) >= head && uint64(a) < s.log.Aging():
			if x := record.See(a, s.log.At(a)); record.HasKey(s.log.At(a), record.LinkAt(s.log.At(a)), key) {
				src.heat = heatNow(x)
			}
		case uint64(a) < head:
			cold = a
		}
		return s.publish(c, slot, e, src, key, value, false), cold
	}
	x := record.See(a, p)
	if x.Busy() {
		return again, word.None
	}
	fits := len(value) <= x.Capacity()
	if d := s.door(c); fits && d.Admits(x) {
		r, locked := d.Lock(x)
		if !locked {
			return again, word.None
		}
		r.Set(value)
		s.log.Used(x)
		return done, word.None
	}
	return s.publish(c, slot, e, source{seen: x, grown: !fits, heat: heatNow(x)}, key, value, false), word.None
}

// overtaken reports whether the newest record of the chain belongs to the version after the operation's: a
// checkpoint has begun since it entered, and it has to start over in the new version (C3). Versions never ascend
// along a chain (H1), so the first record tells.
func (s *Session) overtaken(c control, e word.Entry, safe uint64) bool {
	a := e.Address()
	return uint64(a) >= safe && record.LinkAt(s.log.At(a)).Version() == c.version().Next()
}

// door returns the way to change records in place for an operation that has entered the epoch under c (H2, C2).
func (s *Session) door(c control) record.Door { return record.DoorOf(s.log.ReadOnly(), uint64(c)) }

// source is the record that a new one supersedes, as long as it could still be changed in place. The zero source is none.
type source struct {
	seen  record.Seen
	grown bool // the new value is larger than the source has room for: it may grow again
	heat  int  // that the new record begins with, also where there is no source
}

// shapeOver returns the shape of the record that supersedes src, with some slack if the value has grown.
func (s *Session) shapeOver(src source, keyLen, valueLen int) record.Shape {
	if src.grown && s.log.Fits(keyLen, valueLen+valueLen/4) {
		return record.ShapeFor(keyLen, valueLen, valueLen+valueLen/4)
	}
	return record.ShapeFor(keyLen, valueLen, 0)
}

// publish appends a record and makes it the head of its chain. The source is sealed first, so that no update of it
// can come in between (H4); if the chain has changed since e was read, all is undone and the allocation abandoned
// (W2).
func (s *Session) publish(c control, slot index.Slot, e word.Entry, src source, key, value []byte, tombstone bool) outcome {
	sealed, ok := src.seen.Seal()
	if !ok {
		return again
	}
	sh := s.shapeOver(src, len(key), len(value))
	a, ok := s.log.Allocate(sh.Size)
	if !ok {
		sealed.Undo()
		s.needed = sh.Size
		return needSpace
	}
	p := s.log.At(a)
	record.Write(p, sh, e.Address(), c.version(), src.heat, key, value, tombstone)
	if !slot.CompareAndSwap(e, a) {
		record.Abandon(p)
		sealed.Undo()
		return again
	}
	s.published = a
	return done
}
