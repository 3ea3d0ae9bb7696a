package hlog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/cold"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
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
	if s.phase == unbound && s.removeEarly(key) {
		return nil
	}
	s.tiers.asked = false
	for tries := 0; ; tries++ {
		c, err := s.enterToWrite(h)
		if err != nil {
			return err
		}
		o := s.tryDelete(c, key, h)
		s.guard.Exit()
		switch o {
		case done:
			return nil
		case needFilters:
			s.readFilters(h)
			continue
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
		if o := s.hides(t, h); o != again {
			return o
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
		if uint64(a) < begin {
			if o := s.hides(t, h); o != again {
				return o
			}
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

// hides says what a tombstone of hash h would hide in tier t, the log having nothing: done if that is nothing, needFilters, with
// the tier held, if filters that are not in memory would perhaps tell, else again: there may be something.
func (s *Session) hides(t *tier, h uint64) outcome {
	order := index.Order(h)
	switch {
	case t == nil || t.Excludes(t.of.filters, order):
		return done
	case !s.tiers.asked && t.of.whole.Load() && t.Lacks(t.of.filters, order):
		t.hold()
		s.tiers.lacking, s.tiers.asked = t, true
		return needFilters
	}
	return again
}

// readFilters reads what hides has asked for, once for each delete. If that fails, a tombstone is as good.
func (s *Session) readFilters(h uint64) {
	t, r := s.tiers.lacking, &s.tiers
	r.lacking = nil
	defer t.release()
	if cap(r.block) < cold.BlockBytes {
		r.block = mem.AlignedBytes(cold.BlockBytes, cold.BlockBytes)
	}
	t.countRead()
	if err := t.ReadFilters(t.of.filters, index.Order(h), r.block); err != nil {
		s.store.logger.Warn("filter of a cold file", "err", t.of.fault(err))
	}
}
