package hlog

import (
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Set makes value the value of key. Both are copied; an empty value is a value. ErrEmptyKey, ErrTooLarge and
// ErrReadOnly before any effect; an error of the disk when the log has to spill and cannot.
func (s *Session) Set(key, value []byte) error {
	sh, err := s.checkWrite(key, len(value))
	if err != nil {
		return err
	}
	return s.set(key, value, s.store.hash(key), sh)
}

func (s *Session) set(key, value []byte, h uint64, sh shape) error {
	for tries := 0; ; tries++ {
		c, err := s.enter()
		if err != nil {
			return err
		}
		o := s.trySet(c, key, value, h, sh)
		s.guard.Exit()
		if o == done {
			return nil
		}
		if err := s.settle(o, h, sh.size, tries); err != nil {
			return err
		}
	}
}

// trySet is one attempt inside the epoch. It looks for the key down to safeReadOnly only: what lies below cannot be
// updated in place, needs no seal, and is superseded without being read.
func (s *Session) trySet(c control, key, value []byte, h uint64, sh shape) outcome {
	slot, e, status := s.store.index().FindOrCreate(h)
	if status == index.NeedLoad {
		return needLoad
	}
	safe := s.log.safeReadOnly.Load()
	if s.overtaken(c, e, safe) {
		return again
	}
	a, p, ok := s.log.find(e.Address(), key, safe)
	if !ok {
		return s.publish(c, slot, e, source{}, key, value, sh, false)
	}
	k, st := linkAt(p), stateAt(p)
	if st.Busy() {
		return again
	}
	capacity := shapeAt(p, k, st).capacity
	if s.mutable(c, a, k) && len(value) <= capacity {
		if !casState(p, st, st|word.LockedBit) {
			return again
		}
		writeValue(p, k, st, value)
		return done
	}
	if len(value) > capacity {
		sh = s.roomier(sh)
	}
	return s.publish(c, slot, e, source{p, st}, key, value, sh, false)
}

// overtaken reports whether the newest record of the chain belongs to the version after the operation's: a
// checkpoint has begun since it entered, and it has to start over in the new version (C3). Versions never ascend
// along a chain (H1), so the first record tells.
func (s *Session) overtaken(c control, e word.Entry, safe uint64) bool {
	a := e.Address()
	return uint64(a) >= safe && linkAt(s.log.at(a)).Version() == c.version().Next()
}

// mutable reports whether the record at a may be updated in place by an operation that entered under c (H2, C2).
func (s *Session) mutable(c control, a word.Address, k word.Link) bool {
	return uint64(a) >= s.log.readOnly.Load() && k.Version() == c.version()
}

// roomier returns the shape with some slack, for a value that has grown before.
func (s *Session) roomier(sh shape) shape {
	r := shapeFor(sh.keyLen, sh.valueLen, sh.valueLen+sh.valueLen/4)
	if r.size > int(s.log.pageBytes) {
		return sh
	}
	return r
}

// source is the record that a new one supersedes, as long as it could still be updated in place: where it is, and
// the state it was seen in. The zero source is none.
type source struct {
	p  mem.Ptr
	st word.State
}

// publish appends a record and makes it the head of its chain. The source is sealed first, so that no update of it
// can come in between (H4); if the chain has changed since e was read, all is undone and the allocation abandoned
// (H5).
func (s *Session) publish(c control, slot index.Slot, e word.Entry, src source, key, value []byte, sh shape, tombstone bool) outcome {
	if src.p != nil && !casState(src.p, src.st, src.st.Seal()) {
		return again
	}
	a, ok := s.log.allocate(sh.size)
	if !ok {
		src.unseal()
		return needSpace
	}
	p := s.log.at(a)
	writeRecord(p, sh, e.Address(), c.version(), key, value, tombstone)
	if !slot.CompareAndSwap(e, a) {
		abandonRecord(p)
		src.unseal()
		return again
	}
	return done
}

func (r source) unseal() {
	if r.p != nil {
		storeState(r.p, r.st)
	}
}
