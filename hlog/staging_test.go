package hlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// disks are what a store may stand on: reads go one by one, or to the kernel together.
var disks = []struct {
	name string
	open func(t testing.TB) (fsx.FS, string)
}{
	{"double", func(testing.TB) (fsx.FS, string) { return fsx.NewCrash(fsx.CrashOptions{Direct: true}), "/store" }},
	{"system", func(t testing.TB) (fsx.FS, string) { return fsx.OS(), t.TempDir() }},
}

// stagedStore returns a store most of whose keys are on disk, and what they hold: values of every size, keys that were
// deleted, keys that share an entry.
func stagedStore(t testing.TB, fsys fsx.FS, dir string, cache bool) (*Store, [][]byte, map[string][]byte) {
	t.Helper()
	o := tiny()
	o.FS, o.NoReadCache = fsys, !cache
	s := mustOpen(t, dir, o)
	x := s.NewSession()
	defer x.Close()
	rnd := rand.New(rand.NewPCG(3, 4))
	var keys [][]byte
	for i := range 1500 {
		keys = append(keys, fmt.Appendf(nil, "key %d %s", i, bytes.Repeat([]byte{'k'}, rnd.IntN(40))))
	}
	for _, chain := range colliding(t, s, 10, 4) {
		keys = append(keys, chain...)
	}
	held := map[string][]byte{}
	for round := range 3 {
		for _, k := range keys {
			switch n := rnd.IntN(100); {
			case n < 30 && round > 0: // as it is
			case n < 40:
				must(t, x.Delete(k))
				delete(held, string(k))
			default:
				size := rnd.IntN(400)
				if n >= 97 { // larger than what is read at first
					size = rnd.IntN(MinPageBytes - 200)
				}
				v := make([]byte, size)
				for i := range v {
					v[i] = byte(rnd.Uint32())
				}
				must(t, x.Set(k, v))
				held[string(k)] = v
			}
		}
	}
	evict(t, s)
	return s, keys, held
}

// Multi calls of every length say what single calls say, whatever is read ahead meanwhile.
func TestMulti_StagedAnswersAreSingleAnswers(t *testing.T) {
	for _, d := range disks {
		for _, cache := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s cache=%v", d.name, cache), func(t *testing.T) {
				fsys, dir := d.open(t)
				s, keys, held := stagedStore(t, fsys, dir, cache)
				x := s.NewSession()
				defer x.Close()
				rnd := rand.New(rand.NewPCG(5, 6))
				draw := func(n int) (batch [][]byte) {
					for range n {
						k := keys[rnd.IntN(len(keys))]
						if rnd.IntN(20) == 0 {
							k = fmt.Appendf(nil, "absent %d", rnd.IntN(1000))
						}
						batch = append(batch, k)
					}
					return batch
				}
				check := func(what string, k, v []byte, err error) {
					t.Helper()
					want, ok := held[string(k)]
					if ok && (err != nil || !bytes.Equal(v, want)) || !ok && err != ErrNotFound {
						t.Fatalf("%s: %q is %d bytes, %v, want %d bytes, %v", what, k, len(v), err, len(want), ok)
					}
				}
				for _, n := range []int{1, 2, 15, 16, 17, 100, 128, 500, 1000, 3000} {
					batch, next := draw(n), 0
					must(t, x.MultiGet(batch, func(i int, v []byte, err error) {
						if i != next {
							t.Fatalf("call %d is about key %d", next, i)
						}
						next++
						check("multi get", batch[i], v, err)
					}))
					if next != n {
						t.Fatalf("%d calls for %d keys", next, n)
					}
					batch = draw(n)
					// A callback may run again: what it has made holds when the next key's runs.
					var made []byte
					last := -1
					answered := func() {
						if last >= 0 && made == nil {
							delete(held, string(batch[last]))
						} else if last >= 0 {
							held[string(batch[last])] = made
						}
					}
					must(t, x.MultiRMW(batch, func(i int, old []byte) []byte {
						if i != last {
							answered()
						}
						last = i
						err := error(nil)
						if old == nil {
							err = ErrNotFound
						}
						check("multi rmw", batch[i], old, err)
						if made = nil; rnd.IntN(10) == 0 {
							return nil
						}
						if old == nil {
							old = make([]byte, rnd.IntN(300))
						}
						made = append([]byte{}, old...) // not nil: that deletes
						for j := range made {
							made[j]++
						}
						return made
					}))
					answered()
					for _, k := range batch {
						v, err := x.Get(nil, k)
						check("get", k, v, err)
					}
				}
				if s.counters.coldReads.Value() == 0 {
					t.Error("nothing was read from disk")
				}
			})
		}
	}
}

