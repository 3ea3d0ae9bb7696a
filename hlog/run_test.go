package hlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// runUnit is how much log makes a run due in the tests of runs.
const runUnit = 2 * reclog.BlockBytes

// running is a store that writes runs every few pages, and what is in its versions.
type running struct {
	*Store
	t      *testing.T
	rng    *rand.Rand
	keys   int
	now    map[int]uint64
	models map[checkpoint.Version]map[int]uint64
	last   checkpoint.Version
}

// withRuns opens a store whose current version has an image, which is larger than what a test adds to the log.
func withRuns(t *testing.T, o *Options, seed uint64) *running {
	t.Helper()
	r := &running{t: t, rng: rand.New(rand.NewPCG(seed, 1)), keys: 18_000, now: map[int]uint64{}, models: map[checkpoint.Version]map[int]uint64{}}
	r.open(o)
	pace(r.Store, never)
	r.change(0, r.keys)
	r.commit()
	pace(r.Store, 1)
	r.writeImageIfDue()
	waitClaims(t, r.Store)
	pace(r.Store, runUnit)
	r.change(0, 1)
	r.commit()
	if m := r.ledger.Current(); m.Image == nil || m.Image.Bytes < 32*runUnit {
		t.Fatalf("image %v", m.Image)
	}
	return r
}

func (r *running) open(o *Options) {
	r.t.Helper()
	r.Store = mustOpen(r.t, "/store", o)
	pace(r.Store, runUnit)
}

// change sets the keys from..from+n-1.
func (r *running) change(from, n int) {
	r.t.Helper()
	for k := from; k < from+n; k++ {
		v := r.rng.Uint64() | 1
		must(r.t, r.Set(key8(k), word8(v)))
		r.now[k] = v
	}
}

func word8(v uint64) []byte { return key8(int(v)) }

// churn changes, adds and deletes keys.
func (r *running) churn(n int) {
	r.t.Helper()
	for range n {
		switch k := r.rng.IntN(r.keys + 1000); r.rng.IntN(5) {
		case 0:
			must(r.t, r.Delete(key8(k)))
			delete(r.now, k)
		default:
			r.change(k, 1)
		}
	}
}

// commit makes a version. Its model is known before it can be seen after a crash.
func (r *running) commit() checkpoint.Version {
	r.t.Helper()
	r.last++
	r.models[r.last] = maps.Clone(r.now)
	return commit(r.t, r.Store, WithVersion(r.last))
}

// settle writes the runs that are due, unless they cannot be written. The background writes them as well, and whoever
// comes second leaves a run to the other: it is over when there is no other, and no further run.
func (r *running) settle() {
	r.t.Helper()
	look := func() (idle bool, to uint64) {
		r.ledger.Claim(ledger.Run, func(now ledger.Now) (ledger.Want, bool) {
			idle, to = now.Making(ledger.Run) == nil, now.Index.ReplayFrom()
			return ledger.Want{}, false
		})
		return idle, to
	}
	eventually(r.t, "the runs", func() bool {
		before, from := look()
		r.writeRunsIfDue()
		after, to := look()
		return before && after && to == from
	})
}

// same returns how what get returns differs from model.
func (r *running) same(model map[int]uint64, get func(dst, key []byte) ([]byte, error)) error {
	return r.sameOf(model, get, 0, 1)
}

// sameOf is same for every step-th key.
func (r *running) sameOf(model map[int]uint64, get func(dst, key []byte) ([]byte, error), first, step int) error {
	for k := first; k < r.keys+1000; k += step {
		got, err := get(nil, key8(k))
		want, there := model[k]
		switch {
		case !there && errors.Is(err, ErrNotFound):
		case !there || err != nil || !bytes.Equal(got, word8(want)):
			return fmt.Errorf("key %d: %x, %v, want %x, there: %v", k, got, err, want, there)
		}
	}
	return nil
}

// sameVersions compares all versions of an open store with their models.
func (r *running) sameVersions(s *Store) error {
	versions, err := s.Versions()
	if err != nil {
		return err
	}
	for _, info := range versions {
		get := s.Get
		if !info.Current {
			w, err := s.OpenVersion(context.Background(), info.Version)
			if errors.Is(err, ErrVersionNotFound) && !listed(s, info.Version) {
				continue // housekeeping has purged it since
			}
			if err != nil {
				return fmt.Errorf("version %d: %w", info.Version, err)
			}
			defer w.Close()
			get = w.Get
		}
		if err := r.sameOf(r.models[info.Version], get, r.rng.IntN(13), 13); err != nil {
			return fmt.Errorf("version %d: %w", info.Version, err)
		}
	}
	return nil
}

