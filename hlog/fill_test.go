package hlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// filledFrom returns options with which an empty directory is filled behind the first reads.
func filledFrom(r checkpoint.Remote) *Options {
	o := tiny()
	o.Remote, o.KeepVersions = r, 2
	return o
}

// gated is a remote whose fill can be stopped: the job begins by reading STORE, which Open has read before. What reads ask for
// is not stopped.
type gated struct {
	checkpoint.Remote
	stores atomic.Int64
	begun  atomic.Pointer[time.Time] // when the fill has
	open   chan struct{}             // closed: nothing is stopped
}

func newGated(r checkpoint.Remote) *gated { return &gated{Remote: r, open: make(chan struct{})} }

func (g *gated) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if name == "STORE" && g.stores.Add(1) > 1 {
		now := time.Now()
		g.begun.CompareAndSwap(nil, &now)
		select {
		case <-g.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g.Remote.Get(ctx, name, off, n)
}

// live returns what a scan of a store finds.
func live(t testing.TB, s *Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, s.Scan(context.Background(), func(key, value []byte) bool {
		all[string(key)] = string(value)
		return true
	}))
	return all
}

// wantAll requires single gets of keys, those that are not there included, to find a state.
func wantAll(t testing.TB, s *Store, want map[string]string, keys, step int) {
	t.Helper()
	for i := 0; i < keys; i += step {
		key := fmt.Sprintf("key %06d", i)
		got, err := s.Get(nil, []byte(key))
		value, there := want[key]
		if there && (err != nil || string(got) != value) || !there && err != ErrNotFound {
			t.Fatalf("%s: %.20q, %v, want %.20q, %v", key, got, err, value, there)
		}
	}
}

// An empty machine serves its first read after few answers of the remote, whatever the size, while the rest comes behind. When
// all is here the remote may go away.
func TestFill_FirstRead(t *testing.T) {
	for _, keys := range []int{100, testkit.UnderRace(3_000, 10_000)} {
		r := onRemote(t, 4, keys)
		must(t, r.store.Close())
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGated(remotetest.NewDistant(r.remote))
				close(g.open)
				o := filledFrom(g)
				var mu sync.Mutex
				var told [][2]int64
				o.Events.Fetched = func(done, total int64) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, [2]int64{done, total})
				}
				began := time.Now()
				s, err := Open("elsewhere", o)
				must(t, err)
				value, err := s.Get(nil, []byte("key 000004"))
				must(t, err)
				served := time.Now()
				trips := served.Sub(began) / remotetest.Trip
				left := s.Metrics().FetchLeft
				t.Logf("%d keys: the first read after %d round trips, %d bytes to come", keys, trips, left)
				if want := r.versions[r.newest]["key 000004"]; trips > 8 || left == 0 || string(value) != want {
					t.Errorf("%d keys: %d round trips, %d bytes to come, %q, want %q", keys, trips, left, value, want)
				}
				if i, ok := s.Current(); !ok || i.Version != r.newest || i.Place != checkpoint.OnRemote {
					t.Errorf("meanwhile it is at %+v, %v", i, ok)
				}
				must(t, s.ready(context.Background()))
				if at := g.begun.Load(); at == nil || at.Before(served) {
					t.Errorf("the fill has not stood back for the first read: it has begun at %v, the read was served at %v", at, served)
				}
				if left := s.Metrics().FetchLeft; left != 0 {
					t.Errorf("%d bytes to come when it is whole", left)
				}
				r.remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: remotetest.Before, Sticky: true})
				wantAll(t, s, r.versions[r.newest], keys, 7)
				r.remote.Clear()
				commit(t, s)
				must(t, s.Close())
				if last := told[len(told)-1]; last[0] != last[1] || len(told) < 2 || told[0][0] == 0 {
					t.Errorf("events told of %v", told)
				}
			})
		})
	}
}