// A read that fails fails its operation, and no other: never "not found".
func TestMulti_StagedReadFails(t *testing.T) {
	inner, dir := disks[0].open(t)
	failing := fsx.NewErr(inner)
	s, keys, held := stagedStore(t, failing, dir, false)
	x := s.NewSession()
	defer x.Close()
	for nth := int64(1); nth < 40; nth += 3 {
		for _, sticky := range []bool{false, true} {
			fault := failing.Inject(fsx.Fault{Class: fsx.ClassRead, Match: "*.seg", Nth: nth, Sticky: sticky})
			failed := 0
			must(t, x.MultiGet(keys[:300], func(i int, v []byte, err error) {
				want, ok := held[string(keys[i])]
				switch {
				case errors.Is(err, syscall.EIO):
					failed++
				case ok && (err != nil || !bytes.Equal(v, want)), !ok && err != ErrNotFound:
					t.Errorf("read %d failed: %q is %d bytes, %v", nth, keys[i], len(v), err)
				}
			}))
			if sticky && failed == 0 || fault.Fired() == 0 {
				t.Errorf("read %d: %d operations failed, %d reads", nth, failed, fault.Fired())
			}
			fault.Clear()
		}
	}
}

// More calls at a time than there are stagings, one within the callback of another.
func TestMulti_NestedBeyondStagings(t *testing.T) {
	for _, d := range disks {
		fsys, dir := d.open(t)
		s, keys, held := stagedStore(t, fsys, dir, false)
		var call func(depth int)
		call = func(depth int) {
			x := s.NewSession()
			defer x.Close()
			from := depth * 37
			must(t, x.MultiGet(keys[from:from+100], func(i int, v []byte, err error) {
				if want, ok := held[string(keys[from+i])]; ok && !bytes.Equal(v, want) || !ok && err != ErrNotFound {
					t.Errorf("%s: depth %d: %q is %d bytes, %v", d.name, depth, keys[from+i], len(v), err)
				}
				if i == 50 && depth < 2*maxStagings {
					call(depth + 1)
				}
			}))
		}
		within(t, "a nested call", func() { call(0) })
		if n := len(s.stagings.idle); n == 0 || n > maxStagings {
			t.Errorf("%s: %d stagings are idle", d.name, n)
		}
		for _, g := range s.stagings.idle {
			if !g.fetch.Idle() {
				t.Errorf("%s: a slot is not free", d.name)
			}
		}
	}
}

// Many goroutines read single records; the store is closed in the middle.
func TestGather_ManyReadersAndClose(t *testing.T) {
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			fsys, dir := d.open(t)
			s, keys, held := stagedStore(t, fsys, dir, false)
			var wg sync.WaitGroup
			var reads atomic.Int64
			for g := range 48 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(g), 1))
					for {
						k := keys[rnd.IntN(len(keys))]
						v, err := s.Get(nil, k)
						if err == ErrClosed {
							return
						}
						if errors.Is(err, fs.ErrClosed) || err != nil && err != ErrNotFound {
							t.Errorf("%q: %v", k, err)
							return
						}
						if want, ok := held[string(k)]; ok != (err == nil) || !bytes.Equal(v, want) {
							t.Errorf("%q is %d bytes, %v", k, len(v), err)
						}
						reads.Add(1)
					}
				})
			}
			within(t, "reading", func() {
				for reads.Load() < 5000 {
					must(t, s.Scan(context.Background(), func(_, _ []byte) bool { return reads.Load() < 5000 }))
				}
			})
			within(t, "close", func() { must(t, s.Close()) })
			within(t, "the readers", wg.Wait)
			if n := s.log.SingleReads(); n != 0 {
				t.Errorf("%d reads are under way", n)
			}
		})
	}
}

