package hlog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// shareTestCut replaces shares.MaxUncovered in the tests of the index on disk.
const shareTestCut = 4 * reclog.BlockBytes

// sharer is a store that writes runs every few pages, with shares so short that there are many, and what is in its
// versions.
type sharer struct {
	*Store
	t      *testing.T
	rng    *rand.Rand
	keys   int
	now    map[int]uint64
	models map[checkpoint.Version]map[int]uint64
	last   checkpoint.Version
}

// withShares opens a store whose current version has an image of some shares.
func withShares(t *testing.T, o *Options, seed uint64) *sharer {
	t.Helper()
	o.indexPace = shares.Pace{Uncovered: shareTestCut, ShareLength: 4 * reclog.BlockBytes}
	r := &sharer{t: t, rng: rand.New(rand.NewPCG(seed, 1)), keys: 4000, now: map[int]uint64{}, models: map[checkpoint.Version]map[int]uint64{}}
	r.open(o)
	r.change(0, r.keys)
	r.commit()
	r.settle()
	r.change(0, 1)
	r.commit()
	if m := r.ledger.Current(); len(m.Shares) < 2 {
		t.Fatalf("shares %v", m.Shares)
	}
	return r
}

func (r *sharer) open(o *Options) {
	r.t.Helper()
	r.Store = mustOpen(r.t, "/store", o)
}

// change sets the keys from..from+n-1.
func (r *sharer) change(from, n int) {
	r.t.Helper()
	for k := from; k < from+n; k++ {
		v := r.rng.Uint64() | 1
		must(r.t, r.Set(key8(k), word8(v)))
		r.now[k] = v
	}
}

func word8(v uint64) []byte { return key8(int(v)) }

// churn changes, adds and deletes keys.
func (r *sharer) churn(n int) {
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
func (r *sharer) commit() checkpoint.Version {
	r.t.Helper()
	r.last++
	r.models[r.last] = maps.Clone(r.now)
	v := commit(r.t, r.Store, WithVersion(r.last))
	r.little(r.ledger.Current())
	return v
}

// little demands that an opening of version m replays little, and that its shares leave no gap (I17).
func (r *sharer) little(m *checkpoint.Manifest) {
	r.t.Helper()
	if left := m.Cut - max(m.Index.Replay(), ledger.LogBegin(m)); left > shareTestCut {
		r.t.Fatalf("%d bytes of version %d are replayed: %+v", left, m.Version, m.Index)
	}
	if len(m.Shares) > 0 && m.Image == nil {
		must(r.t, shares.Of(m.Shares).Check(0, word.Address(m.ReplayFrom)))
	}
}

// settle returns when all that has been flushed is in runs, and no merge is due.
func (r *sharer) settle() {
	r.t.Helper()
	must(r.t, r.disk.WriteRunsUpTo(r.log.Durability().Written()))
	eventually(r.t, "the merges", func() bool { return !mergeDue(r.Store) })
}

// flush makes all that has been written durable, without a version, and has runs written of it.
func (r *sharer) flush() {
	r.t.Helper()
	tail, _ := r.log.AlignTail(0)
	r.log.ShiftReadOnly(tail)
	must(r.t, r.log.SyncTo(tail))
	r.settle()
}

// same returns how what get returns differs from model.
func (r *sharer) same(model map[int]uint64, get func(dst, key []byte) ([]byte, error)) error {
	step := testkit.UnderRace(11, 1)
	return r.sameOf(model, get, r.rng.IntN(step), step)
}

// sameOf is same for every step-th key.
func (r *sharer) sameOf(model map[int]uint64, get func(dst, key []byte) ([]byte, error), first, step int) error {
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
func (r *sharer) sameVersions(s *Store) error {
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
			if err := r.sameScan(w, r.models[info.Version]); err != nil {
				return fmt.Errorf("version %d: %w", info.Version, err)
			}
			get = w.Get
		}
		step := testkit.UnderRace(31, 5)
		if err := r.sameOf(r.models[info.Version], get, r.rng.IntN(step), step); err != nil {
			return fmt.Errorf("version %d: %w", info.Version, err)
		}
	}
	return nil
}

