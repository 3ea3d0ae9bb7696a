package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// state is what of a directory must survive a crash.
type state struct {
	Current Version
	IDs     []Version
	MaxID   Version
	MaxEnd  uint64
}

func stateOf(d *Dir) state {
	s := state{MaxID: d.MaxID(), MaxEnd: d.MaxEnd()}
	if m := d.Current(); m != nil {
		s.Current = m.Version
	}
	for _, info := range d.Versions() {
		s.IDs = append(s.IDs, info.Version)
	}
	return s
}

// step is one call of a script: what to do, and what it makes of a state if it succeeds.
type step struct {
	kind  byte // c: commit after the newest id, s: set head, p: purge
	v     Version
	bytes uint64
}

func (s step) String() string { return fmt.Sprintf("%c%d", s.kind, s.v) }

func (s step) run(d *Dir) error {
	switch s.kind {
	case 'c':
		return d.CommitBeside(nextManifest(d, s.v, s.bytes, false), func() error { return fsx.WriteFileAtomic(d.fs, logOf(s.v), []byte("log")) })
	case 's':
		return d.SetHead(s.v)
	default:
		_, err := d.Purge(s.v)
		return err
	}
}

// logOf returns the file that stands for the log of a version, which becomes durable beside its manifest (V14).
func logOf(v Version) string { return fmt.Sprintf("store/log of %d", v) }

func (s step) apply(before state) state {
	after := before
	after.IDs = slices.Clone(before.IDs)
	switch s.kind {
	case 'c':
		after.IDs = append(after.IDs, s.v)
		after.Current, after.MaxID, after.MaxEnd = s.v, s.v, max(before.MaxEnd, 4096)+s.bytes
	case 's':
		after.Current = s.v
	default:
		after.IDs = slices.DeleteFunc(after.IDs, func(v Version) bool { return v == s.v })
	}
	return after
}

// randomScript returns a script whose steps all succeed when nothing fails.
func randomScript(rng *rand.Rand, n int) []step {
	var script []step
	var s state
	for len(script) < n {
		next := step{kind: "cccsspp"[rng.IntN(7)], v: s.MaxID + 1 + Version(rng.IntN(3)), bytes: 4096 * rng.Uint64N(4)}
		if next.kind != 'c' {
			if len(s.IDs) == 0 {
				continue
			}
			next.v = s.IDs[rng.IntN(len(s.IDs))]
			if next.kind == 'p' && next.v == s.Current {
				continue
			}
		}
		script = append(script, next)
		s = next.apply(s)
	}
	return script
}

// crashes returns ways for the power to fail with so many facts unsynced.
func crashes(unsynced int, seed uint64) []fsx.Crash {
	all := []fsx.Crash{{Keep: fsx.KeepNone}, {Keep: fsx.KeepAll}, {Keep: fsx.KeepNone, Torn: true, Seed: seed}}
	for n := 1; n < unsynced; n++ {
		all = append(all, fsx.Crash{Keep: fsx.KeepPrefix, N: n})
	}
	if unsynced > 1 {
		for i := range uint64(6) {
			all = append(all, fsx.Crash{Keep: fsx.KeepSubset, Seed: seed*6 + i, Torn: i%2 == 0})
		}
	}
	return all
}

// open opens the directory on a disk and returns its state.
func open(disk fsx.FS) (state, error) {
	d, err := OpenDir(disk, "store", testIdentity, false)
	if err != nil {
		return state{}, err
	}
	if err := errors.Join(d.Damaged()...); err != nil || d.Identity() != testIdentity {
		return state{}, fmt.Errorf("damaged: %w, identity %v", err, d.Identity())
	}
	return stateOf(d), nil
}

// withLogs is open, and looks for the log of each version.
func withLogs(disk fsx.FS) (state, error) {
	s, err := open(disk)
	if err != nil {
		return s, err
	}
	for _, v := range s.IDs {
		if b, err := fsx.ReadFile(disk, logOf(v), 3); err != nil || string(b) != "log" {
			return s, fmt.Errorf("V1: there is version %d, and not its log: %q, %w", v, b, err)
		}
	}
	return s, nil
}

// reopened opens what a crash left, which must be in one of the allowed states.
func reopened(disk *fsx.CrashFS, allowed []state) error {
	got, err := withLogs(disk)
	if err == nil && !slices.ContainsFunc(allowed, func(s state) bool { return reflect.DeepEqual(s, got) }) {
		err = fmt.Errorf("reopened as %+v, allowed are %+v", got, allowed)
	}
	return err
}

