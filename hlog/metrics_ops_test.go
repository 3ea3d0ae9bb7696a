package hlog

import (
	"runtime"
	"sync"
	"testing"
)

// operations returns the four counts of a store.
func operations(s *Store) [4]uint64 {
	m := s.Metrics()
	return [4]uint64{m.GetCount, m.SetCount, m.DeleteCount, m.UpdateCount}
}

// Each method counts what its caller asked for once, on its fast path as on its slow one, hit or miss.
func TestMetrics_CountsOperations(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	x := s.NewSession()
	words, err := NewTable[uint64, uint64](x)
	must(t, err)
	wide, err := NewTable[[3]uint32, [100]byte](x)
	must(t, err)
	const n = 150 // more than one window of a Multi call
	keys, values, found := make([]uint64, n), make([]uint64, n), make([]bool, n)
	wideKeys, wideValues := make([][3]uint32, n), make([][100]byte, n)
	byteKeys, byteValues := make([][]byte, n), make([][]byte, n)
	for i := range n {
		keys[i], wideKeys[i] = uint64(i), [3]uint32{uint32(i)}
		byteKeys[i], byteValues[i] = []byte{'k', byte(i)}, []byte("value")
	}
	same := func(old []byte) []byte { return old }
	for _, c := range []struct {
		name string
		want [4]uint64
		do   func() error
	}{
		{"Session.Get", [4]uint64{2, 0, 0, 0}, func() error { x.Get(nil, []byte("no")); _, err := x.Get(nil, key8(1)); return notFound(err) }},
		{"Session.Set", [4]uint64{0, 2, 0, 0}, func() error { x.Set(nil, nil); return x.Set([]byte("k"), nil) }}, // one is refused
		{"Session.Delete", [4]uint64{0, 0, 1, 0}, func() error { return x.Delete([]byte("k")) }},
		{"Session.RMW", [4]uint64{0, 0, 0, 1}, func() error { return x.RMW(key8(3), same) }},
		{"Session.MultiGet", [4]uint64{n, 0, 0, 0}, func() error { return x.MultiGet(byteKeys, func(int, []byte, error) {}) }},
		{"Session.MultiSet", [4]uint64{0, n, 0, 0}, func() error { return x.MultiSet(byteKeys, byteValues) }},
		{"Session.MultiRMW", [4]uint64{0, 0, 0, n}, func() error { return x.MultiRMW(byteKeys, func(_ int, old []byte) []byte { return old }) }},
		{"Store.Get", [4]uint64{1, 0, 0, 0}, func() error { _, err := s.Get(nil, key8(1)); return notFound(err) }},
		{"Store.Set", [4]uint64{0, 1, 0, 0}, func() error { return s.Set(key8(1), key8(2)) }},
		{"Store.Delete", [4]uint64{0, 0, 1, 0}, func() error { return s.Delete(key8(2)) }},
		{"Store.RMW", [4]uint64{0, 0, 0, 1}, func() error { return s.RMW(key8(1), same) }},
		{"Table.Get words", [4]uint64{1, 0, 0, 0}, func() error { _, _, err := words.Get(1); return err }},
		{"Table.Set words", [4]uint64{0, 1, 0, 0}, func() error { return words.Set(1, 2) }},
		{"Table.Delete words", [4]uint64{0, 0, 1, 0}, func() error { return words.Delete(2) }},
		{"Table.Update words", [4]uint64{0, 0, 0, 1}, func() error { return words.Update(1, func(v *uint64, _ bool) { *v++ }) }},
		{"Table.MultiGet words", [4]uint64{n, 0, 0, 0}, func() error { return words.MultiGet(keys, values, found) }},
		{"Table.MultiSet words", [4]uint64{0, n, 0, 0}, func() error { return words.MultiSet(keys, values) }},
		{"Table.MultiUpdate words", [4]uint64{0, 0, 0, n}, func() error { return words.MultiUpdate(keys, func(_ int, v *uint64, _ bool) { *v++ }) }},
		{"Table.Get", [4]uint64{1, 0, 0, 0}, func() error { _, _, err := wide.Get(wideKeys[1]); return err }},
		{"Table.Set", [4]uint64{0, 1, 0, 0}, func() error { return wide.Set(wideKeys[1], wideValues[1]) }},
		{"Table.Delete", [4]uint64{0, 0, 1, 0}, func() error { return wide.Delete(wideKeys[2]) }},
		{"Table.Update", [4]uint64{0, 0, 0, 1}, func() error { return wide.Update(wideKeys[1], func(v *[100]byte, _ bool) { v[0]++ }) }},
		{"Table.MultiGet", [4]uint64{n, 0, 0, 0}, func() error { return wide.MultiGet(wideKeys, wideValues, found) }},
		{"Table.MultiSet", [4]uint64{0, n, 0, 0}, func() error { return wide.MultiSet(wideKeys, wideValues) }},
		{"Table.MultiUpdate", [4]uint64{0, 0, 0, n}, func() error { return wide.MultiUpdate(wideKeys, func(_ int, v *[100]byte, _ bool) { v[0]++ }) }},
		{"Store.Scan", [4]uint64{}, func() error { return s.Scan(t.Context(), func(_, _ []byte) bool { return true }) }},
		{"Store.Checkpoint", [4]uint64{}, func() error { _, err := s.Checkpoint(t.Context()); return err }},
		{"Store.Compact", [4]uint64{}, func() error { return s.Compact(t.Context()) }},
	} {
		for _, round := range []string{"new", "there"} { // in the second, the records are there
			before := operations(s)
			must(t, c.do())
			got := operations(s)
			for i := range got {
				got[i] -= before[i]
			}
			if got != c.want {
				t.Errorf("%s, %s: counted %d, want %d", c.name, round, got, c.want)
			}
		}
	}
}

func notFound(err error) error {
	if err == ErrNotFound {
		return nil
	}
	return err
}

// Counts stay when the sessions that made them are closed or forgotten and others have taken their places, and a closed
// session counts no more. Metrics is called meanwhile, as fast as it goes, for the race detector.
func TestMetrics_OperationsOfSessionsThatEnd(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	const goroutines, sessions, each = 4, 30, 20
	stop := make(chan struct{})
	var watcher, workers sync.WaitGroup
	watcher.Go(func() {
		for last := uint64(0); ; {
			if n := s.epochs.Totals()[opSet]; n < last {
				t.Errorf("%d sets, and there were %d", n, last)
			} else {
				last = n
			}
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	})
	for range goroutines {
		workers.Go(func() {
			for i := range sessions {
				if i == sessions/2 {
					runtime.GC() // some of the forgotten give their places back
				}
				x := s.NewSession()
				for k := range each {
					if err := x.Set(key8(k), key8(i)); err != nil {
						t.Error(err)
					}
				}
				if i%3 == 0 {
					continue // forgotten
				}
				x.Close()
				if err := x.Set(key8(1), nil); err != ErrClosed {
					t.Errorf("a closed session: %v", err)
				}
			}
		})
	}
	workers.Wait()
	x := s.NewSession()
	must(t, x.Set(key8(1), nil))
	close(stop)
	watcher.Wait()
	if got, want := s.Metrics().SetCount, uint64(goroutines*sessions*each+1); got != want {
		t.Errorf("%d sets counted, want %d", got, want)
	}
}