// listed reports whether the store has version v.
func listed(s *Store, v checkpoint.Version) bool {
	versions, err := s.Versions()
	return err != nil || slices.ContainsFunc(versions, func(i checkpoint.Info) bool { return i.Version == v })
}

// sameAfter opens what a crash leaves and compares.
func (r *running) sameAfter(disk *fsx.CrashFS, o *Options) error {
	again := *o
	again.FS = disk
	s, err := Open("/store", &again)
	if err != nil {
		return err
	}
	return errors.Join(r.sameVersions(s), s.Close())
}

// Runs follow the log closely and stay few, whatever is changed, deleted, rolled back and reopened; what they stand for
// is what is opened.
func TestRun_ManyCheckpoints(t *testing.T) {
	for seed := range uint64(testkit.Scaled(1, 2, 3, 100)) {
		o := tiny()
		o.NoCompaction, o.KeepVersions = seed == 0, 4
		disk := o.FS.(*fsx.CrashFS)
		r := withRuns(t, o, seed)
		most, merged := 0, false
		for round := range 60 {
			r.churn(1 + r.rng.IntN(400))
			r.commit()
			r.settle()
			m := r.ledger.Current()
			most = max(most, len(m.Runs))
			for _, run := range m.Runs {
				merged = merged || run.To-run.From > (runLog+1)*runUnit
			}
			if round%10 == 9 {
				if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), o); err != nil {
					t.Fatalf("seed %d, round %d, after a crash: %v", seed, round, err)
				}
			}
			switch r.rng.IntN(12) {
			case 0:
				back, err := r.Versions()
				must(t, err)
				to := back[r.rng.IntN(len(back))].Version
				_, err = r.Restore(context.Background(), to)
				if errors.Is(err, ErrVersionNotFound) && !listed(r.Store, to) {
					continue // housekeeping has purged it since
				}
				must(t, err)
				r.now = maps.Clone(r.models[to])
			case 1:
				r.models[r.last+1] = maps.Clone(r.now)
				must(t, r.Close())
				r.open(o)
				r.last = r.ledger.MaxID()
			}
			if err := r.same(r.now, r.Get); err != nil {
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
		}
		if err := r.sameVersions(r.Store); err != nil {
			t.Fatal(err)
		}
		if most < 2 || most > 3*runFan || !merged {
			t.Errorf("seed %d: up to %d runs, merged: %v", seed, most, merged)
		}
		must(t, r.collect())
		if files, wanted := imageFiles(t, r.Store), referenced(t, r.Store); files > wanted {
			t.Errorf("%d files in images/, versions and the store need %d", files, wanted)
		}
		must(t, r.Close())
	}
}

func imageFiles(t *testing.T, s *Store) int {
	entries, err := s.root.List(s.ledger.ImagesPath())
	must(t, err)
	return len(entries)
}

func referenced(t *testing.T, s *Store) int {
	_, ids, err := s.ledger.References()
	must(t, err)
	all := map[uint64]bool{}
	for _, id := range append(ids, s.ledger.Live().Images...) {
		all[id] = true
	}
	return len(all)
}

// What recovery replays is what the last run leaves, not what has been written since the image.
func TestRun_LittleIsReplayed(t *testing.T) {
	r := withRuns(t, tiny(), 1)
	for range 30 {
		r.churn(100)
		r.commit()
		r.settle()
		m := r.ledger.Current()
		end := members(m).fuzzy // compaction, by which nothing changes, may have written above it before the cut
		if left := end - ledger.IndexOf(m).ReplayFrom(); left >= runUnit {
			t.Fatalf("%v, %v: fuzzy end %d, cut %d", m.Image, m.Runs, end, m.Cut)
		}
	}
}

// A large delta becomes several runs, each of which takes bounded memory, and a close leaves less than is worth one.
func TestRun_LargeDelta(t *testing.T) {
	o := tiny()
	r := withRuns(t, o, 2)
	m := r.ledger.Current()
	r.churn(4000)
	pace(r.Store, never)
	r.models[r.last+1] = maps.Clone(r.now)
	pace(r.Store, runUnit)
	must(t, r.Close())
	r.open(o)
	now := r.ledger.Current()
	if *now.Image != *m.Image || len(now.Runs) == 0 || now.Cut-now.Runs[len(now.Runs)-1].To >= runUnit {
		t.Fatalf("%v, %v: cut %d", now.Image, now.Runs, now.Cut)
	}
	if err := r.same(r.now, r.Get); err != nil {
		t.Fatal(err)
	}
}

