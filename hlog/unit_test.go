package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// openForUnits returns a store that waits for units as long as a test may take.
func openForUnits(t testing.TB, o *Options) *Store {
	t.Helper()
	s := mustOpen(t, t.TempDir(), o)
	s.units.patience = time.Hour
	return s
}

// busyUnit begins a unit that sets key to "in", and returns when it is under way. end lets it set key to "out" and returns
// when it has ended.
func busyUnit(t testing.TB, s *Store, key []byte) (end func()) {
	t.Helper()
	under, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		x := s.NewSession()
		defer x.Close()
		if err := x.Unit(func() error {
			err := x.Set(key, []byte("in"))
			close(under)
			<-goOn
			return errors.Join(err, x.Set(key, []byte("out")))
		}); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("unit: %v", err)
		}
	}()
	<-under
	end = sync.OnceFunc(func() {
		close(goOn)
		<-ended
	})
	t.Cleanup(end) // before the store is closed, however the test ends
	return end
}

// standsAt returns when a goroutine waits in a function.
func standsAt(t testing.TB, function string) {
	t.Helper()
	eventually(t, "a goroutine in "+function, func() bool { return testkit.Stands(function) })
}

// valueAt returns the value of a key in a version, "" if it has none.
func valueAt(t testing.TB, s *Store, v checkpoint.Version, key []byte) string {
	t.Helper()
	w, err := s.OpenVersion(context.Background(), v)
	must(t, err)
	defer w.Close()
	b, err := w.Get(nil, key)
	if err != nil && err != ErrNotFound {
		t.Fatal(err)
	}
	return string(b)
}

func TestUnit_ACutWaitsAndUnitsWaitForTheCut(t *testing.T) {
	s := openForUnits(t, tiny())
	end := busyUnit(t, s, key8(1))
	first := make(chan checkpoint.Version, 1)
	go func() { first <- commit(t, s) }()
	eventually(t, "the cut to wait for the unit", func() bool { return len(first) > 0 || testkit.Stands("units.(*Gate).Shut(") })

	must(t, s.Set(key8(2), []byte("single"))) // single operations wait for nothing
	second := make(chan error, 1)
	x := s.NewSession()
	defer x.Close()
	must(t, x.Set(key8(2), []byte("on a session")))
	go func() { second <- x.Unit(func() error { return x.Set(key8(3), []byte("later")) }) }()
	eventually(t, "a unit to wait for the cut", func() bool { return len(first)+len(second) > 0 || testkit.Stands("units.(*Gate).wait(") })
	select {
	case v := <-first:
		t.Fatalf("version %d is cut during a unit", v)
	case err := <-second:
		t.Fatalf("a unit has run while the gate was shut: %v", err)
	default:
	}
	end()
	v := <-first
	must(t, <-second)
	for i, want := range []string{1: "out", 2: "on a session", 3: ""} {
		if i > 0 && valueAt(t, s, v, key8(i)) != want {
			t.Errorf("version %d has %q of key %d, want %q", v, valueAt(t, s, v, key8(i)), i, want)
		}
	}
	if got, err := s.Get(nil, key8(3)); string(got) != "later" {
		t.Errorf("the unit that waited has left %q, %v", got, err)
	}
}

func TestUnit_ARestoreUndoesItWhole(t *testing.T) {
	s := openForUnits(t, tiny())
	must(t, s.Set(key8(1), []byte("before")))
	v := commit(t, s)
	end := busyUnit(t, s, key8(1))
	restored := make(chan error, 1)
	go func() {
		_, err := s.Restore(context.Background(), v)
		restored <- err
	}()
	eventually(t, "the restore to wait for the unit", func() bool { return len(restored) > 0 || testkit.Stands("units.(*Gate).Shut(") })
	end()
	must(t, <-restored)
	if got, _ := s.Get(nil, key8(1)); string(got) != "before" {
		t.Errorf("%q after the restore", got)
	}
}