// Scan answers its questions with many reads at a time; what it visits is what is there.
func TestScan_ManyReads(t *testing.T) {
	for _, d := range disks {
		fsys, dir := d.open(t)
		s, _, held := stagedStore(t, fsys, dir, false)
		seen := map[string]int{}
		must(t, s.Scan(context.Background(), func(k, v []byte) bool {
			if want, ok := held[string(k)]; ok {
				if seen[string(k)]++; !bytes.Equal(v, want) {
					t.Errorf("%s: %q is %d bytes, not %d", d.name, k, len(v), len(want))
				}
			}
			return true
		}))
		for k := range held {
			if seen[k] != 1 {
				t.Errorf("%s: %q was visited %d times", d.name, k, seen[k])
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Scan(ctx, func(_, _ []byte) bool { return true }); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: scan under a context that has ended: %v", d.name, err)
		}
	}
}

// Multi calls allocate nothing, neither for what they read from disk.
func TestMulti_SpilledAllocatesNothing(t *testing.T) {
	if testkit.Race || invariant.Enabled {
		t.Skip("the race detector and the checks allocate")
	}
	fsys, dir := disks[1].open(t)
	o := tiny()
	o.FS, o.NoCompaction = fsys, true
	o.PageBytes, o.SegmentBytes = 16*o.PageBytes, DefaultSegmentBytes // each of which costs the pager an allocation or two
	s := mustOpen(t, dir, o)
	withoutRuns(s)
	s.disk.Uncovered = 1 << 40 // neither does the flusher write any
	x := s.NewSession()
	defer x.Close()
	table, err := NewTable[uint64, [100]byte](x)
	must(t, err)
	const keys, batch = 40_000, 300
	for i := range uint64(keys) {
		must(t, table.Set(i, [100]byte{byte(i)}))
	}
	evict(t, s)
	if g := s.stagings.take(s); !queuedByKernel(t, s, g) || !s.log.AsyncReads() {
		t.Skip("no asynchronous direct I/O here: goroutines read, and are allocated")
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	ks, vs, found := make([]uint64, batch), make([][100]byte, batch), make([]bool, batch)
	for name, call := range map[string]func() error{
		"get":    func() error { return table.MultiGet(ks, vs, found) },
		"update": func() error { return table.MultiUpdate(ks, func(_ int, v *[100]byte, _ bool) { v[1]++ }) },
	} {
		round := func() {
			for i := range ks {
				ks[i] = rnd.Uint64N(keys)
			}
			must(t, call())
		}
		for range 200 {
			round()
		}
		before := s.counters.coldReads.Value()
		if n := testing.AllocsPerRun(200, round); n > 1 { // what goes on in the background counts, too
			t.Errorf("%s: %v allocations for %d keys", name, n, batch)
		}
		if s.counters.coldReads.Value() == before {
			t.Errorf("%s: nothing was read from disk", name)
		}
	}
}

// queuedByKernel gives g back and reports whether the files of the log are read directly.
func queuedByKernel(t testing.TB, s *Store, g *staging) bool {
	t.Helper()
	s.stagings.give(g)
	f, err := s.root.Open(s.ledger.SegmentPath(s.log.Begin()/s.segments.Bytes()), fsx.Read|fsx.Direct)
	must(t, err)
	defer f.Close()
	return f.Direct()
}

// A store gives its queues back when it closes, one that a call still has with the end of the call.
func TestClose_GivesQueuesBack(t *testing.T) {
	fsys, dir := disks[1].open(t)
	queues := fsx.AIOOf(fsys)
	before := queues.Borrowed()
	for i := range testkit.UnderRace(2, 5) {
		dir := filepath.Join(dir, fmt.Sprint(i))
		s, keys, _ := stagedStore(t, fsys, dir, false)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					s.Get(nil, keys[0])
				}
			})
		}
		wg.Wait()
		must(t, s.Scan(context.Background(), func(_, _ []byte) bool { return true }))
		reached, closed := make(chan struct{}), make(chan struct{})
		wg.Go(func() {
			x := s.NewSession()
			err := x.MultiGet(keys, func(i int, _ []byte, _ error) {
				if i == 100 {
					close(reached)
					<-closed
				}
			})
			if err != ErrClosed {
				t.Errorf("a call that the store was closed under: %v", err)
			}
		})
		<-reached
		within(t, "close", func() { must(t, s.Close()) })
		close(closed)
		within(t, "the call", wg.Wait)
	}
	if after := queues.Borrowed(); after > before {
		t.Errorf("%d queues are not given back, there were %d", after, before)
	}
}

// Tables of words go their own way through memory, and the same one to the disk.
func TestMulti_StagedWords(t *testing.T) {
	for _, d := range disks {
		fsys, dir := d.open(t)
		o := tiny()
		o.FS = fsys
		s := mustOpen(t, dir, o)
		x := s.NewSession()
		defer x.Close()
		table, err := NewTable[uint64, uint64](x)
		must(t, err)
		const batch = 1500
		keys := uint64(testkit.UnderRace(45_000, 60_000))
		want := make([]uint64, keys)
		for i := range want {
			want[i] = uint64(i) * 3
			must(t, table.Set(uint64(i), want[i]))
		}
		evict(t, s)
		rnd := rand.New(rand.NewPCG(9, 1))
		ks, vs, found := make([]uint64, batch), make([]uint64, batch), make([]bool, batch)
		for round := range testkit.UnderRace(5, 20) {
			for i := range ks {
				ks[i] = rnd.Uint64N(keys + 1000)
			}
			must(t, table.MultiGet(ks, vs, found))
			for i, k := range ks {
				if ok := k < keys; found[i] != ok || ok && vs[i] != want[k] {
					t.Fatalf("%s: round %d: key %d is %d, %v", d.name, round, k, vs[i], found[i])
				}
				ks[i] = k % keys
			}
			must(t, table.MultiUpdate(ks, func(_ int, v *uint64, existed bool) { *v++ }))
			for _, k := range ks {
				want[k]++
			}
		}
		if s.counters.coldReads.Value() == 0 {
			t.Errorf("%s: nothing was read from disk", d.name)
		}
	}
}
