package hlog

import (
	"slices"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Get appends the value of key to dst and returns the extended slice, or dst with an error. It allocates only when dst
// is too small. ErrNotFound when the key has no value, ErrCorrupt when its record on disk is damaged; ErrEmptyKey,
// ErrTooLarge (for a key), ErrClosed; or an error of the disk.
func (s *Session) Get(dst, key []byte) ([]byte, error) {
	s.count(opGet, 1)
	if len(key) == word.Align {
		k := mem.Load64(key)
		if value, ok := s.getShort(dst, k); ok {
			return value, nil
		}
		return s.get(dst, key, mix(k, s.seed))
	}
	h := s.store.hash(key)
	if value, ok := s.getFast(dst, key, h); ok {
		return value, nil
	}
	if err := checkKey(key); err != nil {
		return dst, err
	}
	return s.get(dst, key, h)
}

// getFast is get where the key's record is small, alive, in memory and the first of its chain, and dst has room: in so
// few instructions that the CPU gets to the next operation's cache misses before it is done with this one's. ok false
// means that the case is another one. A key that is empty or too long is never found.
func (s *Session) getFast(dst, key []byte, h uint64) (value []byte, ok bool) {
	if s.phase != usable {
		return dst, false
	}
	s.guard.Enter()
	if control(s.store.control.Load())&extraordinary == 0 {
		l := s.log
		// Without an entry the address is None, which is below head.
		if a := s.store.index().Seek(h).Address(); uint64(a) >= l.Head() {
			x := record.See(a, l.At(a))
			if value, ok = x.AppendFor(key, dst); ok {
				l.Used(x)
			}
		}
	}
	s.guard.Exit()
	return value, ok
}

// getShort is getFast for a key of 8 bytes, the commonest, and calls nothing while it looks for the record.
func (s *Session) getShort(dst []byte, key uint64) (value []byte, ok bool) {
	if s.phase != usable {
		return dst, false
	}
	s.guard.Enter()
	if control(s.store.control.Load())&extraordinary == 0 {
		l := s.log
		if a := s.store.index().Seek(mix(key, s.seed)).Address(); uint64(a) >= l.Head() {
			x := record.See(a, l.At(a))
			n, size := len(dst), x.State().ValueLen()
			if x.IsOfWord(key) && cap(dst)-n >= size {
				value = dst[:n+size]
				ok = x.ReadOfWord(value[n:])
				l.Used(x)
			}
		}
	}
	s.guard.Exit()
	return value, ok
}

func (s *Session) get(dst, key []byte, h uint64) ([]byte, error) {
	if s.phase == unbound {
		if value, err, served := s.getEarly(dst, key); served {
			return value, err
		}
	}
	for {
		if _, err := s.enter(); err != nil {
			return dst, err
		}
		t, begin := s.below() // before the entry, see getCold
		_, e, status := s.store.index().Find(h)
		a, p, ok := s.log.Find(e.Address(), key, s.log.Head())
		if ok {
			value, x := record.AppendValue(dst, a, p)
			s.log.Used(x)
			s.guard.Exit()
			if x.State().Tombstone() {
				return dst, ErrNotFound
			}
			return value, nil
		}
		if status == index.NeedLoad {
			s.guard.Exit()
			if err := s.store.loadIndex(h); err != nil {
				return dst, err
			}
			continue
		}
		t.hold()
		s.guard.Exit()
		if uint64(a) < begin {
			a = word.None
		}
		value, found, err := s.getCold(dst, key, h, a, t, begin)
		t.release()
		switch {
		case found:
			return value, nil
		case s.store.belowMoved(t, begin):
			continue // compaction may have moved the record away from where we looked
		case err != nil && s.chainMoved(key, h, a):
			continue // a restore has led the chain elsewhere, and what it abandoned may be gone
		case err != nil:
			return dst, err
		}
		return dst, ErrNotFound
	}
}

// getCold reads key from the part of its chain that is on disk, from a down to begin. What the chain was when its
// entry was read decides the result. begin is that of the log before the entry was read: what lies below it was dead
// then, or is in the tier t, which is asked when the chain ends (T27). When it has moved since, a failure to find the key says
// nothing, and the caller starts over.
func (s *Session) getCold(dst, key []byte, h uint64, a word.Address, t *tier, begin uint64) ([]byte, bool, error) {
	rec, sh, err := s.findCold(key, a, begin, reading)
	if err == nil && rec == nil && t != nil {
		value, found, err := s.findInTier(t, key, h, reading)
		if found {
			dst = append(dst, value...)
		}
		return dst, found, err
	}
	if err != nil || rec == nil || rec.State().Tombstone() {
		return dst, false, err
	}
	value := rec.Value(sh)
	return append(slices.Grow(dst, len(value)), value...), true, nil
}

// findInTier returns the value that a tier has of key, which the Multi call may know. It is valid until the session's next read. Key and value are copied, so
// that those of a caller may lie on his stack. s.tiers.use says what use was made of the record before.
func (s *Session) findInTier(t *tier, key []byte, h uint64, does access) (value []byte, found bool, err error) {
	if s.staged != nil {
		if value, found, ok := s.staged.answer(t, key, h); ok {
			s.tiers.use = coldUse{}
			return value, found, nil
		}
	}
	s.asked = append(s.asked[:0], key...)
	s.answer, found, err = t.find(s.answer[:0], s.asked, h, &s.tiers, does)
	return s.answer, found, err
}

// chainMoved reports whether the chain of key no longer leaves memory at a.
func (s *Session) chainMoved(key []byte, h uint64, a word.Address) bool {
	now, err := s.coldHead(key, h)
	return err != nil || now != a
}

// findCold follows a chain on disk from a to the newest record of key; nil when it has none. The record is valid
// until the session's next read; s.coldUse says more of it. The caller is outside the epoch.
func (s *Session) findCold(key []byte, a word.Address, begin uint64, does access) (record.Bytes, record.Shape, error) {
	if s.cold == nil {
		s.cold = s.log.NewReader()
	}
	for uint64(a) >= begin {
		rec, sh, err := s.readCold(a, does)
		if err != nil {
			return nil, record.Shape{}, err
		}
		if sh.KeyLen == len(key) && string(rec.Key(sh)) == string(key) {
			return rec, sh, nil
		}
		prev := rec.Link().Prev()
		if prev >= a {
			return nil, record.Shape{}, s.log.Segments().Corrupt(uint64(a), "chain does not descend")
		}
		a = prev
	}
	return nil, record.Shape{}, nil
}

// coldUse says of a record that findCold has found what its use before was, for the one that may supersede it.
type coldUse struct {
	heat   int
	cached word.Address // where it is in the cache, None if it is not
}

// readCold returns the record at a from what the Multi call has staged, from the cache, or from disk. One that is read to be
// updated does not come into the cache: what supersedes it is in memory.
func (s *Session) readCold(a word.Address, does access) (record.Bytes, record.Shape, error) {
	st := s.store
	s.coldUse = coldUse{}
	if does == updating {
		s.coldUse = st.useOf(a)
	}
	if s.staged != nil {
		if rec := s.staged.record(a); rec != nil {
			sh, _ := rec.Shape()
			return rec, sh, nil
		}
	}
	if rec, ok := st.lookUp(a, s.cached[:0], does); ok {
		s.cached = rec
		sh, _ := record.Bytes(rec).Shape()
		return rec, sh, nil
	}
	if rec, ok := st.prefetcher.claim(a, s.cached[:0], does); ok {
		s.cached = rec
		if does == reading {
			st.cache.Put(a, rec)
		}
		sh, _ := record.Bytes(rec).Shape()
		return rec, sh, nil
	}
	rec, sh, err := s.cold.Read(a)
	st.counters.coldReads.Inc()
	if err == nil && does == reading {
		st.cache.Put(a, rec)
	}
	if err == nil && does != passing {
		st.invite(s.guard, a, s.cold.Companions())
	}
	return rec, sh, err
}