// A unit that does not end lets nobody begin, and nobody hang (U4); whatever gives up has changed nothing.
func TestUnit_Busy(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	must(t, s.Set(key8(1), []byte("before")))
	v := commit(t, s)
	end := busyUnit(t, s, key8(1))
	defer end()
	control := s.control.Load()

	s.units.patience = time.Millisecond
	if _, err := s.BeginCheckpoint(); !errors.Is(err, ErrUnitBusy) {
		t.Errorf("BeginCheckpoint: %v", err)
	}
	if _, err := s.Checkpoint(context.Background(), WithVersion(v+5)); !errors.Is(err, ErrUnitBusy) {
		t.Errorf("Checkpoint: %v", err)
	}
	if _, err := s.Restore(context.Background(), v); !errors.Is(err, ErrUnitBusy) {
		t.Errorf("Restore: %v", err)
	}
	s.units.patience = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Checkpoint(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Checkpoint whose context has ended: %v", err)
	}
	if now := s.control.Load(); now != control {
		t.Errorf("the control word was %#x and is %#x", control, now)
	}
	if all, _ := s.Versions(); len(all) != 1 {
		t.Errorf("%d versions", len(all))
	}
	end()
	if got := commit(t, s); got != v+1 {
		t.Errorf("the next version is %d: an id was used up", got)
	}
	if got, _ := s.Get(nil, key8(1)); string(got) != "out" {
		t.Errorf("%q after the unit", got)
	}
}

// Calls that queue up behind one unit do not wait one after the other.
func TestUnit_BusyForManyAtOnce(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	end := busyUnit(t, s, key8(1))
	defer end()
	const calls = 8
	s.units.patience = 20 * time.Millisecond
	var all sync.WaitGroup
	s.cutMu.Lock() // until all have come
	for range calls {
		all.Go(func() {
			if _, err := s.BeginCheckpoint(); !errors.Is(err, ErrUnitBusy) {
				t.Error(err)
			}
		})
	}
	eventually(t, "all to wait for their turn", func() bool { return testkit.Stands("sync.(*Mutex).Lock", "hlog.(*Store).begin(") })
	s.cutMu.Unlock()
	all.Wait()
	if lost := time.Duration(s.units.lost.Load()); lost < s.units.patience {
		t.Errorf("the gate was shut in vain for %v, the first call alone waits for %v", lost, s.units.patience)
	}
	if rest := s.patienceWithUnits(0); rest > 0 {
		t.Errorf("a call that has waited all the while has %v left", rest)
	}
	if rest := s.patienceWithUnits(s.units.lost.Load()); rest != s.units.patience {
		t.Errorf("a call that comes later has %v", rest)
	}
}

// Others have units although one never ends and somebody tries to take a cut all the time.
func TestUnit_OthersGoOnBesideOneThatDoesNotEnd(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	end := busyUnit(t, s, key8(1))
	defer end()
	s.units.patience = 5 * time.Millisecond
	var ended atomic.Bool
	var cuts sync.WaitGroup
	cuts.Go(func() {
		for !ended.Load() {
			if _, err := s.BeginCheckpoint(); !errors.Is(err, ErrUnitBusy) {
				t.Error(err)
				return
			}
		}
	})
	within(t, "units beside one that does not end", func() {
		x := s.NewSession()
		defer x.Close()
		for range 20 {
			must(t, x.Unit(func() error { return x.Set(key8(2), nil) }))
		}
	})
	ended.Store(true)
	cuts.Wait()
}

// Options.CheckpointEvery leaves units alone for as long as it has kept them waiting.
func TestUnit_BusyForTheInterval(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	end := busyUnit(t, s, key8(1))
	defer end()
	s.units.patience = 50 * time.Millisecond
	began := time.Now()
	s.checkpointIfChanged()
	took, pause := time.Since(began), s.background.pause
	if pause.Before(began.Add(2*s.units.patience)) || pause.After(began.Add(2*took)) {
		t.Errorf("an attempt took %v, and the pause behind it ends %v after its beginning", took, pause.Sub(began))
	}
	s.background.pause = pause.Add(time.Hour)
	s.checkpointIfChanged()
	if n := s.counters.checkpointErrors.Load(); n != 1 {
		t.Errorf("%d attempts, want one", n)
	}
	s.background.pause = time.Time{}
	end()
	s.checkpointIfChanged()
	if all, _ := s.Versions(); len(all) != 1 {
		t.Errorf("%d versions", len(all))
	}
}