// While the rest comes, every kind of operation on keys is served, and what is not one waits, and is done when it is there.
func TestFill_OperationsAreServedAndAllElseWaits(t *testing.T) {
	keys := testkit.UnderRace(300, 2_000)
	r := onRemote(t, 3, keys)
	want := maps.Clone(r.versions[r.newest])
	must(t, r.store.Set(key8(7), key8(8)))
	r.newest = commit(t, r.store)
	must(t, r.store.copies.mirror.PutHint(context.Background()))
	must(t, r.store.Close())
	g := newGated(r.remote)
	s := mustOpen(t, "elsewhere", filledFrom(g))
	x := s.NewSession()
	defer x.Close()
	wantAll(t, s, want, keys, 11)
	table, err := NewTable[[8]byte, [8]byte](x)
	must(t, err)
	if v, ok, err := table.Get([8]byte(key8(7))); err != nil || !ok || v != [8]byte(key8(8)) {
		t.Errorf("a table has %v, %v, %v", v, ok, err)
	}
	words, err := NewTable[uint64, uint64](x)
	must(t, err)
	values, found := make([]uint64, 2), make([]bool, 2)
	must(t, words.MultiGet([]uint64{1, 7 << 56}, values, found))
	if found[0] || !found[1] || values[1] != 8<<56 {
		t.Errorf("many words: %v, %x", found, values)
	}
	x.Prefetch([][]byte{key8(7)})
	n := 0
	must(t, x.MultiGet([][]byte{[]byte("key 000004"), []byte("none")}, func(i int, value []byte, err error) {
		if n++; i == 0 && string(value) != want["key 000004"] || i == 1 && err != ErrNotFound {
			t.Errorf("key %d of many: %q, %v", i, value, err)
		}
	}))
	if n != 2 {
		t.Errorf("MultiGet has answered %d times", n)
	}
	if err := s.Set(nil, nil); err != ErrEmptyKey {
		t.Errorf("an empty key: %v", err)
	}
	if err := s.Set([]byte("k"), make([]byte, MinPageBytes)); err != ErrTooLarge {
		t.Errorf("a value that is too large: %v", err)
	}

	ctx := context.Background()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for what, call := range map[string]func() error{
		"Scan":        func() error { return s.Scan(ended, nil) },
		"Checkpoint":  func() error { _, err := s.Checkpoint(ended); return err },
		"Restore":     func() error { _, err := s.Restore(ended, 0); return err },
		"OpenVersion": func() error { _, err := s.OpenVersion(ended, 0); return err },
		"Purge":       func() error { return s.Purge(ended, 1) },
		"Compact":     func() error { return s.Compact(ended) },
		"Changes":     func() error { return s.Changes(ended, 0, 0, nil) },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that has ended: %v", what, err)
		}
	}
	served := map[string]func() error{
		"Set":    func() error { return s.Set([]byte("set"), nil) },
		"RMW":    func() error { return s.RMW([]byte("rmw"), func([]byte) []byte { return []byte{1} }) },
		"Delete": func() error { return s.Delete([]byte("key 000004")) },
		"Unit": func() error {
			y := s.NewSession()
			defer y.Close()
			return y.Unit(func() error { return y.Set([]byte("unit"), nil) })
		},
		"MultiSet": func() error {
			y := s.NewSession()
			defer y.Close()
			return y.MultiSet([][]byte{[]byte("many")}, [][]byte{nil})
		},
		"Update": func() error {
			y := s.NewSession()
			defer y.Close()
			u, err := NewTable[uint64, uint64](y)
			if err != nil {
				return err
			}
			return u.MultiUpdate([]uint64{1}, func(_ int, v *uint64, _ bool) { *v = 1 })
		},
	}
	for what, call := range served {
		within(t, what, func() { must(t, call()) })
	}
	delete(want, "key 000004")
	for _, key := range []string{"set", "unit", "many"} {
		want[key] = ""
	}
	want["rmw"], want[string(key8(7))] = "\x01", string(key8(8))
	one := string([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	want[one] = one
	wantAll(t, s, want, keys, 29)
	wantAll(t, s, want, 8, 4) // the one that was deleted
	if v, ok, err := words.Get(1); err != nil || !ok || v != 1 {
		t.Errorf("a table has what was written early as %d, %v, %v", v, ok, err)
	}
	var began atomic.Bool
	var all sync.WaitGroup
	for what, call := range map[string]func() error{
		"Versions": func() error { _, err := s.Versions(); return err },
		"Begin":    func() error { _, err := s.BeginCheckpoint(); return err },
	} {
		all.Go(func() {
			if err := call(); err != nil || !began.Load() {
				t.Errorf("%s: %v; it has waited: %v", what, err, began.Load())
			}
		})
	}
	eventually(t, "somebody to wait", func() bool { return testkit.Stands("filling).wait") })
	began.Store(true)
	close(g.open)
	all.Wait()
	if got := live(t, s); !maps.Equal(got, want) {
		t.Errorf("%d keys in the end, want %d", len(got), len(want))
	}
	if v, ok, err := words.Get(1); err != nil || !ok || v != 1 {
		t.Errorf("a session from before has %d, %v, %v", v, ok, err)
	}
}

// Readers go on through the moment at which the store has all of its own; none sees a value that was overwritten before it
// began to read (Y5).
func TestFill_ReadsGoOnWhenItIsWhole(t *testing.T) {
	for range testkit.UnderRace(3, 10) {
		r := onRemote(t, 2, 50)
		must(t, r.store.Close())
		g := newGated(r.remote)
		s := mustOpen(t, "elsewhere", filledFrom(g))
		want := r.versions[r.newest]["key 000003"]
		var written, whole atomic.Bool
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				x := s.NewSession()
				defer x.Close()
				for over := false; !over; {
					after := written.Load()
					over = whole.Load()
					got, err := x.Get(nil, []byte("key 000003"))
					if err != nil || string(got) != "new" && (after || string(got) != want) {
						t.Errorf("%q, %v; overwritten before: %v", got, err, after)
						return
					}
				}
			})
		}
		close(g.open)
		must(t, s.Set([]byte("key 000003"), []byte("new")))
		written.Store(true)
		must(t, s.ready(t.Context()))
		whole.Store(true)
		readers.Wait()
		must(t, s.Close())
	}
}