// crashedAgain opens what a crash left, with a crash at every call of that, and returns how many disks it looked at.
// Each must end in the state that opening without a crash ends in.
func crashedAgain(disk *fsx.CrashFS) (states int, err error) {
	want, err := open(disk.Clone(fsx.Crash{Keep: fsx.KeepAll}))
	if err != nil {
		return 0, err
	}
	for k := int64(1); ; k++ {
		again := disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
		again.CrashAt(k)
		_, opened := open(again)
		for _, c := range []fsx.Crash{{Keep: fsx.KeepNone}, {Keep: fsx.KeepAll}, {Keep: fsx.KeepSubset, Seed: uint64(k)}} {
			states++
			if err := reopened(again.Clone(c), []state{want}); err != nil {
				return states, fmt.Errorf("%v at call %d while opening: %w", c, k, err)
			}
		}
		if opened == nil {
			return states, nil
		}
	}
}

// TestDir_CrashAtEveryCall crashes scripts at every write-class call and reopens what each kind of crash leaves (V6).
func TestDir_CrashAtEveryCall(t *testing.T) {
	scripts, states := testkit.Scaled(1, 2, 6, 60), 0
	stride := int64(testkit.UnderRace(4, 1))
	for seed := range scripts {
		script := randomScript(rand.New(rand.NewPCG(uint64(seed), 5)), 12)
		for k := int64(1); ; k += stride {
			disk := fsx.NewCrash(fsx.CrashOptions{})
			disk.CrashAt(k)
			allowed, finished := crashedRun(t, disk, script)
			for _, c := range crashes(disk.Unsynced(), uint64(k)) {
				again, err := crashedAgain(disk.Clone(c))
				states += 1 + again
				if err = errors.Join(err, reopened(disk.Clone(c), allowed)); err != nil {
					t.Fatalf("script %v, crash %v at call %d: %v", script, c, k, err)
				}
			}
			if finished {
				break
			}
		}
	}
	testkit.Counted(t, "%d crash states", states)
}

// crashedRun runs a script until it ends or the disk crashes, and returns the states that may be found then.
func crashedRun(t *testing.T, disk *fsx.CrashFS, script []step) (allowed []state, finished bool) {
	t.Helper()
	d, err := OpenDir(disk, "store", testIdentity, false)
	if err != nil {
		return []state{{}}, false
	}
	var s state
	for _, step := range script {
		err := step.run(d)
		if err == nil {
			s = step.apply(s)
			if got := stateOf(d); !reflect.DeepEqual(got, s) {
				t.Fatalf("after %v: %+v, want %+v", step, got, s)
			}
			continue
		}
		if !errors.Is(err, fsx.ErrCrashed) {
			t.Fatalf("%v: %v", step, err)
		}
		return []state{s, step.apply(s)}, false
	}
	return []state{s}, true
}

// TestDir_ErrorAtEveryCall fails every call of every class, once and for ever, before and after its effect. A failed
// step changes nothing that is listed; a crash may find it done or not; and once a later step has succeeded, no crash
// brings anything back (V7).
func TestDir_ErrorAtEveryCall(t *testing.T) {
	scripts, states := testkit.Scaled(1, 2, 8, 80), 0
	stride := int64(testkit.UnderRace(5, 1))
	for seed := range scripts {
		script := randomScript(rand.New(rand.NewPCG(uint64(seed), 6)), 10)
		for class := range fsx.NumClasses {
			for _, fault := range []fsx.Fault{{}, {Sticky: true}, {After: true}, {After: true, Sticky: true}} {
				fault.Class = class
				for fault.Nth = 1; ; fault.Nth += stride {
					n, fired, err := failingRun(fault, script)
					states += n
					if err != nil {
						t.Fatalf("script %v, fault %+v: %v", script, fault, err)
					}
					if !fired {
						break
					}
				}
			}
		}
	}
	testkit.Counted(t, "%d crash states", states)
}

// failingRun runs a script with a fault, going on after errors, and crashes it after every step.
func failingRun(fault fsx.Fault, script []step) (states int, fired bool, err error) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	failing := fsx.NewErr(disk)
	injection := failing.Inject(fault)
	d, err := OpenDir(failing, "store", testIdentity, false)
	if err != nil {
		injection.Clear()
		if d, err = OpenDir(failing, "store", testIdentity, false); err != nil {
			return 0, false, err
		}
	}
	allowed := []state{stateOf(d)}
	for i, step := range script {
		if i == len(script)-2 {
			injection.Clear() // the disk recovers: the last two steps must go through, if they still make sense
		}
		before := stateOf(d)
		err := step.run(d)
		now := stateOf(d)
		switch {
		case err == nil && !reflect.DeepEqual(now, step.apply(before)):
			return states, true, fmt.Errorf("after %v: %+v", step, now)
		case err == nil:
			allowed = []state{now}
		case step.kind != 'p' && !reflect.DeepEqual(now, before):
			return states, true, fmt.Errorf("%v failed with %w and changed %+v to %+v", step, err, before, now)
		case i >= len(script)-2 && !refused(err):
			return states, true, fmt.Errorf("the disk has recovered, but %v: %w", step, err)
		case !refused(err):
			allowed = append(allowed, now, step.apply(before))
		}
		for _, c := range crashes(disk.Unsynced(), uint64(i)) {
			states++
			if err := reopened(disk.Clone(c), allowed); err != nil {
				return states, true, fmt.Errorf("after %v, crash %v: %w", step, c, err)
			}
		}
	}
	return states, injection.Fired() > 0, nil
}