// Close commits no part of a unit, and does not hang (U6).
func TestUnit_Close(t *testing.T) {
	for _, ends := range []bool{false, true} {
		dir, o := t.TempDir(), tiny()
		s, err := Open(dir, o)
		must(t, err)
		must(t, s.Set(key8(1), []byte("before")))
		commit(t, s)
		end := busyUnit(t, s, key8(1))
		if s.units.patience = time.Millisecond; ends {
			s.units.patience = time.Hour
		}
		waiting := make(chan error)
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		want := error(ErrUnitBusy)
		if ends {
			standsAt(t, "units.(*Gate).Shut(")
			go func() {
				x := s.NewSession()
				waiting <- x.Unit(func() error { return errors.New("a unit of a closed store") })
			}()
			standsAt(t, "units.(*Gate).wait(")
			end()
			want = nil
		}
		if err := <-closed; !errors.Is(err, want) {
			t.Errorf("ends %v: Close: %v", ends, err)
		}
		if ends {
			if err := <-waiting; err != ErrClosed {
				t.Errorf("a unit that has waited: %v", err)
			}
		}
		end()
		x := s.NewSession()
		if err := x.Unit(func() error { return errors.New("a unit of a closed store") }); err != ErrClosed {
			t.Errorf("a unit after Close: %v", err)
		}
		s = mustOpen(t, dir, o)
		if got, _ := s.Get(nil, key8(1)); string(got) != map[bool]string{false: "before", true: "out"}[ends] {
			t.Errorf("ends %v: %q after reopening", ends, got)
		}
	}
}

// A unit that has changed nothing keeps Close from nothing.
func TestUnit_CloseWithNothingToCommit(t *testing.T) {
	s, err := Open(t.TempDir(), tiny())
	must(t, err)
	s.units.patience = time.Millisecond
	x := s.NewSession()
	must(t, x.Unit(func() error { return s.Close() }))
}

// Close does not wait for those who wait for units (G9).
func TestUnit_CloseWhileACutWaits(t *testing.T) {
	s := openForUnits(t, tiny())
	end := busyUnit(t, s, key8(1))
	begun := make(chan error)
	go func() {
		_, err := s.BeginCheckpoint()
		begun <- err
	}()
	standsAt(t, "units.(*Gate).Shut(")
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if err := <-begun; err != ErrClosed {
		t.Errorf("BeginCheckpoint: %v", err)
	}
	end()
	must(t, <-closed)
}

func TestUnit_EndsHoweverItsFunctionEnds(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	s.units.patience = 0 // a unit that is under way is noticed at once
	x := s.NewSession()
	wrong := errors.New("wrong")
	if err := x.Unit(func() error { must(t, x.Set(key8(1), []byte("a"))); return wrong }); err != wrong {
		t.Errorf("an error: %v", err)
	}
	commit(t, s)
	func() {
		defer func() {
			if r := recover(); r != wrong {
				t.Errorf("recovered %v", r)
			}
		}()
		x.Unit(func() error { must(t, x.Set(key8(2), []byte("b"))); panic(wrong) })
	}()
	commit(t, s)
	var gone sync.WaitGroup
	gone.Go(func() {
		x.Unit(func() error { must(t, x.Set(key8(3), []byte("c"))); runtime.Goexit(); return nil })
	})
	gone.Wait()
	v := commit(t, s)
	for i, want := range []string{1: "a", 2: "b", 3: "c"} {
		if i > 0 && valueAt(t, s, v, key8(i)) != want {
			t.Errorf("what ran before the end is undone: key %d is %q", i, valueAt(t, s, v, key8(i)))
		}
	}
	must(t, x.Unit(func() error {
		if err := x.Unit(func() error { return errors.New("within") }); err != ErrUnitNested {
			t.Errorf("a unit within a unit: %v", err)
		}
		if _, err := s.BeginCheckpoint(); !errors.Is(err, ErrUnitBusy) {
			t.Errorf("the unit has ended with the one that was refused: %v", err)
		}
		must(t, x.Close())
		commit(t, s)
		return nil
	}))
	if err := x.Unit(func() error { return wrong }); err != ErrClosed {
		t.Errorf("a unit of a closed session: %v", err)
	}
	y := s.NewSession()
	must(t, y.Unit(func() error { return nil }))
	must(t, y.Close())
	commit(t, s)
}

