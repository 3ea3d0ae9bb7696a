package enginetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

func (s Subject) faults(t *testing.T) {
	t.Run("ErrorAtEveryCall", s.errorEverywhere)
	t.Run("FailedSyncIsNotLaundered", s.failedSync)
	t.Run("FullDisk", s.fullDisk)
}

// errorEverywhere runs a script with an error at calls of every class, once and for ever; at every one with
// HLOG_FUZZ=long.
func (s Subject) errorEverywhere(t *testing.T) {
	classes := []fsx.Class{
		fsx.ClassRead, fsx.ClassWrite, fsx.ClassSync, fsx.ClassTruncate, fsx.ClassSize, fsx.ClassOpen, fsx.ClassRename,
		fsx.ClassRemove, fsx.ClassList, fsx.ClassSyncDir,
	}
	most := int64(scaled(10))
	runs, fired := 0, int64(0)
	for _, class := range classes {
		var calls int64
		if err := s.faultScript(func(e *fsx.ErrFS) {}, func(e *fsx.ErrFS) { calls = e.Count(class) }); err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		for nth := int64(1); nth <= calls; nth += max(1, calls/most) {
			for _, f := range []fsx.Fault{
				{Class: class, Nth: nth}, {Class: class, Nth: nth, Sticky: true}, {Class: class, Nth: nth, After: true},
				{Class: class, Nth: nth, Err: syscall.ENOSPC, Short: 100},
			} {
				if f.Short > 0 && class != fsx.ClassWrite {
					continue
				}
				var in *fsx.Injection
				err := s.faultScript(func(e *fsx.ErrFS) { in = e.Inject(f) }, func(*fsx.ErrFS) { in.Clear() })
				runs++
				fired += min(in.Fired(), 1)
				if err != nil {
					t.Fatalf("with %+v: %v", f, err)
				}
			}
		}
	}
	testkit.Counted(t, "%d runs, %d with an error", runs, fired)
	if fired == 0 {
		t.Error("no error was ever injected: does the engine use Options.FS?")
	}
}

// trial is a run of the fault script: what the store should hold, as far as the errors leave that certain.
type trial struct {
	s     Subject
	o     compare.Options
	e     compare.Engine
	m     state
	w     *witness
	keys  []string
	burnt []uint64 // versions whose snapshot failed
}

// faultScript has start put the faults to work, does a bit of everything, has stop take them away, and checks that errors
// were told, and nothing else was lost.
func (s Subject) faultScript(start, stop func(*fsx.ErrFS)) error {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	faulty := fsx.NewErr(disk)
	tr := &trial{s: s, o: s.durable(faulty), m: state{}, w: newWitness(), keys: names(40)}
	tr.o.MaxRuns = 2
	start(faulty)
	if err := tr.run(rand.New(rand.NewPCG(11, 4))); err != nil {
		return err
	}
	stop(faulty)
	if err := tr.mend(); err != nil {
		return fmt.Errorf("after the faults: %w", err)
	}
	disk.CrashNow()
	return s.check(tr.w, disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), tr.keys)
}

