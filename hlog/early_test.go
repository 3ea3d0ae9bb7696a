package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// Updates by all doors go on while the directory is filled and when it is whole: each counts once, no reader sees a counter go
// back, and the versions that are begun meanwhile hold both halves of each pair (Y8 to Y10).
func TestEarly_UpdatesGoOnThroughTheMove(t *testing.T) {
	const counters, workers = 32, 4
	for range testkit.UnderRace(2, 6) {
		r := onRemote(t, 2, 200)
		table, err := NewTable[uint64, uint64](r.store.NewSession())
		must(t, err)
		for i := range uint64(counters) {
			must(t, table.Set(i, 1)) // others are not there
		}
		r.newest = commit(t, r.store)
		must(t, r.store.copies.mirror.PutHint(context.Background()))
		must(t, r.store.Close())
		g := newGated(r.remote)
		o := filledFrom(g)
		o.KeepVersions = 4
		s := mustOpen(t, "elsewhere", o)

		var stop atomic.Bool
		var pairs [workers]uint64
		var begun atomic.Int64
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				x := s.NewSession()
				defer x.Close()
				words, err := NewTable[uint64, uint64](x)
				if err != nil {
					t.Error(err)
					return
				}
				random := rand.New(rand.NewPCG(uint64(w), 1))
				seen := map[uint64]uint64{}
				add := func(v *uint64, _ bool) { *v++ }
				for n := uint64(0); !stop.Load(); n++ {
					i := random.Uint64N(counters)
					if err := x.Unit(func() error { // the pair is updated by two of the doors
						switch n % 3 {
						case 0:
							if err := words.Update(i, add); err != nil {
								return err
							}
						case 1:
							if err := words.MultiUpdate([]uint64{i}, func(_ int, v *uint64, _ bool) { *v++ }); err != nil {
								return err
							}
						case 2:
							if err := x.RMW(mem.AsBytes(&i), func(old []byte) []byte { return binary.LittleEndian.AppendUint64(nil, mem.Load64(old)+1) }); err != nil {
								return err
							}
						}
						return words.Update(1000+i, add)
					}); err != nil {
						t.Error(err)
						return
					}
					pairs[w]++
					begun.Add(1)
					k := random.Uint64N(counters)
					v, ok, err := words.Get(k)
					if err != nil || !ok || v < seen[k] {
						t.Errorf("counter %d is %d, %v, %v, and was %d", k, v, ok, err, seen[k])
						return
					}
					seen[k] = v
				}
			})
		}
		eventually(t, "early updates", func() bool { return begun.Load() > 200 })
		if s.Metrics().FetchLeft == 0 {
			t.Error("the directory is whole already")
		}
		close(g.open)
		first, err := s.Checkpoint(context.Background()) // waits for the move
		must(t, err)
		before := begun.Load()
		eventually(t, "updates in the log", func() bool { return begun.Load() > before+200 })
		second := commit(t, s)
		stop.Store(true)
		all.Wait()
		var want uint64
		for _, n := range pairs {
			want += n
		}
		third := commit(t, s)
		var last uint64
		for _, v := range []struct {
			name    string
			all     map[string]string
			exactly bool
		}{{"first", content(t, viewOf(t, s, first.Version)), false}, {"second", content(t, viewOf(t, s, second)), false}, {"third", content(t, viewOf(t, s, third)), true}} {
			var low, high uint64
			for i := range uint64(counters) {
				high += wordOf(v.all, i) - 1
				low += wordOf(v.all, 1000+i)
			}
			if low != high || low < last || v.exactly && low != want {
				t.Errorf("the %s version has %d and %d updates, the one before %d; there were %d", v.name, high, low, last, want)
			}
			last = low
		}
		must(t, s.Close())
	}
}

// wordOf returns the value of a key, both of 8 bytes, 0 if it has none.
func wordOf(all map[string]string, key uint64) uint64 {
	v := []byte(all[string(mem.AsBytes(&key))])
	if v == nil || len(v) != 8 {
		return 0
	}
	return mem.Load64(v)
}