// sameScan returns how what a scan of w visits differs from model. It has memory for little of the log at a time.
func (r *sharer) sameScan(w *View, model map[int]uint64) error {
	left, twice := maps.Clone(model), error(nil)
	c := w.version.NewScan(func(key, value []byte) bool {
		k := int(binary.BigEndian.Uint64(key))
		if want, ok := left[k]; !ok || !bytes.Equal(value, word8(want)) {
			twice = fmt.Errorf("a scan visits key %d with %x, expected with %x: %v", k, value, want, ok)
		}
		delete(left, k)
		return twice == nil
	})
	c.Bytes = 1 << (12 + r.rng.IntN(6))
	if r.rng.IntN(8) == 0 {
		c.Bytes = 1 << (9 + r.rng.IntN(3)) // which takes many times as long
	}
	if err := cmp.Or(c.Run(context.Background()), twice); err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("a scan leaves out %d keys of %d", len(left), len(model))
	}
	return nil
}

// listed reports whether the store has version v.
func listed(s *Store, v checkpoint.Version) bool {
	versions, err := s.Versions()
	return err != nil || slices.ContainsFunc(versions, func(i checkpoint.Info) bool { return i.Version == v })
}

// sameAfter opens what a crash leaves and compares.
func (r *sharer) sameAfter(disk *fsx.CrashFS, o *Options) error {
	again := *o
	again.FS = disk
	s, err := Open("/store", &again)
	if err != nil {
		return err
	}
	return errors.Join(r.sameVersions(s), s.Close())
}

// restore goes back to version v, unless housekeeping has purged it.
func (r *sharer) restore(v checkpoint.Version) {
	r.t.Helper()
	_, err := r.Restore(context.Background(), v)
	if errors.Is(err, ErrVersionNotFound) && !listed(r.Store, v) {
		return
	}
	must(r.t, err)
	r.now = maps.Clone(r.models[v])
}

// leftovers demands that nothing stays in images/ that neither a version nor the store needs. A run or a merge may end
// between two looks: what it makes needless goes with the next round.
func (r *sharer) leftovers() {
	r.t.Helper()
	files, wanted := 0, 0
	if !testkit.Soon(func() bool {
		must(r.t, r.collect())
		files, wanted = imageFiles(r.t, r.Store), referenced(r.t, r.Store)
		return files <= wanted
	}) {
		r.t.Errorf("%d files in images/, versions and the store need %d", files, wanted)
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

// Runs follow the log closely and merges keep shares few, whatever is changed, deleted, compacted, rolled back and
// reopened; what they stand for is what is opened.
func TestShares_ManyCheckpoints(t *testing.T) {
	for seed := range uint64(testkit.UnderRace(1, testkit.Scaled(2, 2, 4, 100))) {
		o := tiny()
		o.NoCompaction, o.KeepVersions = seed%2 == 0, 4
		disk := o.FS.(*fsx.CrashFS)
		r := withShares(t, o, seed)
		most, level := 0, 0
		for round := range testkit.UnderRace(30, 60) {
			r.churn(1 + r.rng.IntN(800))
			r.commit()
			if r.rng.IntN(3) > 0 {
				r.settle()
			}
			for _, s := range r.ledger.Current().Shares {
				level = max(level, s.Level)
			}
			most = max(most, len(r.ledger.Current().Shares))
			if round%10 == 9 {
				if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), o); err != nil {
					t.Fatalf("seed %d, round %d, after a crash: %v", seed, round, err)
				}
			}
			switch r.rng.IntN(12) {
			case 0:
				back, err := r.Versions()
				must(t, err)
				r.restore(back[r.rng.IntN(len(back))].Version)
			case 1:
				r.models[r.last+1] = maps.Clone(r.now)
				must(t, r.Close())
				r.open(o)
				r.last = r.ledger.MaxID()
			case 2:
				must(t, r.Compact(context.Background()))
			}
			if err := r.same(r.now, r.Get); err != nil {
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
		}
		if err := r.sameVersions(r.Store); err != nil {
			t.Fatal(err)
		}
		if most > 60 || level < testkit.UnderRace(3, 4) {
			t.Errorf("seed %d: up to %d shares, of up to %d merges", seed, most, level)
		}
		r.leftovers()
		must(t, r.Close())
	}
}

// The disk as it is at every write-class call of a store that writes runs, merges and gives them up, with and without
// what is not synced, opens at a version that is whole, and every other version opens, too.
func TestShares_CrashAtEveryCall(t *testing.T) {
	o := tiny()
	o.KeepVersions = 4
	disk := o.FS.(*fsx.CrashFS)
	r := withShares(t, o, 3)
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
		r.churn(600)
		r.commit()
		if round%2 == 0 {
			r.settle()
		}
		if round == 7 {
			base = r.last
		}
		if round == 9 {
			r.restore(base)
		}
	}
	r.churn(300)
	r.models[r.last+1] = maps.Clone(r.now)
	must(t, r.Close())
	disk.SetHook(nil)
	step, verified := 1+len(states)/testkit.Scaled(testkit.UnderRace(5, 25), 60, 150, 10_000), 0
	for i := r.rng.IntN(step); i < len(states); i += step {
		verified++
		if err := r.sameAfter(states[i].disk, o); err != nil {
			t.Fatalf("call %+v: %v", states[i].call, err)
		}
	}
	testkit.Counted(t, "%d crash states of %d verified", verified, len(states))
}