// A remote that fails while the rest comes is an error of what waits for it, and no wrong value; when it is back, the fill goes on.
func TestFill_RemoteFails(t *testing.T) {
	keys := testkit.UnderRace(200, 1_000)
	r := onRemote(t, 3, keys)
	must(t, r.store.Close())
	want := r.versions[r.newest]
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.Partial, remotetest.Truncate, remotetest.Block} {
		synctest.Test(t, func(t *testing.T) { // pauses and time-outs take no time
			g := newGated(r.remote)
			o := filledFrom(g)
			o.OpenTimeout = time.Minute
			s, err := Open("elsewhere", o)
			must(t, err)
			r.remote.Inject(remotetest.Fault{Verb: remotetest.Get, Mode: mode, Sticky: true})
			close(g.open)
			if _, err := s.Versions(); !errors.Is(err, ErrRemote) {
				t.Errorf("mode %d: who waits gets %v", mode, err)
			}
			must(t, s.Set([]byte("k"), []byte("early"))) // for which nothing has to be read
			if err := s.RMW([]byte("none"), func([]byte) []byte { return nil }); err != nil && !errors.Is(err, ErrRemote) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("mode %d: an update: %v", mode, err)
			}
			for i := 0; i < keys; i += 31 {
				key := fmt.Sprintf("key %06d", i)
				got, err := s.Get(nil, []byte(key))
				value, there := want[key]
				switch {
				case err == nil && string(got) == value && there, err == ErrNotFound && !there:
				case !errors.Is(err, ErrRemote) && !errors.Is(err, ErrCorrupt):
					t.Errorf("mode %d: %s: %q, %v, want %q", mode, key, got, err, value)
				}
			}
			if m := s.Metrics(); m.RemoteError == "" || m.FetchLeft == 0 {
				t.Errorf("mode %d: metrics say %q, %d bytes to come", mode, m.RemoteError, m.FetchLeft)
			}
			r.remote.Clear()
			for s.ready(context.Background()) != nil {
				testkit.Pause(time.Second)
			}
			if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "early" {
				t.Errorf("mode %d: what was written meanwhile is %q, %v", mode, got, err)
			}
			wantAll(t, s, want, keys, 7)
			if m := s.Metrics(); m.RemoteError != "" || m.FetchLeft != 0 {
				t.Errorf("mode %d: in the end metrics say %q, %d bytes to come", mode, m.RemoteError, m.FetchLeft)
			}
			must(t, s.Close())
		})
	}
}