// refused reports whether a step made no sense in the state that earlier failures led to.
func refused(err error) bool {
	return errors.Is(err, ErrOrder) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrInUse)
}

// TestDir_SyncThatFailsOnce has one fsync drop what it should have written: the version is reported as failed and not
// found after a crash, though the next one succeeds.
func TestDir_SyncThatFailsOnce(t *testing.T) {
	for _, glob := range []string{"*.tmp", versionsDir} {
		disk := fsx.NewCrash(fsx.CrashOptions{})
		d, err := OpenDir(disk, "store", testIdentity, false)
		must(t, err)
		must(t, step{'c', 1, 4096}.run(d))
		disk.FailSync(fsx.SyncFailOnce, glob)
		if err := (step{'c', 2, 4096}).run(d); err == nil {
			t.Fatalf("%s: no error", glob)
		}
		must(t, step{'c', 3, 4096}.run(d))
		want := state{Current: 3, IDs: []Version{1, 3}, MaxID: 3, MaxEnd: 4096 + 2*4096}
		if got := stateOf(d); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", glob, got, want)
		}
		for _, c := range crashes(disk.Unsynced(), 1) {
			must(t, reopened(disk.Clone(c), []state{want}))
		}
	}
}

// TestDir_DiskFull: a commit on a full disk fails clearly, and works when there is space again.
func TestDir_DiskFull(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	d, err := OpenDir(disk, "store", testIdentity, false)
	must(t, err)
	must(t, step{'c', 1, 4096}.run(d))
	disk.SetSpace(disk.Used())
	before := stateOf(d)
	for range 3 {
		if err := (step{'c', 2, 4096}).run(d); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("on a full disk: %v", err)
		}
		if got := stateOf(d); !reflect.DeepEqual(got, before) {
			t.Fatalf("%+v, want %+v", got, before)
		}
	}
	disk.SetSpace(0)
	must(t, step{'c', 2, 4096}.run(d))
	for _, c := range crashes(disk.Unsynced(), 1) {
		must(t, reopened(disk.Clone(c), []state{stateOf(d)}))
	}
}

// A manifest has no name while the log that it refers to is being made durable, and gets none if that fails, or if the
// directory has become another's meanwhile.
func TestCommitBeside_NamedLast(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	d, err := OpenDir(disk, "store", testIdentity, false)
	must(t, err)
	must(t, d.Commit(nextManifest(d, 1, 4096, false)))
	names := func() (names []string) {
		all, err := disk.List("store/" + versionsDir)
		must(t, err)
		for _, e := range all {
			names = append(names, e.Name)
		}
		return names
	}
	one, two := manifestName(1), manifestName(2)
	called := 0
	commit := func(durable func() error) error {
		return d.CommitBeside(nextManifest(d, 2, 4096, false), func() error {
			called++
			if got := names(); !slices.Equal(got, []string{one, two + fsx.TempSuffix}) {
				t.Errorf("while the log is being synced there are %v", got)
			}
			return durable()
		})
	}
	failed := errors.New("the log is not durable")
	if err := commit(func() error { return failed }); err != failed || !slices.Equal(names(), []string{one}) {
		t.Errorf("error %v, files %v", err, names())
	}
	before, err := fsx.ReadFile(disk, d.headPath(), 1<<10)
	must(t, err)
	err = commit(func() error {
		return fsx.WriteFileAtomic(disk, d.headPath(), encodeHead(head{floor: 7}))
	})
	if !errors.Is(err, ErrReplaced) || !slices.Equal(names(), []string{one}) {
		t.Errorf("error %v, files %v", err, names())
	}
	must(t, fsx.WriteFileAtomic(disk, d.headPath(), before))
	must(t, commit(func() error { return nil }))
	if called != 3 || !slices.Equal(names(), []string{one, two}) || d.Current().Version != 2 {
		t.Errorf("%d calls, files %v", called, names())
	}
}