func (tr *trial) run(r *rand.Rand) error {
	next := uint64(0)
	for step := range 14 {
		if tr.e == nil && !tr.open() {
			continue
		}
		for range 20 {
			if err := tr.write(tr.keys[r.IntN(len(tr.keys))], step, r); err != nil {
				return err
			}
		}
		var err error
		switch step % 7 {
		case 1, 2, 4:
			next++
			err = tr.commit(tr.m, next, func() error { return tr.e.Snapshot(next) })
		case 3, 5:
			if len(tr.w.versions) == 0 {
				break
			}
			v := slices.Sorted(maps.Keys(tr.w.versions))[r.IntN(len(tr.w.versions))]
			err = tr.commit(tr.w.versions[v], 0, func() error { return tr.e.Restore(v) })
		case 6:
			err = tr.close()
		}
		if err != nil {
			return err
		}
		if err := tr.compare(); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	return nil
}

// open reports whether the engine opens. If it does, it must be in a state that is right, which is the one from now on.
func (tr *trial) open() bool {
	e, err := compare.Open(tr.s.Kind, "/data/store", tr.o)
	if err != nil {
		return false
	}
	tr.e = e
	return true
}

// write sets a key, which has the old or the new value after an error.
func (tr *trial) write(key string, step int, r *rand.Rand) error {
	v := value(key, step, r.IntN(90))
	if r.IntN(4) == 0 {
		v = ""
	}
	before := tr.m[key]
	err := tr.e.Set([]byte(key), []byte(v))
	if err == nil || tr.s.Replays {
		after := maps.Clone(tr.m)
		after.set(key, v)
		if tr.s.Replays {
			tr.w.begin(after)
		}
		if err == nil {
			tr.m = after
			return nil
		}
	}
	if got, getErr := tr.e.Get([]byte(key)); getErr == nil && string(got) != before && string(got) != v {
		return fmt.Errorf("after a failed set (%v) key %q is %q, was %q", err, key, got, before)
	} else if getErr == nil {
		tr.m.set(key, string(got))
	}
	return nil
}

// commit runs a snapshot or restore that may fail.
func (tr *trial) commit(target state, version uint64, do func() error) error {
	tr.w.begin(target)
	switch err := do(); {
	case err == nil:
		tr.w.end(target, version)
		tr.m = maps.Clone(target)
	case errors.Is(err, compare.ErrVersionNotFound), errors.Is(err, compare.ErrVersionOrder):
		return err
	case version != 0:
		tr.burnt = append(tr.burnt, version)
	}
	return nil
}

// close closes the engine. When that fails, what was not committed may be lost.
func (tr *trial) close() error {
	tr.w.begin(tr.m)
	if err := tr.e.Close(); err == nil {
		tr.w.end(tr.m, 0)
	}
	tr.e = nil
	if !tr.open() {
		return nil
	}
	got, err := read(tr.e, tr.keys)
	if err != nil {
		return tr.forget()
	}
	if !slices.ContainsFunc(tr.w.may, func(m state) bool { return maps.Equal(m, got) }) {
		return fmt.Errorf("after a close and open the state is none of %d that are right; against the newest: %s",
			len(tr.w.may), difference(got, tr.w.may[len(tr.w.may)-1], tr.keys))
	}
	tr.m = got
	return nil
}

// forget closes an engine that cannot be read yet.
func (tr *trial) forget() error {
	tr.e.Close()
	tr.e = nil
	return nil
}

// compare checks that every key that can be read has its value, and that no failed version can be restored.
func (tr *trial) compare() error {
	if tr.e == nil {
		return nil
	}
	for _, k := range tr.keys {
		got, err := tr.e.Get([]byte(k))
		if err == nil && string(got) != tr.m[k] {
			return fmt.Errorf("key %q is %q, want %q", k, got, tr.m[k])
		}
	}
	return nil
}

// mend brings the engine back to work without faults.
func (tr *trial) mend() error {
	if tr.e == nil {
		if !tr.open() {
			_, err := compare.Open(tr.s.Kind, "/data/store", tr.o)
			return fmt.Errorf("open: %w", err)
		}
		got, err := read(tr.e, tr.keys)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(tr.w.may, func(m state) bool { return maps.Equal(m, got) }) {
			return errors.New("the state is none that is right")
		}
		tr.m = got
	}
	got, err := read(tr.e, tr.keys)
	if err != nil {
		return err
	}
	if d := difference(got, tr.m, tr.keys); d != "" {
		return errors.New(d)
	}
	for _, v := range tr.burnt {
		if err := tr.e.Restore(v); !errors.Is(err, compare.ErrVersionNotFound) {
			return fmt.Errorf("restore of version %d, whose snapshot had failed: %w", v, err)
		}
	}
	tr.w.begin(tr.m)
	if err := tr.e.Snapshot(1000); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	tr.w.end(tr.m, 1000)
	return tr.e.Close()
}

// failedSync has syncs fail once, dropping what they should have made durable, and then succeed.
func (s Subject) failedSync(t *testing.T) {
	for failAt := range 12 {
		disk := fsx.NewCrash(fsx.CrashOptions{})
		o := s.durable(disk)
		e, m, keys := s.openWith(t, "/data/store", o), state{}, names(30)
		w := newWitness()
		for v := uint64(1); v <= 12; v++ {
			for i := range 30 {
				k := keys[(i*7+int(v))%len(keys)]
				set(t, e, m, k, value(k, int(v), 40))
			}
			if int(v) == failAt+1 {
				disk.FailSync(fsx.SyncFailOnce, []string{"", "L*", "*.tmp", "store"}[failAt%4])
			}
			w.begin(m)
			if err := e.Snapshot(v); err == nil {
				w.end(m, v)
			} else if errors.Is(e.Restore(v), nil) {
				t.Fatalf("version %d is there, though its snapshot failed: %v", v, err)
			}
			if err := s.check(w, disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), keys); err != nil {
				t.Fatalf("power lost after snapshot %d, with syncs failing from %d on: %v", v, failAt+1, err)
			}
		}
		disk.FailSync(fsx.SyncHonest, "")
		if len(w.versions) == 0 {
			t.Fatal("no version was committed")
		}
	}
}

// fullDisk runs out of space, and goes on when there is space again.
func (s Subject) fullDisk(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	o := s.durable(disk)
	e, m, keys := s.openWith(t, "/data/store", o), state{}, names(300)
	for _, k := range keys[:100] {
		set(t, e, m, k, value(k, 0, 50))
	}
	snapshot(t, e, 1)
	w := newWitness()
	w.end(m, 1)
	disk.SetSpace(disk.Used() + 16<<10)
	full, v := false, uint64(1)
	for n := 1; n < 400 && !full; n++ {
		for i := range 200 {
			k := keys[(i+n)%len(keys)]
			if err := e.Set([]byte(k), []byte(value(k, n, 400))); err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("set on a full disk: %v", err)
				}
				full = true
				break
			}
			m.set(k, value(k, n, 400))
		}
		verify(t, e, m, keys)
		v++
		w.begin(m)
		switch err := e.Snapshot(v); {
		case err == nil:
			w.end(m, v)
		case !errors.Is(err, syscall.ENOSPC):
			t.Fatalf("snapshot on a full disk: %v", err)
		default:
			full = true
		}
	}
	if !full {
		t.Fatal("the disk never got full")
	}
	verify(t, e, m, keys)
	if err := s.check(w, roomy(disk.Clone(fsx.Crash{Keep: fsx.KeepNone})), keys); err != nil {
		t.Fatalf("power lost with a full disk: %v", err)
	}
	disk.SetSpace(0)
	set(t, e, m, keys[0], "space is back")
	snapshot(t, e, v+1)
	w.end(m, v+1)
	verify(t, e, m, keys)
	closeEngine(t, e)
	if err := s.check(w, disk, keys); err != nil {
		t.Fatal(err)
	}
}

func roomy(c *fsx.CrashFS) *fsx.CrashFS {
	c.SetSpace(0)
	return c
}
