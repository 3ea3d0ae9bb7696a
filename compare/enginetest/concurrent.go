package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/compare"
)

func (s Subject) concurrent(t *testing.T) {
	t.Run("ReadersAndWriters", s.readersAndWriters)
	t.Run("SnapshotIsAPointInTime", s.pointInTime)
	t.Run("RestoreUnderLoad", s.restoreUnderLoad)
	t.Run("CloseUnderLoad", s.closeUnderLoad)
}

// readersAndWriters has each key written by one goroutine, in ascending numbers, and read by others.
func (s Subject) readersAndWriters(t *testing.T) {
	const writers, perWriter, rounds = 3, 40, 40
	o := s.Options
	o.KeepVersions = 20
	dir := t.TempDir()
	e := s.openWith(t, dir, o)
	var done atomic.Bool
	var wrote, rest sync.WaitGroup
	fail := make(chan error, writers+4)
	for w := range writers {
		wrote.Go(func() {
			for round := 1; round <= rounds; round++ {
				for i := range perWriter {
					if err := e.Set([]byte(owned(w, i)), []byte(value(owned(w, i), round, 20+round))); err != nil {
						fail <- err
						return
					}
				}
			}
		})
	}
	for seed := range 2 {
		rest.Go(func() { fail <- readAscending(e, uint64(seed), writers, perWriter, &done) })
	}
	rest.Go(func() {
		for v := uint64(1); v <= 30 && !done.Load(); v++ {
			if err := e.Snapshot(v); err != nil {
				fail <- err
				return
			}
			_ = e.Size()
		}
	})
	wrote.Wait()
	done.Store(true)
	rest.Wait()
	close(fail)
	for err := range fail {
		if err != nil {
			t.Fatal(err)
		}
	}
	e = s.reopen(t, e, dir)
	want, keys := state{}, []string{"nobody's"}
	for w := range writers {
		for i := range perWriter {
			want[owned(w, i)] = value(owned(w, i), rounds, 20+rounds)
			keys = append(keys, owned(w, i))
		}
	}
	verify(t, e, want, keys)
}

func owned(writer, i int) string { return fmt.Sprintf("writer %d key %d", writer, i) }

// readAscending checks that what is read under a key is of that key and never older than what was read before.
func readAscending(e compare.Engine, seed uint64, writers, perWriter int, done *atomic.Bool) error {
	r := rand.New(rand.NewPCG(seed, 5))
	last := map[string]int{}
	for !done.Load() {
		k := owned(r.IntN(writers), r.IntN(perWriter))
		v, err := e.Get([]byte(k))
		if err != nil {
			return err
		}
		n, err := numberOf(k, v)
		if err != nil {
			return err
		}
		if n < last[k] {
			return fmt.Errorf("key %q went back from write %d to %d", k, last[k], n)
		}
		last[k] = n
	}
	return nil
}

// numberOf returns the number of the write that a value is of; 0 when absent.
func numberOf(key string, v []byte) (int, error) {
	if v == nil {
		return 0, nil
	}
	head, _, _ := strings.Cut(string(v), ";")
	of, number, _ := strings.Cut(head, "#")
	n, err := strconv.Atoi(number)
	if err != nil || of != fmt.Sprintf("%x", key) || string(v) != value(key, n, 20+n) {
		return 0, fmt.Errorf("key %q has a value that was never written: %q", key, v)
	}
	return n, nil
}

// pointInTime has one goroutine write a row of keys from left to right, over and over: in every snapshot the numbers fall
// from left to right, by one at most once.
func (s Subject) pointInTime(t *testing.T) {
	o := s.Options
	o.KeepVersions = 20
	e := s.openWith(t, t.TempDir(), o)
	keys := names(30)
	var done atomic.Bool
	var wg sync.WaitGroup
	failed := make(chan error, 1)
	wg.Go(func() {
		for n := 1; !done.Load(); n++ {
			for _, k := range keys {
				if err := e.Set([]byte(k), []byte(value(k, n, 20+n))); err != nil {
					failed <- err
					return
				}
			}
			if n > 1500 {
				n = 1500
			}
		}
	})
	const versions = 12 // fewer than are kept
	for v := uint64(1); v <= versions; v++ {
		snapshot(t, e, v)
	}
	done.Store(true)
	wg.Wait()
	close(failed)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	before := 0
	for v := uint64(1); v <= versions; v++ {
		restore(t, e, v)
		first, last := 0, 0
		for i, k := range keys {
			data, err := e.Get([]byte(k))
			if err != nil {
				t.Fatal(err)
			}
			n, err := numberOf(k, data)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first, last = n, n
			}
			if n > last || n < first-1 {
				t.Fatalf("version %d: key %d is at write %d, key 0 at %d and the one before at %d", v, i, n, first, last)
			}
			last = n
		}
		if first < before {
			t.Fatalf("version %d begins at write %d, the one before at %d", v, first, before)
		}
		before = first
	}
}

// restoreUnderLoad restores while others read and write: nobody sees a value that is not of its key.
func (s Subject) restoreUnderLoad(t *testing.T) {
	o := s.Options
	o.KeepVersions = 20
	e, m, keys := s.openWith(t, t.TempDir(), o), state{}, names(50)
	for _, k := range keys {
		set(t, e, m, k, value(k, 1, 21))
	}
	snapshot(t, e, 1)
	var done atomic.Bool
	var wg sync.WaitGroup
	fail := make(chan error, 4)
	for g := range 2 {
		wg.Go(func() {
			for n := 2; !done.Load(); n = min(n+1, 500) {
				for i, k := range keys {
					if i%2 != g {
						continue
					}
					if err := e.Set([]byte(k), []byte(value(k, n, 20+n))); err != nil {
						fail <- err
						return
					}
				}
			}
		})
		wg.Go(func() {
			for i := 0; !done.Load(); i++ {
				k := keys[i%len(keys)]
				v, err := e.Get([]byte(k))
				if err == nil {
					_, err = numberOf(k, v)
				}
				if err == nil && v == nil {
					err = fmt.Errorf("key %q is absent, though no version lacks it", k)
				}
				if err != nil {
					fail <- err
					return
				}
			}
		})
	}
	for v := uint64(2); v <= 8; v++ {
		snapshot(t, e, v)
		restore(t, e, v/2)
	}
	done.Store(true)
	wg.Wait()
	close(fail)
	if err := <-fail; err != nil {
		t.Fatal(err)
	}
	restore(t, e, 1)
	verify(t, e, m, keys)
}

func (s Subject) closeUnderLoad(t *testing.T) {
	dir := t.TempDir()
	e := s.open(t, dir)
	var wg sync.WaitGroup
	counts := make([]int, 3)
	fail := make(chan error, len(counts))
	for g := range counts {
		wg.Go(func() {
			for n := 1; ; n++ {
				err := e.Set([]byte(owned(g, n%10)), []byte(value(owned(g, n%10), n, 20+n)))
				if errors.Is(err, compare.ErrClosed) {
					return
				}
				if err != nil {
					fail <- err
					return
				}
				counts[g] = n
				if n == 2000 {
					return
				}
			}
		})
	}
	snapshot(t, e, 1)
	closeEngine(t, e)
	wg.Wait()
	close(fail)
	if err := <-fail; err != nil {
		t.Fatal(err)
	}
	e = s.open(t, dir)
	for g, n := range counts {
		if n == 0 {
			continue
		}
		k := owned(g, n%10)
		v, err := e.Get([]byte(k))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := numberOf(k, v); err != nil || got != n {
			t.Errorf("key %q is at write %d (%v), but write %d had returned before the close", k, got, err, n)
		}
	}
}