// A session that is forgotten within a unit is collected like any other.
func TestUnit_OfAForgottenSession(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	s.units.patience = 0
	func() {
		x := s.NewSession()
		must(t, x.beginUnit())
	}()
	eventually(t, "the session to be collected", func() bool {
		runtime.GC()
		_, err := s.BeginCheckpoint()
		return err == nil
	})
}

// What the operations of a unit wait for does not wait for the cut that waits for the unit (U5): it writes several times
// the memory and reads it back from the disk, while a checkpoint waits, compaction runs and others write.
func TestUnit_WaitsForNothingThatWaitsForTheGate(t *testing.T) {
	s := openForUnits(t, tiny())
	x := s.NewSession()
	defer x.Close()
	const n = 2000
	value := make([]byte, 1000)
	for i := range n {
		must(t, s.Set(key8(i), value))
	}
	commit(t, s)
	begun := make(chan error)
	err := x.Unit(func() error {
		go func() {
			_, err := s.BeginCheckpoint()
			begun <- err
		}()
		standsAt(t, "units.(*Gate).Shut(")
		var others sync.WaitGroup
		others.Go(func() { must(t, s.Compact(context.Background())) })
		others.Go(func() {
			y := s.NewSession()
			defer y.Close()
			spill(t, y, 2*MinMemoryBytes)
		})
		spill(t, x, 4*MinMemoryBytes)
		for i := range n {
			if _, err := x.Get(nil, key8(i)); err != nil {
				return err
			}
			if err := x.RMW(key8(i), func(old []byte) []byte { return old[:len(old)-1] }); err != nil {
				return err
			}
		}
		others.Wait()
		return nil
	})
	must(t, err)
	must(t, <-begun)
}

// The two counters of a pair are moved in opposite directions in one unit: their sum is zero in every version, in every
// state that a restore brings back, and after reopening.
func TestUnit_PairsAreWholeInEveryVersion(t *testing.T) {
	dir, o := t.TempDir(), tiny()
	o.KeepVersions = 100
	s, err := Open(dir, o)
	must(t, err)
	s.units.patience = time.Hour
	const pairs = 3000 // more than memory holds with their filling
	type counter struct {
		n int64
		_ [200]byte
	}
	var ended atomic.Bool
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			x := s.NewSession()
			defer x.Close()
			table, err := NewTable[uint64, counter](x)
			must(t, err)
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for !ended.Load() {
				k, d := rng.Uint64N(pairs), rng.Int64N(100)
				if err := x.Unit(func() error {
					return errors.Join(
						table.Update(2*k, func(c *counter, _ bool) { c.n += d }),
						table.Update(2*k+1, func(c *counter, _ bool) { c.n -= d }))
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var versions []checkpoint.Version
	for i := range testkit.Scaled(15, 40, 100, 1000) {
		versions = append(versions, commit(t, s))
		if i%5 == 4 {
			_, err := s.Restore(context.Background(), versions[i-3])
			must(t, err)
		}
	}
	ended.Store(true)
	workers.Wait()
	must(t, s.Close())
	s = mustOpen(t, dir, o)
	infos, err := s.Versions()
	must(t, err)
	for _, info := range infos {
		w, err := s.OpenVersion(context.Background(), info.Version)
		must(t, err)
		sums := make([]int64, pairs)
		must(t, w.Scan(context.Background(), func(key, value []byte) bool {
			sums[binary.NativeEndian.Uint64(key)/2] += int64(binary.NativeEndian.Uint64(value))
			return true
		}))
		must(t, w.Close())
		for k, sum := range sums {
			if sum != 0 {
				t.Fatalf("version %d has a part of a unit: the sum of pair %d is %d", info.Version, k, sum)
			}
		}
	}
	if len(infos) < 10 {
		t.Errorf("only %d versions were looked at", len(infos))
	}
}
