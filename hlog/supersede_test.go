package hlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// sharesOf commits, and returns when the index on disk stands for all log, merged or not.
func sharesOf(t *testing.T, s *Store) {
	t.Helper()
	commit(t, s)
	must(t, s.disk.WriteRunsUpTo(s.log.Durability().Written()))
}

// evictByNumber is evict by keys of 8 bytes: so the shares of all log know their keys.
func evictByNumber(t *testing.T, s *Store) {
	t.Helper()
	for tail := s.log.Tail(); s.log.Head() < tail; {
		must(t, s.Set(key8(-int(spilled.Add(1))), make([]byte, 1000)))
	}
}

// What is dead of a log that is longer than memory is told by the index on disk: nothing of it is read again (K7), which took
// some thirty reads. Those few that are left are of live records that share an entry with others, as the random hash has it.
func TestCompact_DeadRecordsAreNotLookedFor(t *testing.T) {
	for _, demotes := range []bool{false, true} {
		o := tiny()
		o.NoCompaction, o.ColdAfter = true, -1
		s := mustOpen(t, "/store", o)
		const keys = 2000
		set := func(round int, stride int) {
			for i := 0; i < keys; i += stride {
				must(t, s.Set(key8(i), fmt.Appendf(nil, "value %d of %1000d", round, i)))
			}
			commit(t, s)
			evictByNumber(t, s)
		}
		set(0, 1)
		set(1, 1)
		oldest := s.log.SafeReadOnly()
		set(2, 1)
		for i := range keys / 4 {
			must(t, s.Delete(key8(4*i)))
		}
		commit(t, s)
		evictByNumber(t, s)
		set(3, 3)
		sharesOf(t, s)
		before := s.counters.probeReads.Load()
		must(t, s.compactTo(context.Background(), oldest, true))
		if demotes {
			must(t, s.demoteTo(context.Background(), oldest))
		}
		if n := s.counters.probeReads.Load() - before; n > 15 {
			t.Errorf("%d reads to find out that %d records are dead", n, 2*keys)
		}
		for i := range keys {
			want := fmt.Sprintf("value 2 of %1000d", i)
			switch {
			case i%3 == 0:
				want = fmt.Sprintf("value 3 of %1000d", i)
			case i%4 == 0:
				want = ""
			}
			v, err := s.Get(nil, key8(i))
			if string(v) != want || (err == ErrNotFound) != (want == "") || err != nil && err != ErrNotFound {
				t.Fatalf("key %d: %q, %v; want %q", i, v, err, want)
			}
		}
	}
}

// A key of another length that has the hash of one of 8 bytes: neither takes the other for a newer record of its own (K7).
func TestCompact_KeysOfDifferentLengthsWithOneHash(t *testing.T) {
	for _, longLast := range []bool{true, false} {
		for _, demotes := range []bool{false, true} {
			o := tiny()
			o.NoCompaction, o.ColdAfter = true, -1
			s := mustOpen(t, "/store", o)
			pairs := map[string]string{} // older to newer
			for i := range 50 {
				long := fmt.Appendf(nil, "a longer key %d", i)
				short := binary.NativeEndian.AppendUint64(nil, unmix(s.hash(long), s.seed))
				if mem.Load64(short) != unmix(s.hash(long), s.seed) || s.hash(short) != s.hash(long) {
					t.Fatal("the hashes are not alike")
				}
				if longLast {
					pairs[string(short)] = string(long)
				} else {
					pairs[string(long)] = string(short)
				}
			}
			for old := range pairs {
				must(t, s.Set([]byte(old), []byte("of "+old)))
			}
			sharesOf(t, s) // a run of the older ones
			for i := range testkit.UnderRace(1, 3) {
				for old := range pairs { // their chains leave memory above them
					must(t, s.Set([]byte(old), fmt.Appendf(nil, "of %s %d", old, i)))
				}
				oldest := s.log.Tail()
				evictByNumber(t, s)
				for _, young := range pairs {
					must(t, s.Set([]byte(young), []byte("of "+young)))
				}
				evictByNumber(t, s)
				sharesOf(t, s)
				if demotes {
					must(t, s.demoteTo(context.Background(), oldest))
				} else {
					must(t, s.compactTo(context.Background(), oldest, true))
				}
				for old, young := range pairs {
					if v, err := s.Get(nil, []byte(old)); err != nil || string(v) != fmt.Sprintf("of %s %d", old, i) {
						t.Fatalf("the older of two keys of one hash: %q, %v", v, err)
					}
					if v, err := s.Get(nil, []byte(young)); err != nil || string(v) != "of "+young {
						t.Fatalf("the newer of two keys of one hash: %q, %v", v, err)
					}
				}
			}
		}
	}
}

// Where keys of 8 bytes may share a hash, as in stores of earlier releases, no share says that its keys are known by it (K7).
func TestCompact_StoresThatFoldReadChains(t *testing.T) {
	for _, folds := range []bool{true, false} {
		o := tiny()
		o.NoCompaction = true
		must(t, o.FS.MkdirAll("/store"))
		id := newIdentity(Options{SegmentBytes: o.SegmentBytes})
		if folds {
			id.HashSeed++
		}
		d, err := checkpoint.OpenDir(o.FS, "/store", id, false)
		must(t, err)
		_ = d
		s := mustOpen(t, "/store", o)
		if s.seed.folds != folds || s.ownHash(8) == folds || s.ownHash(7) || s.ownHash(9) {
			t.Fatalf("folds %v, keys of 8 bytes have a hash each: %v", s.seed.folds, s.ownHash(8))
		}
		for i := range 5000 {
			must(t, s.Set(key8(i), nil))
		}
		sharesOf(t, s)
		if got := len(s.disk.Telling(0)) > 0; got == folds {
			t.Errorf("folds %v, shares know their keys: %v", folds, got)
		}
		m := s.current()
		must(t, s.Close())
		s = mustOpen(t, "/store", o) // the log that has no run is told by a replay
		if s.seed.folds != folds {
			t.Errorf("opened again, folds %v", s.seed.folds)
		}
		for i := range 5000 {
			if _, err := s.Get(nil, key8(i)); err != nil {
				t.Fatalf("key %d of version %d: %v", i, m.Version, err)
			}
		}
	}
}