// A version that is purged while it is fetched is an error that says so, of what needs more of it; the next Open takes the new one.
func TestFill_PurgedUnderIt(t *testing.T) {
	const keys = 2_000
	r := onRemote(t, 2, keys)
	old := r.versions[r.newest]
	g := newGated(r.remote)
	o := filledFrom(g)
	s := mustOpen(t, "elsewhere", o)
	for range 3 { // and KeepVersions is 2
		for i := range keys {
			must(t, r.store.Set(fmt.Appendf(nil, "key %06d", i), []byte("new")))
		}
		must(t, r.store.Compact(context.Background()))
		r.newest = commit(t, r.store)
	}
	must(t, r.store.Close()) // what was purged is gone then
	close(g.open)
	_, waits := s.Versions()
	for what, err := range map[string]error{"who waits": waits, "a write": s.Set([]byte("k"), nil)} { // which would never be durable
		if !errors.Is(err, ErrRemote) || !errors.Is(err, ErrVersionNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	failed := 0
	for i := 0; i < keys; i += 3 {
		key := fmt.Sprintf("key %06d", i)
		got, err := s.Get(nil, []byte(key))
		switch value, there := old[key]; {
		case err == nil && string(got) == value && there, err == ErrNotFound && !there:
		case errors.Is(err, ErrRemote) && errors.Is(err, ErrVersionNotFound):
			failed++
		default:
			t.Fatalf("%s: %q, %v, want %q", key, got, err, value)
		}
	}
	if failed == 0 {
		t.Error("all was in memory")
	}
	must(t, s.Close())
	if got, err := mustOpen(t, "elsewhere", o).Get(nil, []byte("key 000003")); err != nil || string(got) != "new" {
		t.Errorf("opened again: %q, %v", got, err)
	}
}

// Close does not wait for the rest. Without the remote the directory is no store then, and not an empty one; with it the next
// Open goes on.
func TestFill_Close(t *testing.T) {
	keys := testkit.UnderRace(200, 1_000)
	r := onRemote(t, 2, keys)
	must(t, r.store.Close())
	g := newGated(r.remote)
	o := filledFrom(g)
	s := mustOpen(t, "elsewhere", o)
	x := s.NewSession()
	wantAll(t, s, r.versions[r.newest], keys, 50)
	waiting := make(chan error, 1)
	go func() { _, err := s.Versions(); waiting <- err }()
	eventually(t, "somebody to wait", func() bool { return testkit.Stands("filling).wait") })
	within(t, "Close", func() { must(t, s.Close()) })
	if err := <-waiting; err != ErrClosed {
		t.Errorf("who has waited: %v", err)
	}
	_, missing := s.Get(nil, []byte("key 000003"))
	_, late := x.Get(nil, []byte("key 000003"))
	_, versions := s.Versions()
	for what, err := range map[string]error{"Close": s.Close(), "Get": missing, "Get of a session": late, "Set": x.Set([]byte("k"), nil),
		"Unit": x.Unit(func() error { return nil }), "Versions": versions, "Scan": s.Scan(context.Background(), nil)} {
		if err != ErrClosed {
			t.Errorf("%s of a closed store: %v", what, err)
		}
	}
	s.Metrics()
	must(t, x.Close())
	alone := *o
	alone.Remote = nil
	if _, err := Open("elsewhere", &alone); !errors.Is(err, ErrRemote) {
		t.Errorf("opened without the remote: %v", err)
	}
	r.remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: remotetest.Before, Sticky: true})
	hasty := *o
	hasty.OpenTimeout = 100 * time.Millisecond
	if _, err := Open("elsewhere", &hasty); !errors.Is(err, ErrRemote) {
		t.Errorf("opened while the remote fails: %v", err)
	}
	r.remote.Clear()
	close(g.open)
	s = mustOpen(t, "elsewhere", o)
	if got := live(t, s); !maps.Equal(got, r.versions[r.newest]) {
		t.Errorf("opened again: %d keys, want %d", len(got), len(r.versions[r.newest]))
	}
	must(t, s.Close())
	wantAll(t, mustOpen(t, "elsewhere", &alone), r.versions[r.newest], keys, 9)
}

// overtaken is a remote on which somebody else is quicker than the first put-if-absent.
type overtaken struct {
	checkpoint.Remote
	quicker func()
}

