package hlog

import (
	"encoding/binary"
	"testing"
)

// increment is a callback that counts in 8 bytes.
func increment(old []byte) []byte {
	if old == nil {
		old = make([]byte, 8)
	}
	binary.LittleEndian.PutUint64(old, binary.LittleEndian.Uint64(old)+1)
	return old
}

func counter(t testing.TB, s *Store, key []byte) uint64 {
	t.Helper()
	v, err := s.Get(nil, key)
	must(t, err)
	return binary.LittleEndian.Uint64(v)
}

// The record is updated in place by somebody else between the read and the write of an update, and then becomes
// immutable, or leaves memory, without a copy: its address says nothing about its value.
func TestRMW_RecordChangedInPlaceThenBecameReadOnly(t *testing.T) {
	for name, final := range map[string]func(s *Store, a uint64) bool{
		"read-only": func(s *Store, a uint64) bool { return s.log.SafeReadOnly() > a },
		"evicted":   func(s *Store, a uint64) bool { return s.log.Head() > a },
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, "/store", tiny())
			x, other, key := s.NewSession(), s.NewSession(), []byte("key")
			must(t, x.RMW(key, increment))
			a, calls := s.log.Tail(), 0
			must(t, x.RMW(key, func(old []byte) []byte {
				old = increment(old)
				if calls++; calls == 1 {
					must(t, other.RMW(key, increment))
					for !final(s, a) {
						spill(t, other, 4000)
					}
				}
				return old
			}))
			if n := counter(t, s, key); n != 3 || calls != 2 {
				t.Errorf("3 increments made %d, the callback ran %d times", n, calls)
			}
		})
	}
}

// An update whose record merely leaves memory between read and write is not disturbed.
func TestRMW_RecordEvictedBetweenReadAndWrite(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	x, other, key := s.NewSession(), s.NewSession(), []byte("key")
	must(t, x.RMW(key, increment))
	for a := s.log.Tail(); s.log.SafeReadOnly() <= a; {
		spill(t, other, 4000)
	}
	calls := 0
	must(t, x.RMW(key, func(old []byte) []byte {
		calls++
		evict(t, s)
		return increment(old)
	}))
	if n := counter(t, s, key); n != 2 || calls != 1 {
		t.Errorf("2 increments made %d, the callback ran %d times", n, calls)
	}
}