// Runs follow the log, not the commits. Until a version names them they concern nobody: a crash leaves the version before,
// and a restore to it undoes what they stand for.
func TestShares_AheadOfTheCommit(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	disk := o.FS.(*fsx.CrashFS)
	r := withShares(t, o, 10)
	ahead := func() {
		t.Helper()
		r.churn(4000)
		r.flush()
		if to := uint64(r.disk.Written()); to <= r.current().Cut+4*shareTestCut {
			t.Fatalf("the last run ends at %d, the version at %d", to, r.current().Cut)
		}
	}
	for range 3 {
		committed := maps.Clone(r.now)
		ahead()
		r.models[r.last+1] = committed // a crash must not find what is not committed
		if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepAll}), o); err != nil {
			t.Fatalf("after a crash: %v", err)
		}
		_, err := r.Restore(context.Background(), 0)
		must(t, err)
		r.now = committed
		if to := uint64(r.disk.Written()); to > r.current().Cut {
			t.Fatalf("a run of what was undone: it ends at %d, the version at %d", to, r.current().Cut)
		}
		if err := r.same(r.now, r.Get); err != nil {
			t.Fatalf("after a restore: %v", err)
		}
		ahead()
		r.commit()
		if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), o); err != nil {
			t.Fatalf("after a crash: %v", err)
		}
	}
}

// What a version names holds none of the records of the next one that lie in its fuzzy end, whether they were flushed, and
// put into a run, before the version was committed or not.
func TestShares_FuzzyEnd(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	disk := o.FS.(*fsx.CrashFS)
	r := withShares(t, o, 11)
	r.churn(300)
	old := r.epochs.Register()
	old.Enter() // an operation of the old version: the cut waits for it
	r.last++
	r.models[r.last] = maps.Clone(r.now)
	p, err := r.BeginCheckpoint(WithVersion(r.last))
	must(t, err)
	for k := range 2000 {
		r.change(k, 1)
	}
	old.Exit()
	old.Release()
	within(t, "the commit", func() { _, err = p.Wait(context.Background()) })
	must(t, err)
	m := r.ledger.Current()
	if m.Version != r.last || m.Cut-m.LiveFuzzy() < 3*shareTestCut || m.Index.Replay() < m.LiveFuzzy()+shareTestCut {
		t.Fatalf("version %d has its fuzzy end at %d, its cut at %d, shares up to %d", m.Version, m.LiveFuzzy(), m.Cut, m.Index.Replay())
	}
	r.little(m)
	for range 3 {
		if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepAll}), o); err != nil {
			t.Fatalf("after a crash: %v", err)
		}
		r.churn(500)
		r.commit()
		r.settle()
	}
}

// A merge that is under way when the store is restored, to another branch or on its own, is of no use after it, and leaves
// no file.
func TestShares_RestoreDuringAMerge(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	o.KeepVersions = 20
	r := withShares(t, o, 12)
	for _, back := range []checkpoint.Version{0, 1} {
		base := r.last + 1 - back
		r.churn(300)
		r.commit()
		r.background.merges.Stop() // the test merges
		r.churn(4000)
		r.commit()
		m, ok := r.disk.TakeMerge()
		if !ok {
			t.Fatal("nothing is to be merged")
		}
		r.background.runs.Stop() // it would make files, too
		before := imageFiles(t, r.Store)
		at := 0
		for _, in := range m.Inputs {
			f, err := r.disk.Open(in)
			must(t, err)
			f.Close()
			at++
		}
		if at == 0 {
			t.Fatal("a merge of nothing")
		}
		r.restore(base)
		must(t, r.disk.MergeOnce(t.Context(), m)) // it ends late
		if n := imageFiles(t, r.Store); n > before {
			t.Errorf("%d files, %d were", n, before)
		}
		if err := r.same(r.now, r.Get); err != nil {
			t.Fatal(err)
		}
		r.models[r.last+1] = maps.Clone(r.now)
		must(t, r.Close())
		r.open(o)
		r.last = r.ledger.MaxID()
		if err := r.sameVersions(r.Store); err != nil {
			t.Fatal(err)
		}
	}
	r.change(0, 1)
	r.commit() // until then, what lies there stays
	r.leftovers()
}