// Each operation on a key that was written early, that only the version has, that was deleted, and that is nowhere, does what it
// does on a store that is whole; a batch asks the remote for its keys at a time.
func TestEarly_OperationsAreThoseOfAWholeStore(t *testing.T) {
	keys := testkit.UnderRace(100, 300)
	r := onRemote(t, 2, keys)
	must(t, r.store.Close())
	g := newGated(r.remote)
	s := mustOpen(t, "elsewhere", filledFrom(g))
	x := s.NewSession()
	defer x.Close()
	want := maps.Clone(r.versions[r.newest])
	random := rand.New(rand.NewPCG(7, 7))
	key := func() []byte { return fmt.Appendf(nil, "key %06d", random.IntN(keys+20)) }
	update := func(old []byte) []byte {
		switch {
		case len(old)%5 == 4:
			return nil
		case len(old) > 40:
			return old[:7]
		}
		return append(old, 'u')
	}
	model := func(k []byte) {
		old, there := want[string(k)]
		var b []byte
		if there {
			b = []byte(old)
		}
		if b = update(b); b == nil {
			delete(want, string(k))
		} else {
			want[string(k)] = string(b)
		}
	}
	for n := range testkit.UnderRace(300, 1_500) {
		k := key()
		switch n % 6 {
		case 0:
			must(t, x.Set(k, fmt.Appendf(nil, "set %d", n)))
			want[string(k)] = fmt.Sprintf("set %d", n)
		case 1:
			must(t, x.Delete(k))
			delete(want, string(k))
		case 2:
			must(t, x.RMW(k, update))
			model(k)
		case 3:
			many := [][]byte{key(), key(), key(), k}
			must(t, x.MultiRMW(many, func(_ int, old []byte) []byte { return update(old) }))
			for _, k := range many {
				model(k)
			}
		case 4:
			must(t, x.MultiSet([][]byte{k, k}, [][]byte{[]byte("first"), nil}))
			want[string(k)] = ""
		case 5:
			many := [][]byte{key(), k, key()}
			must(t, x.MultiGet(many, func(i int, value []byte, err error) {
				if v, there := want[string(many[i])]; there && (err != nil || string(value) != v) || !there && err != ErrNotFound {
					t.Fatalf("%s: %.30q, %v, want %.30q, %v", many[i], value, err, v, there)
				}
			}))
		}
		if v, there := want[string(k)]; n%4 == 0 {
			if got, err := s.Get(nil, k); there && (err != nil || string(got) != v) || !there && err != ErrNotFound {
				t.Fatalf("%s: %.30q, %v, want %.30q, %v", k, got, err, v, there)
			}
		}
	}
	if err := x.RMW([]byte("large"), func([]byte) []byte { return make([]byte, MinPageBytes) }); err != ErrTooLarge {
		t.Errorf("a value that is too large: %v", err)
	}
	words, err := NewTable[uint64, uint64](x)
	must(t, err)
	must(t, s.Set(key8(1), []byte("short")))
	if err := words.Update(mem.Load64(key8(1)), func(*uint64, bool) {}); err != ErrValueSize {
		t.Errorf("an update of a value of another size: %v", err)
	}
	want[string(key8(1))] = "short"
	if s.Metrics().FetchLeft == 0 {
		t.Error("the directory is whole already")
	}
	close(g.open)
	if got := live(t, s); !maps.Equal(got, want) {
		t.Errorf("when it is whole there are %d keys, want %d, or others", len(got), len(want))
	}
	must(t, s.Close())
	if got := live(t, mustOpen(t, "elsewhere", filledFrom(r.remote))); !maps.Equal(got, want) {
		t.Errorf("opened again there are %d keys, want %d, or others", len(got), len(want))
	}
}

// What a Prefetch has asked the remote for is in memory when operations need it, and a batch waits for its keys together.
func TestEarly_PrefetchAsksForMany(t *testing.T) {
	const keys = 100
	r := onRemote(t, 2, keys)
	must(t, r.store.Close())
	synctest.Test(t, func(t *testing.T) {
		s, err := Open("elsewhere", filledFrom(newGated(remotetest.NewDistant(r.remote))))
		must(t, err)
		x := s.NewSession()
		var asked [][]byte
		for i := range keys {
			asked = append(asked, fmt.Appendf(nil, "key %06d", i))
		}
		began := time.Now()
		must(t, x.MultiRMW(asked[:keys/2], func(_ int, old []byte) []byte { return old }))
		if took := time.Since(began); took > keys/2*remotetest.Trip {
			t.Errorf("a batch of %d has taken %v, where an answer takes a second", keys/2, took)
		}
		x.Prefetch(asked[keys/2:])
		synctest.Wait()
		testkit.Pause(keys * remotetest.Trip)
		began = time.Now()
		for _, key := range asked[keys/2:] {
			must(t, x.RMW(key, func(old []byte) []byte { return append(old, 1) }))
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("after a Prefetch updates have waited for the remote, for %v", took)
		}
		if err := s.Close(); !errors.Is(err, ErrRemote) { // the fill is stopped
			t.Errorf("Close: %v", err)
		}
	})
}

// Segments may be smaller than the pages that were asked for, and pages are made to fit them: what takes a larger page is refused
// before the move, which could not write it.
func TestEarly_PagesAsSmallAsSegments(t *testing.T) {
	r := onRemote(t, 2, 10)
	must(t, r.store.Close())
	g := newGated(r.remote)
	o := filledFrom(g)
	o.MemoryBytes, o.PageBytes, o.SegmentBytes = 64<<20, 0, 0
	s := mustOpen(t, "elsewhere", o)
	large := make([]byte, 300<<10)
	if err := s.Set([]byte("k"), large); err != ErrTooLarge {
		t.Errorf("a value larger than a segment: %v", err)
	}
	must(t, s.Set([]byte("k"), large[:200<<10]))
	close(g.open)
	must(t, s.ready(context.Background()))
	if got, err := s.Get(nil, []byte("k")); err != nil || len(got) != 200<<10 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// What finds no room waits until the directory is whole, and is done then (Y11).
func TestEarly_NoRoom(t *testing.T) {
	r := onRemote(t, 2, 100)
	must(t, r.store.Close())
	g := newGated(r.remote)
	s := mustOpen(t, "elsewhere", filledFrom(g))
	want := maps.Clone(r.versions[r.newest])
	const writes = 1_000
	var done atomic.Int64
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range writes {
			if err := s.Set(fmt.Appendf(nil, "large %d", i), make([]byte, 1000)); err != nil {
				t.Error(err)
			}
			done.Add(1)
		}
	})
	for i := range writes {
		want[fmt.Sprintf("large %d", i)] = string(make([]byte, 1000))
	}
	eventually(t, "a write to wait", func() bool { return testkit.Stands("filling).wait", "Store).Set") })
	if n := done.Load() * 1000; n > MinMemoryBytes/earlyShare || n < MinMemoryBytes/earlyShare/2 {
		t.Errorf("early writes have come to %d bytes", n)
	}
	key := []byte("large 0") // takes no more room
	must(t, s.Set(key, nil))
	want[string(key)] = ""
	close(g.open)
	writer.Wait()
	if got := live(t, s); !maps.Equal(got, want) {
		t.Errorf("there are %d keys, want %d", len(got), len(want))
	}
}