// The disk as it is at every write-class call of a store that writes, merges and gives up runs, with and without what
// is not synced, opens at a version that is whole, and every other version opens, too.
func TestRun_CrashAtEveryCall(t *testing.T) {
	o := tiny()
	o.KeepVersions = 4
	disk := o.FS.(*fsx.CrashFS)
	r := withRuns(t, o, 3)
	type state struct {
		call fsx.Call
		disk *fsx.CrashFS
	}
	var mu sync.Mutex
	var states []state
	disk.SetHook(func(c fsx.Call) {
		crash := fsx.Crash{Keep: fsx.KeepSubset, Seed: uint64(c.N), Torn: true}
		switch c.N % 3 {
		case 0:
			crash = fsx.Crash{Keep: fsx.KeepNone}
		case 1:
			crash = fsx.Crash{Keep: fsx.KeepAll}
		}
		if strings.Contains(c.Name, "/log/") && c.N%8 != 0 {
			return // those of checkpoints have tests of their own
		}
		clone := disk.Clone(crash)
		mu.Lock()
		defer mu.Unlock()
		states = append(states, state{c, clone})
	})
	var base checkpoint.Version
	for round := range 12 {
		r.churn(300)
		r.commit()
		r.settle()
		if round == 7 {
			base = r.last
		}
		if round == 9 {
			_, err := r.Restore(context.Background(), base)
			must(t, err)
			r.now = maps.Clone(r.models[base])
		}
	}
	pace(r.Store, 1)
	r.writeImageIfDue() // not due yet: it is when the log has grown as much as the image is large
	r.churn(300)
	r.models[r.last+1] = maps.Clone(r.now)
	must(t, r.Close())
	disk.SetHook(nil)
	step, verified := 1+len(states)/testkit.Scaled(testkit.UnderRace(5, 15), 40, 120, 10_000), 0
	for i := r.rng.IntN(step); i < len(states); i += step {
		verified++
		if err := r.sameAfter(states[i].disk, o); err != nil {
			t.Fatalf("call %+v: %v", states[i].call, err)
		}
	}
	testkit.Counted(t, "%d crash states of %d verified", verified, len(states))
}

