package hlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// tierStore returns a store that has keys in its tier, two of nine with a newer record or a tombstone in the log above it, none
// of them in memory, and what the keys hold.
func tierStore(t testing.TB, dir string, o *Options, n int) (*Store, [][]byte, map[string]string) {
	t.Helper()
	s := demoted(t, dir, o)
	held := map[string]string{}
	var keys [][]byte
	set := func(k []byte, v string) {
		must(t, s.Set(k, []byte(v)))
		held[string(k)] = v
	}
	for i := range n {
		keys = append(keys, fmt.Appendf(nil, "key %d", i))
		size := i % 100
		if i%50 == 0 {
			size = 6000 // goes through blocks
		}
		set(keys[i], fmt.Sprintf("%d %0*d", i, size, 0))
		if i == n/2 {
			commit(t, s)
			demoteAll(t, s) // a newer share is asked first
		}
	}
	commit(t, s)
	demoteAll(t, s)
	for i := range n {
		switch i % 9 {
		case 0:
			set(keys[i], fmt.Sprintf("anew %d", i))
		case 1:
			must(t, s.Delete(keys[i]))
			delete(held, string(keys[i]))
		}
	}
	evict(t, s)
	return s, keys, held
}

// readsOfTier counts how often files of the tier are read.
func readsOfTier(hooks *readHookFS, s *Store) *atomic.Int64 {
	n := new(atomic.Int64)
	hooks.set(func(name string) {
		if filepath.Dir(name) == s.ledger.ImagesPath() {
			n.Add(1)
		}
	})
	return n
}

// Multi calls have the blocks of the tier read for many keys before they operate on the first, and read no more of them than
// single calls would.
func TestMulti_ReadsTheTierAhead(t *testing.T) {
	o := tiny()
	hooks := &readHookFS{FS: o.FS}
	o.FS, o.NoReadCache = hooks, true
	s, keys, held := tierStore(t, "/store", o, 900)
	x := s.NewSession()
	defer x.Close()
	check := func(what string, k, v []byte, ok bool) {
		t.Helper()
		if want, had := held[string(k)]; had != ok || string(v) != want {
			t.Fatalf("%s: %q has %.20q, %v; want %.20q, %v", what, k, v, ok, want, had)
		}
	}
	for _, k := range keys { // the blocks of filters are in memory then
		v, err := x.Get(nil, k)
		check("get", k, v, err == nil)
	}
	reads := readsOfTier(hooks, s)
	batch := keys[:300]
	for _, k := range batch {
		x.Get(nil, k)
	}
	single := reads.Swap(0)
	ahead := int64(0)
	must(t, x.MultiGet(batch, func(i int, v []byte, err error) {
		if i == 0 {
			ahead = reads.Load()
		}
		check("multi get", batch[i], v, err == nil)
	}))
	if ahead < 8 || reads.Load() != single {
		t.Errorf("%d reads before the first of %d keys, %d in all; single calls take %d", ahead, len(batch), reads.Load(), single)
	}
	reads.Store(0)
	must(t, x.MultiRMW(batch, func(i int, old []byte) []byte {
		if i == 0 {
			ahead = reads.Load()
		}
		check("multi rmw", batch[i], old, old != nil)
		return append(append([]byte(nil), old...), '+')
	}))
	if ahead < 8 {
		t.Errorf("%d reads before the first of %d keys is updated", ahead, len(batch))
	}
	for _, k := range batch {
		held[string(k)] += "+"
	}
	for _, k := range keys {
		v, err := x.Get(nil, k)
		check("get", k, v, err == nil)
	}
}

// What a Multi call has read of a tier is of no use for operations that find a tier of another generation.
func TestMulti_TierSwitchedMeanwhile(t *testing.T) {
	s, keys, held := tierStore(t, "/store", tiny(), 400)
	x := s.NewSession()
	defer x.Close()
	must(t, x.MultiGet(keys, func(i int, v []byte, err error) {
		if want, ok := held[string(keys[i])]; ok != (err == nil) || string(v) != want {
			t.Fatalf("%q has %.20q, %v; want %.20q, %v", keys[i], v, err, want, ok)
		}
		if i%100 != 10 {
			return
		}
		for j := i + 1; j < len(keys); j += 3 { // in this group, and in those that were read ahead
			v := fmt.Sprintf("then %d %d", i, j)
			must(t, s.Set(keys[j], []byte(v)))
			held[string(keys[j])] = v
		}
		commit(t, s)
		demoteAll(t, s)
		evict(t, s)
	}))
}

