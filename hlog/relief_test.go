package hlog

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// crowdedOptions are those of a store whose index has room for some 170,000 keys, and whose frames for about as many records.
func crowdedOptions(fs fsx.FS) *Options {
	return &Options{MemoryBytes: MinMemoryBytes, PageBytes: 32 << 10, SegmentBytes: 1 << 20, FS: fs}
}

// crowdedKeys is more than that.
func crowdedKeys() uint64 { return 240_000 }

// loadWords sets the keys from from to to-1 to themselves plus add, from two goroutines.
func loadWords(t testing.TB, s *Store, from, to, add uint64) {
	t.Helper()
	const group = 32
	var both sync.WaitGroup
	for part := range uint64(2) {
		both.Go(func() {
			x := s.NewSession()
			defer x.Close()
			tab, err := NewTable[uint64, uint64](x)
			if err != nil {
				t.Error(err)
				return
			}
			var keys, values []uint64
			for k := from + part; k < to; k += 2 {
				keys, values = append(keys, k), append(values, k+add)
				if len(keys) < group && k+2 < to {
					continue
				}
				if err := tab.MultiSet(keys, values); err != nil {
					t.Error(err)
					return
				}
				keys, values = keys[:0], values[:0]
			}
		})
	}
	both.Wait()
}

// sameWords reports a key from from to to-1 that is not itself plus add.
func sameWords(t testing.TB, s *Store, from, to, add uint64) {
	t.Helper()
	x := s.NewSession()
	defer x.Close()
	tab, err := NewTable[uint64, uint64](x)
	must(t, err)
	const group = 512
	step := uint64(testkit.UnderRace(group*9, group)) // with the race detector groups here and there
	keys, values, found := make([]uint64, group), make([]uint64, group), make([]bool, group)
	for ; from < to; from += step {
		keys, values, found = keys[:min(group, to-from)], values[:min(group, to-from)], found[:min(group, to-from)]
		for i := range keys {
			keys[i] = from + uint64(i)
		}
		must(t, tab.MultiGet(keys, values, found))
		for i, k := range keys {
			if !found[i] || values[i] != k+add {
				t.Fatalf("key %d has %d, %v; want %d", k, values[i], found[i], k+add)
			}
		}
	}
}

// relievedIndex fails unless the index has demoted, and no two keys share an entry for lack of memory.
func relievedIndex(t testing.TB, s *Store) {
	t.Helper()
	eventually(t, "something is demoted", func() bool { return s.cold.standing.Load() != nil })
	if n := s.index().Stats().CatchAlls; n != 0 {
		t.Errorf("%d entries became catch-alls", n)
	}
}

func TestRelief_LoadWithoutVersions(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	n := crowdedKeys()
	s := mustOpen(t, "/store", crowdedOptions(disk))
	loadWords(t, s, 0, n, 1)
	relievedIndex(t, s)
	sameWords(t, s, 0, n, 1)
	for k := uint64(0); k < n; k += 1000 { // keys that are cold, and such as are not
		var key [8]byte
		binary.NativeEndian.PutUint64(key[:], k)
		must(t, s.Delete(key[:]))
		if _, err := s.Get(nil, key[:]); err != ErrNotFound {
			t.Fatalf("key %d was deleted: %v", k, err)
		}
	}
	live := uint64(0)
	must(t, s.Scan(context.Background(), func(key, value []byte) bool {
		k := binary.NativeEndian.Uint64(key)
		if v := binary.NativeEndian.Uint64(value); v != k+1 || k%1000 == 0 {
			t.Errorf("key %d has %d", k, v)
		}
		live++
		return !t.Failed()
	}))
	if want := n - (n+999)/1000; live != want {
		t.Errorf("a scan visits %d keys of %d", live, want)
	}
	loadWords(t, s, 0, n/8, 2)
	must(t, s.Close())
	s = mustOpen(t, "/store", crowdedOptions(disk))
	defer s.Close()
	sameWords(t, s, 0, n/8, 2)
	sameWords(t, s, n-999, n, 1) // none of which was deleted
}