// Damage of a run is reported with file and offset by those who need it, wherever it is, and other keys are read; one
// that is missing, or another one's, is reported by Open.
func TestRun_Damage(t *testing.T) {
	o := tiny()
	disk := o.FS.(*fsx.CrashFS)
	r := withRuns(t, o, 4)
	for range 10 {
		r.churn(200)
		r.commit()
		r.settle()
	}
	must(t, r.Close())
	r.open(o)
	m := r.ledger.Current()
	if len(m.Runs) < 2 {
		t.Fatalf("runs %v", m.Runs)
	}
	must(t, r.Close())
	damage := func(ref checkpoint.RunRef, do func(fs *fsx.CrashFS, name string)) error {
		again := *o
		again.FS = disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
		name := r.ledger.ImagePath(ref.ID)
		do(again.FS.(*fsx.CrashFS), name)
		s, err := Open("/store", &again)
		if err != nil {
			return err
		}
		defer s.Close()
		var first error
		for k := r.rng.IntN(11); k < r.keys; k += 11 {
			got, err := s.Get(nil, key8(k))
			want, there := r.now[k]
			switch {
			case errors.Is(err, ErrCorrupt):
				first = err
			case there && (err != nil || !bytes.Equal(got, word8(want))), !there && !errors.Is(err, ErrNotFound):
				t.Fatalf("%s: key %d: %x, %v, want %x", name, k, got, err, want)
			}
		}
		return first
	}
	for _, ref := range m.Runs {
		name := r.ledger.ImagePath(ref.ID)
		want := func(what string, err error) {
			t.Helper()
			var c *CorruptionError
			if !errors.As(err, &c) || c.File != name || c.Offset > ref.Bytes {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
		for at := int64(0); at < ref.Bytes; at += 1 + ref.Bytes/int64(testkit.UnderRace(2, 7)) {
			want(fmt.Sprint("byte ", at), damage(ref, func(fs *fsx.CrashFS, name string) { flip(t, fs, name, at) }))
		}
		want("absence", damage(ref, func(fs *fsx.CrashFS, name string) { must(t, fs.Remove(name)) }))
		if other := m.Runs[len(m.Runs)-1]; other.ID != ref.ID {
			want("another run", damage(ref, func(fs *fsx.CrashFS, name string) { must(t, fs.Rename(r.ledger.ImagePath(other.ID), name)) }))
		}
	}
}

// flip changes a byte of a file.
func flip(t *testing.T, fs fsx.FS, name string, at int64) {
	t.Helper()
	f, err := fs.Open(name, fsx.Write)
	must(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 0x40
	_, err = f.WriteAt(b, at)
	must(t, err)
}

// A view goes on with the runs of its version after those were merged and nothing else needs them.
func TestRun_ViewKeepsMergedRuns(t *testing.T) {
	o := tiny()
	o.KeepVersions = 1
	r := withRuns(t, o, 5)
	for range 3 {
		r.churn(100)
		r.commit()
		r.settle()
	}
	pinned := r.ledger.Current()
	if len(pinned.Runs) == 0 {
		t.Fatal("no runs")
	}
	w, err := r.OpenVersion(context.Background(), 0)
	must(t, err)
	for range 12 {
		r.churn(200)
		r.commit()
		r.settle()
	}
	must(t, r.collect())
	for _, ref := range pinned.Runs {
		if f, err := o.FS.Open(r.ledger.ImagePath(ref.ID), fsx.Read); err != nil {
			t.Errorf("run %d: %v", ref.ID, err)
		} else {
			f.Close()
		}
	}
	if err := r.same(r.models[pinned.Version], w.Get); err != nil {
		t.Error(err)
	}
	must(t, w.Close())
	must(t, r.ledger.Retain(r.opts.KeepVersions))
	must(t, r.collect())
	if _, err := o.FS.Open(r.ledger.ImagePath(pinned.Runs[len(pinned.Runs)-1].ID), fsx.Read); err == nil {
		t.Error("a run stays although nobody needs it")
	}
}

// Runs go to the remote with their versions, come back to an empty machine and mend a damaged one, and leave with the
// last version that needs them.
func TestRun_Remote(t *testing.T) {
	remotePath := t.TempDir()
	remote, err := checkpoint.NewDirRemote(remotePath)
	must(t, err)
	o := tiny()
	o.Remote, o.KeepVersions = remote, 3
	disk := o.FS.(*fsx.CrashFS)
	r := withRuns(t, o, 6)
	grow := func(n int) {
		for range n {
			r.churn(150)
			r.commit()
			r.settle()
		}
	}
	grow(12)
	r.models[r.last+1] = maps.Clone(r.now)
	must(t, r.Close())

	mend := func(what string, do func(fs *fsx.CrashFS, m *checkpoint.Manifest)) *Store {
		t.Helper()
		again := *o
		again.FS = fsx.NewCrash(fsx.CrashOptions{Direct: true})
		if do != nil {
			again.FS = disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
			do(again.FS.(*fsx.CrashFS), r.ledger.Current())
		}
		s := mustOpen(t, "/store", &again)
		if err := r.same(r.now, s.Get); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if m := s.ledger.Current(); len(m.Runs) == 0 {
			t.Errorf("%s: no runs", what)
		}
		return s
	}
	must(t, mend("missing", func(fs *fsx.CrashFS, m *checkpoint.Manifest) {
		must(t, fs.Remove(r.ledger.ImagePath(m.Runs[0].ID)))
	}).Close())
	must(t, mend("damaged", func(fs *fsx.CrashFS, m *checkpoint.Manifest) {
		flip(t, fs, r.ledger.ImagePath(m.Runs[len(m.Runs)-1].ID), 20)
	}).Close())
	elsewhere := mend("empty machine", nil)
	must(t, elsewhere.Close())

	r.open(o)
	r.last = r.ledger.MaxID()
	for range 8 { // until no version on the remote needs what it began with
		grow(8)
	}
	must(t, r.Close())
	// Pieces of images and runs on the remote belong to a version there.
	named := map[string]bool{}
	for _, v := range r.copies.mirror.Known() {
		m, err := r.ledger.Manifest(v)
		must(t, err)
		named[fmt.Sprintf("%016x", m.Image.ID)] = true
		for _, ref := range m.Runs {
			named[fmt.Sprintf("%016x", ref.ID)] = true
		}
	}
	there, err := filepath.Glob(filepath.Join(remotePath, "*", "images", "*", "*"))
	must(t, err)
	if len(there) == 0 {
		t.Fatal("nothing on the remote")
	}
	for _, name := range there {
		if id := filepath.Base(filepath.Dir(name)); !named[id] {
			t.Errorf("%s is there, and no version names it", name)
		}
	}
}

func TestTakenOver(t *testing.T) {
	const unit = 1 << 20
	rng := rand.New(rand.NewPCG(1, 1))
	var runs []checkpoint.RunRef
	var end, written uint64
	for range 20_000 {
		log := uint64(unit) + rng.Uint64N(runLog*unit)
		n := takenOver(runs, end, end+log, unit)
		from := end
		if n < len(runs) {
			from = runs[n].From
		}
		end += log
		runs = append(runs[:n], checkpoint.RunRef{From: from, To: end})
		written += end - from
		for i := 1; i < len(runs); i++ {
			if runs[i].From != runs[i-1].To || runClass(runs[i].To-runs[i].From, unit) > runClass(runs[i-1].To-runs[i-1].From, unit) {
				t.Fatalf("runs %v", runs)
			}
		}
		if most := (runFan - 1) * (runClass(end, unit) + 1); len(runs) > most {
			t.Fatalf("%d runs of a log of %d units", len(runs), end/unit)
		}
	}
	if classes := uint64(runClass(end, unit) + 1); written > classes*end {
		t.Errorf("%d bytes of log written %d times, classes %d", end, written/end, classes)
	}
}

// A run that cannot be written is left out, and leaves nothing behind; the next one makes up for it. What a failed call
// left in doubt opens, too.
func TestRun_Faults(t *testing.T) {
	for _, fault := range []fsx.Fault{
		{Class: fsx.ClassOpen, Match: "*.img"}, {Class: fsx.ClassWrite, Match: "*.img"}, {Class: fsx.ClassSync, Match: "*.img"},
		{Class: fsx.ClassSyncDir, Match: "images"}, {Class: fsx.ClassRead, Match: "*.img"}, {Class: fsx.ClassRead, Match: "*.seg"},
		{Class: fsx.ClassRename, Match: "*.manifest"}, {Class: fsx.ClassSyncDir, Match: "versions"},
		{Class: fsx.ClassRename, Match: "*.manifest", After: true}, {Class: fsx.ClassSyncDir, Match: "images", After: true},
	} {
		t.Run(fmt.Sprintf("%+v", fault), func(t *testing.T) {
			o := tiny()
			disk := o.FS.(*fsx.CrashFS)
			failing := fsx.NewErr(disk)
			o.FS = failing
			r := withRuns(t, o, 8)
			for round := range 8 {
				pace(r.Store, never) // so that the checkpoint itself meets no fault
				r.churn(200)
				r.commit()
				fault.Sticky = round%2 == 0
				injected := failing.Inject(fault)
				pace(r.Store, runUnit)
				r.settle()
				injected.Clear()
				if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepSubset, Seed: uint64(round)}), o); err != nil {
					t.Fatalf("round %d, after a crash: %v", round, err)
				}
			}
			r.churn(10)
			r.commit()
			r.settle()
			if m := r.ledger.Current(); len(m.Runs) == 0 || m.Cut-m.Runs[len(m.Runs)-1].To > 2*runUnit {
				t.Errorf("runs %v, cut %d", m.Runs, m.Cut)
			}
			if err := r.sameVersions(r.Store); err != nil {
				t.Fatal(err)
			}
			must(t, r.collect())
			if files, wanted := imageFiles(t, r.Store), referenced(t, r.Store); files > wanted {
				t.Errorf("%d files in images/, versions and the store need %d", files, wanted)
			}
		})
	}
}

// A damaged run is not merged, so that the damage stays where it is, and recovery goes on replaying little.
func TestRun_DamagedOneIsNotMerged(t *testing.T) {
	o := tiny()
	r := withRuns(t, o, 9)
	r.churn(100)
	r.commit()
	r.settle()
	runs := r.ledger.Index().Runs
	if len(runs) == 0 {
		t.Fatal("no runs")
	}
	bad := runs[len(runs)-1]
	flip(t, o.FS, r.ledger.ImagePath(bad.ID), bad.Bytes-1)
	for range 2 * runFan {
		r.churn(100)
		r.commit()
		r.settle()
	}
	m := r.ledger.Current()
	kept := false
	for _, ref := range m.Runs {
		kept = kept || ref == bad
	}
	if last := m.Runs[len(m.Runs)-1]; !kept || m.Cut-last.To > 2*runUnit {
		t.Errorf("%v is not among %v, or the last ends below %d", bad, m.Runs, m.Cut)
	}
}