// A read of the tier that fails, or that finds damage, fails its operation, and no other: never "not found".
func TestMulti_TierReadFails(t *testing.T) {
	o := tiny()
	failing := fsx.NewErr(o.FS)
	o.FS, o.NoReadCache = failing, true
	s, keys, held := tierStore(t, "/store", o, 300)
	x := s.NewSession()
	defer x.Close()
	for nth := int64(1); nth < 40; nth += 3 {
		for _, sticky := range []bool{false, true} {
			fault := failing.Inject(fsx.Fault{Class: fsx.ClassRead, Match: s.ledger.ImagesPath() + "/*", Nth: nth, Sticky: sticky})
			failed := 0
			must(t, x.MultiGet(keys, func(i int, v []byte, err error) {
				want, ok := held[string(keys[i])]
				switch {
				case errors.Is(err, syscall.EIO):
					failed++
				case ok && (err != nil || string(v) != want), !ok && err != ErrNotFound:
					t.Errorf("read %d failed: %q has %.20q, %v", nth, keys[i], v, err)
				}
			}))
			if sticky && failed == 0 || fault.Fired() == 0 {
				t.Errorf("read %d: %d operations failed, %d reads", nth, failed, fault.Fired())
			}
			fault.Clear()
		}
	}
}

// Nor do Multi calls allocate for what they read of a tier.
func TestMulti_TierAllocatesNothing(t *testing.T) {
	if testkit.Race || invariant.Enabled {
		t.Skip("the race detector and the checks allocate")
	}
	fsys, dir := disks[1].open(t)
	o := tiny()
	o.FS = fsys
	o.PageBytes, o.SegmentBytes = 16*o.PageBytes, DefaultSegmentBytes // each of which costs the pager an allocation or two
	s := demoted(t, dir, o)
	x := s.NewSession()
	defer x.Close()
	table, err := NewTable[uint64, [100]byte](x)
	must(t, err)
	const keys, batch = 60_000, 300
	for i := range uint64(keys) {
		must(t, table.Set(i, [100]byte{byte(i)}))
	}
	commit(t, s)
	demoteAll(t, s)
	s.mergeCold()
	withoutRuns(s)
	s.disk.Uncovered = 1 << 40 // the flusher writes no runs
	if g := s.stagings.take(s); !queuedByKernel(t, s, g) || !s.log.AsyncReads() {
		t.Skip("no asynchronous direct I/O here: goroutines read, and are allocated")
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	ks, vs, found := make([]uint64, batch), make([][100]byte, batch), make([]bool, batch)
	for _, what := range []struct {
		name   string
		rounds int // of which updates leave most keys in the tier
		call   func() error
	}{
		{"get", 200, func() error { return table.MultiGet(ks, vs, found) }},
		{"update", 40, func() error { return table.MultiUpdate(ks, func(_ int, v *[100]byte, _ bool) { v[1]++ }) }},
	} {
		round := func() {
			for i := range ks {
				ks[i] = rnd.Uint64N(keys)
			}
			must(t, what.call())
			for i, ok := range found {
				if what.name == "get" && (!ok || vs[i][0] != byte(ks[i])) {
					t.Fatalf("key %d is %v, %v", ks[i], vs[i][0], ok)
				}
			}
		}
		for range what.rounds {
			round()
		}
		before := s.cold.reads.Load()
		if n := testing.AllocsPerRun(what.rounds, round); n > 1 { // what goes on in the background counts, too
			t.Errorf("%s: %v allocations for %d keys", what.name, n, batch)
		}
		if n := s.cold.reads.Load() - before; n < int64(batch*what.rounds/4) {
			t.Errorf("%s: %d blocks of the tier were read", what.name, n)
		}
	}
}