func TestRelief_CrashBeforeAVersion(t *testing.T) {
	if testkit.Race {
		t.Skip("the load is that of TestRelief_LoadWithoutVersions, and what is opened after it has one goroutine")
	}
	disk := fsx.NewCrash(fsx.CrashOptions{})
	n := crowdedKeys()
	o := crowdedOptions(disk)
	s := mustOpen(t, "/store", o)
	loadWords(t, s, 0, 1000, 7)
	_, err := s.Checkpoint(t.Context())
	must(t, err)
	loadWords(t, s, 500, n, 9)
	relievedIndex(t, s)
	crashed := disk.Clone(fsx.Crash{Keep: fsx.KeepNone})
	must(t, s.Close())
	o.FS = crashed
	s = mustOpen(t, "/store", o)
	defer s.Close()
	sameWords(t, s, 0, 1000, 7)
	var key [8]byte
	binary.NativeEndian.PutUint64(key[:], 1000)
	if v, err := s.Get(nil, key[:]); err != ErrNotFound {
		t.Errorf("a key that no version has: %x, %v", v, err)
	}
}

func TestRelief_RestoreToBeforeIt(t *testing.T) {
	n := crowdedKeys()
	s := mustOpen(t, "/store", crowdedOptions(fsx.NewCrash(fsx.CrashOptions{})))
	defer s.Close()
	loadWords(t, s, 0, n/2, 1)
	first, err := s.Checkpoint(t.Context())
	must(t, err)
	loadWords(t, s, n/4, n, 2)
	relievedIndex(t, s)
	second, err := s.Checkpoint(t.Context())
	must(t, err)
	loadWords(t, s, 0, n/8, 3)
	_, err = s.Restore(t.Context(), first.Version)
	must(t, err)
	sameWords(t, s, 0, n/2, 1)
	loadWords(t, s, 0, n/8, 4)
	_, err = s.Restore(t.Context(), second.Version)
	must(t, err)
	sameWords(t, s, 0, n/4, 1)
	sameWords(t, s, n/4, n, 2)
}

func TestRelief_NotAskedFor(t *testing.T) {
	if testkit.Race {
		t.Skip("there is no demotion beside it")
	}
	n := crowdedKeys()
	o := crowdedOptions(fsx.NewCrash(fsx.CrashOptions{}))
	o.ColdAfter = -1
	s := mustOpen(t, "/store", o)
	defer s.Close()
	loadWords(t, s, 0, n, 1)
	if s.cold.standing.Load() != nil {
		t.Error("ColdAfter is negative, and there is a cold tier")
	}
	if load, _, _ := s.crowd(); load < behind {
		t.Error("the index has had enough memory: the test tests nothing")
	}
	sameWords(t, s, 0, n, 1)
}

// A crowded index has more records than there is memory for: so nothing is demoted as long as the log fits into memory.
func TestRelief_ACrowdedIndexHasMoreLogThanMemory(t *testing.T) {
	s := mustOpen(t, "/store", crowdedOptions(fsx.NewCrash(fsx.CrashOptions{})))
	defer s.Close()
	const keys = 100
	from := s.log.Tail()
	for k := range byte(keys) {
		must(t, s.Set([]byte{k}, nil))
	}
	if each := (s.log.Tail() - from) / keys; each < 2*entryBytes {
		t.Errorf("a record takes %d bytes, an entry %d", each, entryBytes)
	}
}

// TestRelief_Waiting has operations that make an entry wait for demotion, but not in a unit, which a cut may wait for.
func TestRelief_Waiting(t *testing.T) {
	s := mustOpen(t, "/store", crowdedOptions(fsx.NewCrash(fsx.CrashOptions{})))
	s.background.housekeeping.Stop()
	must(t, s.Set([]byte("old"), []byte("1")))
	s.relief.behind.Store(true)
	s.index().HoldUp()
	x := s.NewSession()
	must(t, x.Set([]byte("old"), []byte("2"))) // it has an entry
	must(t, x.Unit(func() error { return x.Set([]byte("unit"), []byte("3")) }))
	s.relief.mu.Lock()
	if s.relief.turn != nil {
		t.Error("somebody has waited who should not")
	}
	s.relief.mu.Unlock()
	s.index().HoldUp()
	set := make(chan error)
	go func() { set <- s.Set([]byte("new"), []byte("4")) }()
	eventually(t, "an operation that makes an entry does not wait", func() bool {
		s.relief.mu.Lock()
		defer s.relief.mu.Unlock()
		return s.relief.turn != nil
	})
	s.relief.rest()
	must(t, <-set)
	must(t, s.Close())
}