// Close commits what was written early, which needs the remote; without it the error says what is lost (Y10).
func TestEarly_Close(t *testing.T) {
	r := onRemote(t, 2, 100)
	must(t, r.store.Close())
	want := maps.Clone(r.versions[r.newest])
	for _, fails := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			g := newGated(r.remote)
			o := filledFrom(g)
			s, err := Open("elsewhere", o)
			must(t, err)
			must(t, s.Set([]byte("early"), []byte("value")))
			closed := make(chan error, 1)
			go func() { closed <- s.Close() }()
			synctest.Wait()
			select {
			case err := <-closed:
				t.Fatalf("Close has not waited: %v", err)
			default:
			}
			if fails {
				r.remote.Inject(remotetest.Fault{Verb: remotetest.Get, Mode: remotetest.Before, Sticky: true})
			} else {
				want["early"] = "value"
			}
			close(g.open)
			if err := <-closed; fails != errors.Is(err, ErrRemote) || !fails && err != nil {
				t.Errorf("Close: %v", err)
			}
			r.remote.Clear()
			if _, err := s.Get(nil, []byte("early")); err != ErrClosed {
				t.Errorf("a read afterwards: %v", err)
			}
			if err := s.Set([]byte("late"), nil); err != ErrClosed {
				t.Errorf("a write afterwards: %v", err)
			}
			s, err = Open("elsewhere", o)
			must(t, err)
			if got := live(t, s); !maps.Equal(got, want) {
				t.Errorf("fails %v: opened again there are %d keys, want %d", fails, len(got), len(want))
			}
			must(t, s.Close())
		})
	}
}

// A disk that refuses log when the early writes are moved is an error of all that waits, and no store with a part of them: they
// are moved when it takes log again, or Close says that they are lost.
func TestEarly_DiskFailsTheMove(t *testing.T) {
	const keys, many = 100, 3_000
	for _, recovers := range []bool{false, true} {
		r := onRemote(t, 2, keys)
		end := r.store.Metrics().LogTail
		must(t, r.store.Close())
		want := maps.Clone(r.versions[r.newest])
		synctest.Test(t, func(t *testing.T) {
			g := newGated(r.remote)
			o := filledFrom(g)
			disk := fsx.NewErr(o.FS)
			o.FS = disk
			s, err := Open("elsewhere", o)
			must(t, err)
			s.fill.early.limit = 2 * MinMemoryBytes // more than fits in memory
			for i := range many {
				must(t, s.Set(fmt.Appendf(nil, "early %d", i), make([]byte, 2_000)))
			}
			var faults []*fsx.Injection
			for n := range uint64(4) {
				faults = append(faults, disk.Inject(fsx.Fault{Class: fsx.ClassWrite, Sticky: true, Match: fmt.Sprintf("%012x.seg", end/uint64(o.SegmentBytes)+1+n)}))
			}
			close(g.open)
			if _, err := s.Versions(); err == nil {
				t.Error("all fits in memory")
			}
			if _, err := s.Checkpoint(context.Background()); err == nil {
				t.Error("a version of a part")
			}
			if !recovers {
				if err := s.Close(); err == nil || !strings.Contains(err.Error(), "what was written while the directory was filled from the remote is lost") {
					t.Errorf("Close does not say what is lost: %v", err)
				}
				if _, err := s.Get(nil, []byte("early 1")); err != ErrClosed {
					t.Errorf("a read afterwards: %v", err)
				}
			}
			for _, f := range faults {
				f.Clear()
			}
			if recovers {
				for s.ready(context.Background()) != nil {
					testkit.Pause(time.Second)
				}
				for i := range many {
					want[fmt.Sprintf("early %d", i)] = string(make([]byte, 2_000))
				}
				must(t, s.Close())
			}
			s, err = Open("elsewhere", o)
			must(t, err)
			if got := live(t, s); !maps.Equal(got, want) {
				t.Errorf("recovers %v: opened again there are %d keys, want %d", recovers, len(got), len(want))
			}
			must(t, s.Close())
		})
	}
}