func (o *overtaken) PutIfAbsent(ctx context.Context, name string, data []byte) (bool, error) {
	if f := o.quicker; f != nil {
		o.quicker = nil
		f()
	}
	return o.Remote.PutIfAbsent(ctx, name, data)
}

// A claim of the remote comes before the version is chosen that reads and the fill are of; a store with an older epoch is
// refused before anything is made.
func TestFill_Claims(t *testing.T) {
	r := onRemote(t, 2, 100)
	o := filledFrom(&overtaken{r.remote, func() {
		must(t, r.store.Set([]byte("k"), []byte("one")))
		commit(t, r.store)
	}})
	o.RemoteEpoch = 2
	s := mustOpen(t, "two", o)
	if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "one" {
		t.Errorf("the last version before the claim has %q, %v", got, err)
	}
	must(t, s.ready(t.Context()))
	if _, err := commitValue(t, r.store, "late"); !errors.Is(err, ErrFenced) {
		t.Errorf("whoever was there before: %v", err)
	}
	if err := r.store.Close(); !errors.Is(err, ErrFenced) {
		t.Errorf("it closes with %v", err)
	}
	must(t, s.Set([]byte("k"), []byte("two")))
	commit(t, s)
	must(t, s.Close())
	o = filledFrom(r.remote)
	o.RemoteEpoch = 1
	if _, err := Open("one", o); !errors.Is(err, ErrFenced) {
		t.Errorf("an older epoch: %v", err)
	}
	o.RemoteEpoch = 3
	s = mustOpen(t, "one", o)
	if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	must(t, s.Set([]byte("k"), []byte("three")))
	commit(t, s)
}

// After a crash at any call on the disk the directory has all or is no store, and the next Open with the remote has all. What was
// written early is there if Close has returned nil, and otherwise as a whole or not at all.
func TestFill_CrashAtEveryCall(t *testing.T) {
	keys := testkit.UnderRace(60, 200)
	r := onRemote(t, 2, keys)
	must(t, r.store.Close())
	want := r.versions[r.newest]
	step := int64(testkit.UnderRace(17, testkit.Scaled(5, 3, 3, 1)))
	early := []string{"early", "key 000004"}
	later := maps.Clone(want)
	for _, key := range early {
		later[key] = "early"
	}
	states, whole, committed := 0, 0, 0
	copyOf := func(dir string) (string, checkpoint.Remote) {
		to := t.TempDir()
		must(t, os.CopyFS(to, os.DirFS(dir)))
		remote, err := checkpoint.NewDirRemote(to)
		must(t, err)
		return to, remote
	}
	for k := int64(1); ; k += step {
		dir, remote := copyOf(r.dir)
		o := filledFrom(remote)
		disk := o.FS.(*fsx.CrashFS)
		disk.CrashAt(k)
		s, err := Open("elsewhere", o)
		if err == nil {
			for _, key := range early {
				must(t, s.Set([]byte(key), []byte("early")))
			}
			err = s.Close()
		}
		for _, c := range []fsx.Crash{{Keep: fsx.KeepNone}, {Keep: fsx.KeepAll}, {Keep: fsx.KeepSubset, Seed: rand.Uint64()}} {
			states++
			o.FS = disk.Clone(c)
			_, o.Remote = copyOf(dir)
			alone := *o
			alone.Remote, alone.ReadOnly = nil, true
			if s, err := Open("elsewhere", &alone); err == nil {
				whole++
				if got := live(t, s); !maps.Equal(got, want) && !maps.Equal(got, later) {
					t.Fatalf("crash %v at call %d: %d keys without the remote, want %d", c, k, len(got), len(want))
				}
				must(t, s.Close())
			}
			s, reopened := Open("elsewhere", o)
			if reopened != nil {
				t.Fatalf("crash %v at call %d: %v", c, k, reopened)
			}
			got := live(t, s)
			switch {
			case maps.Equal(got, later):
				committed++
			case !maps.Equal(got, want) || err == nil:
				t.Fatalf("crash %v at call %d: %d keys, want %d", c, k, len(got), len(want))
			}
			must(t, s.Close())
		}
		if err == nil && !disk.Crashed() {
			break
		}
	}
	if whole == 0 || whole == states || committed == 0 || committed == states {
		t.Errorf("%d of %d crashes left a whole store, %d what was written early", whole, states, committed)
	}
	t.Logf("%d crash states", states)
}
