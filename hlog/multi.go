package hlog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// A Multi call is many single operations that share their waiting. It goes over its keys in windows. For each group
// of a window it first hashes the keys and asks for their buckets, then asks for the records the buckets point at,
// and only then operates: the cache misses of a group overlap. Where the log has spilled, the records that the next
// groups need from disk are read meanwhile (staging.go), so that their I/O overlaps too. The operations themselves run
// one by one in the order of the call.
const (
	multiGroup  = 64
	multiWindow = 128
)

// keyed is what a Multi call knows about its keys: how to get the bytes of the i-th.
type keyed interface {
	len() int
	at(i int) []byte
}

// byteKeys are the keys of a Session's Multi call.
type byteKeys [][]byte

func (k byteKeys) len() int        { return len(k) }
func (k byteKeys) at(i int) []byte { return k[i] }

// touch asks for the buckets and then for the newest records of up to multiGroup hashes.
func (s *Session) touch(hashes []uint64) error {
	if _, err := s.enter(); err != nil {
		return err
	}
	prefetch(s.log, s.store.index(), hashes) // inside the epoch: a restore replaces the index
	s.guard.Exit()
	return nil
}

// prepare has what visits of a group of records look up on its way to the cache.
func (s *Session) prepare(group []reclog.Found) error {
	hashes := s.hashes[:len(group)]
	for i := range group {
		hashes[i] = s.store.hash(group[i].Rec.Key(group[i].Shape))
	}
	return s.touch(hashes)
}

// access is what the operations of a Multi call do with values.
type access uint8

const (
	writing access = iota // without reading
	reading
	updating
	passing // reading of a walk, which is no use of what it reads
)

