package hlog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
)

// Delete removes key. Deleting a key that has no value succeeds. Its errors are those of Set.
func (s *Session) Delete(key []byte) error {
	s.count(opDelete, 1)
	if err := s.checkWrite(key, 0); err != nil {
		return err
	}
	return s.remove(key, s.store.hash(key))
}

func (s *Session) remove(key []byte, h uint64) error {
	for tries := 0; ; tries++ {
		c, err := s.enterToWrite(h)
		if err != nil {
			return err
		}
		o := s.tryDelete(c, key, h)
		s.guard.Exit()
		if o == done {
			return nil
		}
		if err := s.provide(o, h, tries); err != nil {
			return err
		}
	}
}

// tryDelete is one attempt inside the epoch. A key whose chain goes on on disk gets a tombstone without being read, and so does
// one that the tier may have (T32).
func (s *Session) tryDelete(c control, key []byte, h uint64) outcome {
	t, begin := s.below()
	slot, e, status := s.store.index().Find(h)
	if status != index.NeedLoad && uint64(e.Address()) < begin {
		if t == nil || t.Excludes(t.of.filters, index.Order(h)) {
			return done
		}
		slot, e, status = s.store.index().FindOrCreate(h)
	}
	if status == index.NeedLoad {
		return needLoad
	}
	// head is read first: it never passes safeReadOnly.
	head := s.log.Head()
	safe := s.log.SafeReadOnly()
	if s.overtaken(c, e, safe) {
		return again
	}
	a, p, ok := s.log.Find(e.Address(), key, head)
	if !ok {
		if uint64(a) < begin && (t == nil || t.Excludes(t.of.filters, index.Order(h))) {
			return done
		}
		return s.publish(c, slot, e, source{}, key, nil, true)
	}
	x := record.See(a, p)
	if uint64(a) < safe {
		if x.State().Tombstone() {
			return done
		}
		return s.publish(c, slot, e, source{}, key, nil, true)
	}
	d := s.door(c)
	switch {
	case x.Busy():
		return again
	case x.State().Tombstone():
		return done
	case !d.Admits(x):
		return s.publish(c, slot, e, source{seen: x}, key, nil, true)
	}
	r, locked := d.Lock(x)
	if !locked {
		return again
	}
	r.Delete()
	return done
}