// Damage of a share is reported with file and offset by those who need it, wherever it is, and other keys are read; so is one
// that is missing, or another one's.
func TestShares_Damage(t *testing.T) {
	o := tiny()
	disk := o.FS.(*fsx.CrashFS)
	r := withShares(t, o, 4)
	for range 10 {
		r.churn(400)
		r.commit()
	}
	r.models[r.last+1] = maps.Clone(r.now)
	must(t, r.Close())
	m := r.ledger.Current()
	damage := func(ref checkpoint.ShareRef, do func(fs *fsx.CrashFS, name string)) error {
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
		for k := r.rng.IntN(9); k < r.keys; k += 9 {
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
	step := testkit.UnderRace(5, 1)
	for i := r.rng.IntN(step); i < len(m.Shares); i += step {
		ref := m.Shares[i]
		name := r.ledger.ImagePath(ref.ID)
		want := func(what string, err error) {
			t.Helper()
			var c *CorruptionError
			if !errors.As(err, &c) || c.File != name || c.Offset > ref.Bytes {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
		for _, at := range []int64{16 + reclog.BlockBytes/2, (ref.Bytes + 16) / 2, ref.Bytes - 1} {
			err := damage(ref, func(fs *fsx.CrashFS, name string) { flip(t, fs, name, at) })
			if err != nil || at == ref.Bytes-1 || whole(t, disk, name, ref) {
				want(fmt.Sprint("byte ", at), err)
			}
		}
		want("absence", damage(ref, func(fs *fsx.CrashFS, name string) { must(t, fs.Remove(name)) }))
		if other := m.Shares[(i+1)%len(m.Shares)]; other.ID != ref.ID {
			want("another share", damage(ref, func(fs *fsx.CrashFS, name string) { replace(t, fs, r.ledger.ImagePath(other.ID), name) }))
		}
	}
}

// The first file of a store has the id 0 if the flusher writes it before the first commit. Its damage is ErrCorrupt and names it
// like that of any other (G6).
func TestShares_DamageOfTheFirstFile(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	var c *CorruptionError
	err := s.imageFault(&index.CorruptError{InShare: true, Offset: 7})
	if !errors.Is(err, ErrCorrupt) || !errors.As(err, &c) || c.File != s.ledger.ImagePath(0) || c.Offset != 7 {
		t.Errorf("%v", err)
	}
}

// whole reports whether ref is of all hashes that the file holds, so that all of its blocks are read.
func whole(t *testing.T, fs fsx.FS, name string, ref checkpoint.ShareRef) bool {
	t.Helper()
	f, err := fs.Open(name, fsx.Read)
	must(t, err)
	defer f.Close()
	trailer := make([]byte, 128)
	_, err = f.ReadAt(trailer, ref.Bytes-128)
	must(t, err)
	return binary.LittleEndian.Uint64(trailer[32:]) == ref.First && binary.LittleEndian.Uint64(trailer[40:]) == ref.Last
}

// replace makes the content of the file to that of from.
func replace(t *testing.T, fs fsx.FS, from, to string) {
	t.Helper()
	f, err := fs.Open(from, fsx.Read)
	must(t, err)
	defer f.Close()
	n, err := f.Size()
	must(t, err)
	b := make([]byte, n)
	_, err = f.ReadAt(b, 0)
	must(t, err)
	must(t, fs.Remove(to))
	put(t, fs, to, b)
}

// put makes a file.
func put(t *testing.T, fs fsx.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Open(name, fsx.Write|fsx.Create|fsx.Exclusive)
	must(t, err)
	_, err = f.WriteAt(b, 0)
	must(t, errors.Join(err, f.Sync(), f.Close()))
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
