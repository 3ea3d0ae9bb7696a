package hlog

import (
	"slices"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Get appends the value of key to dst and returns the extended slice. It allocates only when dst is too small.
// ErrNotFound when the key has no value; ErrCorrupt when its record on disk is damaged.
func (s *Session) Get(dst, key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return dst, err
	}
	return s.get(dst, key, s.store.hash(key))
}

func (s *Session) get(dst, key []byte, h uint64) ([]byte, error) {
	for {
		if _, err := s.enter(); err != nil {
			return dst, err
		}
		_, e, status := s.store.index().Find(h)
		a, p, ok := s.log.find(e.Address(), key, s.log.head.Load())
		if ok {
			value, st, _ := readValue(dst, p)
			s.guard.Exit()
			if st.Tombstone() {
				return dst, ErrNotFound
			}
			return value, nil
		}
		s.guard.Exit()
		if status == index.NeedLoad {
			if err := s.store.loadIndex(h); err != nil {
				return dst, err
			}
			continue
		}
		if uint64(a) < s.log.begin.Load() {
			return dst, ErrNotFound
		}
		value, found, err := s.getCold(dst, key, a)
		switch {
		case err != nil && uint64(a) < s.log.begin.Load():
			continue // compaction moved the record away while we were reading it
		case err != nil:
			return dst, err
		case !found:
			return dst, ErrNotFound
		}
		return value, nil
	}
}

// getCold reads key from the part of its chain that is on disk. What the chain was when its entry was read decides
// the result, so nothing has to be looked at again.
func (s *Session) getCold(dst, key []byte, a word.Address) ([]byte, bool, error) {
	rec, sh, _, err := s.findCold(key, a)
	if err != nil || rec == nil || rec.state().Tombstone() {
		return dst, false, err
	}
	value := rec.value(sh)
	return append(slices.Grow(dst, len(value)), value...), true, nil
}

// findCold follows a chain on disk from a to the newest record of key; nil when it has none. The image is valid
// until the session's next read. The caller is outside the epoch.
func (s *Session) findCold(key []byte, a word.Address) (image, shape, word.Address, error) {
	if s.cold == nil {
		s.cold = &coldReader{log: s.log}
	}
	for uint64(a) >= s.log.begin.Load() {
		rec, sh, err := s.readCold(a)
		if err != nil {
			return nil, shape{}, 0, err
		}
		if sh.keyLen == len(key) && string(rec.key(sh)) == string(key) {
			return rec, sh, a, nil
		}
		prev := rec.link().Prev()
		if prev >= a {
			return nil, shape{}, 0, s.log.segments.corrupt(uint64(a), "chain does not descend")
		}
		a = prev
	}
	return nil, shape{}, word.None, nil
}

// readCold returns the record at a from what the Multi call has staged, from the cache, or from disk.
func (s *Session) readCold(a word.Address) (image, shape, error) {
	st := s.store
	if s.staged != nil {
		if rec := s.staged.record(a); rec != nil {
			sh, _ := rec.shape()
			return rec, sh, nil
		}
	}
	if st.cache != nil {
		if rec, ok := st.cache.get(a, s.cold.rec[:0]); ok {
			s.cold.rec = rec
			st.counters.cacheHits.Add(1)
			sh, _ := image(rec).shape()
			return rec, sh, nil
		}
	}
	rec, sh, err := s.cold.read(a)
	st.counters.coldReads.Add(1)
	if err == nil && st.cache != nil {
		st.cache.put(a, rec)
	}
	return rec, sh, err
}