// each runs op for every key, in order, with its hash, after having prepared its group.
func each[K keyed](s *Session, keys K, does access, op func(i int, h uint64) error) error {
	if s.phase == unbound {
		return eachEarly(s, keys, does, op)
	}
	group := func(from, to int, hashes []uint64) error {
		if err := s.touch(hashes[:to-from]); err != nil {
			return err
		}
		for i := from; i < to; i++ {
			if err := op(i, hashes[i-from]); err != nil {
				return err
			}
		}
		return nil
	}
	n := keys.len()
	for from := 0; from < n; from += multiWindow {
		if g := s.stagingFor(does); g != nil {
			return groupsStaged(s, g, keys, from, group)
		}
		to := min(from+multiWindow, n)
		for i := from; i < to; i++ {
			s.hashes[i-from] = s.store.hash(keys.at(i))
		}
		for g := from; g < to; g += multiGroup {
			if err := group(g, min(g+multiGroup, to), s.hashes[g-from:]); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkKeys(keys [][]byte) error {
	for _, k := range keys {
		if err := checkKey(k); err != nil {
			return err
		}
	}
	return nil
}

// MultiGet calls fn once for every key, in order, with its value, or with ErrNotFound or whatever else went wrong with
// that key. value is valid until fn returns; fn must not use the session. Cache misses and disk reads of many keys
// overlap.
//
// The error is that of the call as a whole: ErrEmptyKey or ErrTooLarge before fn was called at all, or ErrClosed.
func (s *Session) MultiGet(keys [][]byte, fn func(i int, value []byte, err error)) error {
	s.count(opGet, len(keys))
	if err := checkKeys(keys); err != nil {
		return err
	}
	return each(s, byteKeys(keys), reading, func(i int, h uint64) error {
		if value, ok := s.getFast(s.scratch[:0], keys[i], h); ok {
			fn(i, value, nil)
			return nil
		}
		value, err := s.get(s.scratch[:0], keys[i], h)
		if err == ErrClosed {
			return err
		}
		if err != nil {
			fn(i, nil, err)
			return nil
		}
		s.scratch = value
		fn(i, value, nil)
		return nil
	})
}

// MultiSet sets keys[i] to values[i], in order; it is no transaction. ErrLength, ErrEmptyKey, ErrTooLarge and
// ErrReadOnly come before any effect. After any other error the first so many keys are set, and the rest are not.
func (s *Session) MultiSet(keys, values [][]byte) error {
	if len(keys) != len(values) {
		return ErrLength
	}
	s.count(opSet, len(keys))
	for i, k := range keys {
		if err := s.checkWrite(k, len(values[i])); err != nil {
			return err
		}
	}
	return each(s, byteKeys(keys), writing, func(i int, h uint64) error {
		if s.setFast(keys[i], values[i], h) {
			return nil
		}
		return s.set(keys[i], values[i], h)
	})
}

// MultiRMW does RMW for every key, in order; i tells fn which. It is no transaction. ErrEmptyKey, ErrTooLarge for a key,
// and ErrReadOnly come before any effect. After any other error the first so many keys are done, and the rest are not.
func (s *Session) MultiRMW(keys [][]byte, fn func(i int, old []byte) []byte) error {
	s.count(opUpdate, len(keys))
	for _, k := range keys {
		if err := s.checkWrite(k, 0); err != nil {
			return err
		}
	}
	var at int // which key one is called for
	one := func(old []byte) []byte { return fn(at, old) }
	return each(s, byteKeys(keys), updating, func(i int, h uint64) error {
		at = i
		if done, err := s.rmwFast(keys[i], h, one); done || err != nil {
			return err
		}
		return s.modify(keys[i], h, one)
	})
}

// tableKeys are the keys of a Table's Multi call.
type tableKeys[K comparable, V any] struct {
	t    *Table[K, V]
	keys []K
}

func (k tableKeys[K, V]) len() int        { return len(k.keys) }
func (k tableKeys[K, V]) at(i int) []byte { return k.t.bytes(&k.keys[i]) }

// MultiGet sets values[i] and found[i] to what Get returns for keys[i]; an absent key has a zero value. The slices must
// have equal lengths, else ErrLength. After another error, those of Get, only the first so many are set.
func (t *Table[K, V]) MultiGet(keys []K, values []V, found []bool) error {
	if len(values) != len(keys) || len(found) != len(keys) {
		return ErrLength
	}
	t.s.count(opGet, len(keys))
	if t.words {
		return t.s.multiGetWords(mem.AsWords(keys), mem.AsWords(values), found)
	}
	return each(t.s, tableKeys[K, V]{t, keys}, reading, func(i int, h uint64) error {
		b, key := mem.AsBytes(&values[i]), t.bytes(&keys[i])
		if got, ok := t.s.getFast(b[:0:len(b)], key, h); ok && len(got) == len(b) {
			found[i] = true
			return nil
		}
		got, err := t.s.get(b[:0], key, h)
		switch {
		case err == ErrNotFound:
			clear(b)
			found[i] = false
			return nil
		case err != nil:
			return err
		case len(got) != len(b):
			return ErrValueSize
		}
		found[i] = true
		return nil
	})
}

// MultiSet sets keys[i] to values[i], in order; it is no transaction. The slices must have equal lengths, else
// ErrLength. After another error, those of Set, only the first so many keys are set.
func (t *Table[K, V]) MultiSet(keys []K, values []V) error {
	if len(values) != len(keys) {
		return ErrLength
	}
	t.s.count(opSet, len(keys))
	if !t.s.store.writable {
		return ErrReadOnly
	}
	if t.words {
		return t.s.multiSetWords(mem.AsWords(keys), mem.AsWords(values))
	}
	return each(t.s, tableKeys[K, V]{t, keys}, writing, func(i int, h uint64) error {
		key, value := t.bytes(&keys[i]), mem.AsBytes(&values[i])
		if t.s.setFast(key, value, h) {
			return nil
		}
		return t.s.set(key, value, h)
	})
}

// MultiUpdate does Update for every key, in order; i tells fn which. It is no transaction. After an error, those of
// Update, only the first so many keys are done.
func (t *Table[K, V]) MultiUpdate(keys []K, fn func(i int, v *V, existed bool)) error {
	t.s.count(opUpdate, len(keys))
	if !t.s.store.writable {
		return ErrReadOnly
	}
	if t.words {
		return t.s.multiUpdateWords(mem.AsWords(keys), mem.OnWordOf(fn), func(i int, h uint64) error {
			return t.updateAny(mem.AsBytes(&keys[i]), h, callback[V]{many: fn, i: i})
		})
	}
	return each(t.s, tableKeys[K, V]{t, keys}, updating, func(i int, h uint64) error {
		return t.updateAny(t.bytes(&keys[i]), h, callback[V]{many: fn, i: i})
	})
}

// coldHead returns where the chain of key leaves memory, None if the key is in memory or its chain ends there.
func (s *Session) coldHead(key []byte, h uint64) (word.Address, error) {
	if _, err := s.enter(); err != nil {
		return word.None, err
	}
	_, begin := s.below()
	_, e, _ := s.store.index().Find(h)
	a, _, ok := s.log.Find(e.Address(), key, s.log.Head())
	s.guard.Exit()
	if ok || uint64(a) < begin {
		return word.None, nil
	}
	return a, nil
}
