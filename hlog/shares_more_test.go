package hlog

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// A view goes on with the shares of its version after those were merged and nothing else needs them.
func TestShares_ViewKeepsMergedOnes(t *testing.T) {
	o := tiny()
	o.KeepVersions = 1
	r := withShares(t, o, 5)
	for range 3 {
		r.churn(600)
		r.commit()
	}
	pinned := r.ledger.Current()
	w, err := r.OpenVersion(context.Background(), 0)
	must(t, err)
	for range 12 {
		r.churn(600)
		r.commit()
		r.settle()
	}
	must(t, r.ledger.Retain(r.opts.KeepVersions))
	must(t, r.collect())
	for _, ref := range pinned.Shares {
		if f, err := o.FS.Open(r.ledger.ImagePath(ref.ID), fsx.Read); err != nil {
			t.Errorf("share %d: %v", ref.ID, err)
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
	for _, ref := range pinned.Shares {
		if slices.Contains(r.ledger.Current().Index.IDs(), ref.ID) || slices.Contains(r.disk.IDs(), ref.ID) {
			continue
		}
		if f, err := o.FS.Open(r.ledger.ImagePath(ref.ID), fsx.Read); err == nil {
			f.Close()
			t.Errorf("share %d stays although nobody needs it", ref.ID)
		}
	}
}

// Shares go to the remote with their versions, come back to an empty machine and mend a damaged one, and leave with the
// last version that needs them.
func TestShares_Remote(t *testing.T) {
	remotePath := t.TempDir()
	remote, err := checkpoint.NewDirRemote(remotePath)
	must(t, err)
	o := tiny()
	o.Remote, o.KeepVersions = remote, 3
	disk := o.FS.(*fsx.CrashFS)
	r := withShares(t, o, 6)
	grow := func(n int) {
		for range n {
			r.churn(300)
			r.commit()
			r.settle()
		}
	}
	grow(12)
	r.models[r.last+1] = maps.Clone(r.now)
	must(t, r.Close())

	mend := func(what string, do func(fs *fsx.CrashFS, m *checkpoint.Manifest)) {
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
		must(t, s.ready(t.Context()))
		if m := s.ledger.Current(); len(m.Shares) == 0 {
			t.Errorf("%s: no shares", what)
		}
		must(t, s.Close())
	}
	mend("missing", func(fs *fsx.CrashFS, m *checkpoint.Manifest) {
		must(t, fs.Remove(r.ledger.ImagePath(m.Shares[0].ID)))
	})
	mend("empty machine", nil)

	r.open(o)
	r.last = r.ledger.MaxID()
	for range 8 { // until no version on the remote needs what it began with
		grow(4)
	}
	must(t, r.Close())
	named := map[string]bool{}
	for _, v := range r.copies.mirror.Known() {
		m, err := r.ledger.Manifest(v)
		must(t, err)
		for _, id := range m.Index.IDs() {
			named[fmt.Sprintf("%016x", id)] = true
		}
	}
	there, err := filepath.Glob(filepath.Join(remotePath, "*", "images", "*", "*", "*"))
	must(t, err)
	if len(there) == 0 {
		t.Fatal("nothing on the remote")
	}
	for _, name := range there {
		if id := filepath.Base(filepath.Dir(filepath.Dir(name))); !named[id] {
			t.Errorf("%s is there, and no version names it", name)
		}
	}
}

// A store that has a remote is opened without it for a while.
func TestRemote_LeftOutForAWhile(t *testing.T) {
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	with, without := tiny(), tiny()
	with.indexPace.Uncovered, without.indexPace.Uncovered = shareTestCut, shareTestCut
	without.FS = with.FS
	with.Remote = remote
	s := mustOpen(t, "/store", with)
	check := fillKeys(t, s, 500)
	commit(t, s)
	must(t, s.Close())
	s = mustOpen(t, "/store", without)
	must(t, s.disk.WriteRunsUpTo(s.current().Cut))
	must(t, s.Close())
	s = mustOpen(t, "/store", with)
	check(s.Get)
}

// A run or a merge that fails leaves nothing behind, and no version that is not whole; the next one makes up for it. A
// checkpoint that needs a run says why there is none. What a failed call left in doubt opens, too.
func TestShares_Faults(t *testing.T) {
	for _, fault := range []fsx.Fault{
		{Class: fsx.ClassOpen, Match: "*.img"}, {Class: fsx.ClassWrite, Match: "*.img"}, {Class: fsx.ClassSync, Match: "*.img"},
		{Class: fsx.ClassSyncDir, Match: "images"}, {Class: fsx.ClassRead, Match: "*.img"}, {Class: fsx.ClassWrite, Match: "*.seg"},
		{Class: fsx.ClassSync, Match: "*.seg"}, {Class: fsx.ClassRename, Match: "*.manifest"}, {Class: fsx.ClassSyncDir, Match: "versions"},
		{Class: fsx.ClassSyncDir, Match: "images", After: true}, {Class: fsx.ClassSync, Match: "*.img", After: true},
	} {
		t.Run(fmt.Sprintf("%+v", fault), func(t *testing.T) {
			o := tiny()
			o.KeepVersions = 4
			disk := o.FS.(*fsx.CrashFS)
			failing := fsx.NewErr(disk)
			o.FS = failing
			r := withShares(t, o, 8)
			failed := 0
			for round := range testkit.UnderRace(2, 8) {
				fault.Sticky, fault.Nth = round%2 == 0, int64(1+round%3)
				injected := failing.Inject(fault)
				r.churn(600)
				r.last++
				r.models[r.last] = maps.Clone(r.now)
				_, err := r.Checkpoint(context.Background(), WithVersion(r.last))
				injected.Clear()
				if err != nil {
					failed++
				}
				if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepSubset, Seed: uint64(round)}), o); err != nil {
					t.Fatalf("round %d, after a crash: %v", round, err)
				}
			}
			r.churn(10)
			r.commit()
			r.settle()
			if err := r.sameVersions(r.Store); err != nil {
				t.Fatal(err)
			}
			r.leftovers()
			if m := r.ledger.Current(); len(m.Shares) < 2 {
				t.Errorf("shares %v", m.Shares)
			}
		})
	}
}

// A version leaves no more log to be replayed than R4 allows, which is twice as much when records are long; it has a run
// written of what is more.
func TestCheckpoint_LeavesLittleToReplay(t *testing.T) {
	for _, value := range []int{8, 100} {
		o := tiny()
		o.indexPace.Uncovered = 16 * reclog.BlockBytes
		s := mustOpen(t, "/store", o)
		most := s.disk.Uncovered
		if value == 100 {
			most *= 2
		}
		for k, versions := 0, 0; versions < 4; versions++ {
			for end := s.log.Tail() + 5*most/2; s.log.Tail() < end; k++ {
				must(t, s.Set(key8(k), make([]byte, value)))
			}
			commit(t, s)
			m := s.current()
			if left := m.Cut - m.ReplayFrom; left > most {
				t.Errorf("values of %d bytes: version %d leaves %d bytes to be replayed, at most %d", value, m.Version, left, most)
			}
		}
		must(t, s.Close())
	}
}

// Long records may leave twice as much log to be replayed, for which a commit does not wait for a run (R4).
func TestCheckpoint_LongRecordsNeedNoRun(t *testing.T) {
	o := tiny()
	o.indexPace.Uncovered, o.giveWay = 32*reclog.BlockBytes, time.Hour
	s := mustOpen(t, "/store", o)
	must(t, s.Set(key8(0), make([]byte, 100)))
	commit(t, s) // from then on it is known how long records are
	for k := 1; s.log.Tail() < 50*reclog.BlockBytes; k++ {
		must(t, s.Set(key8(k), make([]byte, 100)))
	}
	p, err := s.BeginCheckpoint()
	must(t, err)
	_, err = p.Wait(t.Context())
	must(t, err)
	if m := s.current(); len(m.Shares) > 0 || m.Cut-m.ReplayFrom <= s.disk.Uncovered {
		t.Errorf("the version ends at %#x and names %+v: a run was awaited", m.Cut, m.Index)
	}
	must(t, s.Close())
}

// A run is due before the versions to come need it: commits go on while it is being written.
func TestCheckpoint_WaitsForNoRunThatHasJustBegun(t *testing.T) {
	o := tiny()
	o.indexPace.Uncovered = 16 * reclog.BlockBytes
	files := &openHookFS{FS: o.FS}
	o.FS = files
	s := mustOpen(t, "/store", o)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hook := func(name string) {
		if strings.HasSuffix(name, ".img") { // the first one is the run: there is none to read
			once.Do(func() {
				close(begun)
				<-goOn
			})
		}
	}
	files.hook.Store(&hook)
	next := 0
	block := func() {
		t.Helper()
		must(t, s.Set(key8(next), make([]byte, 100)))
		next++
		within(t, "a commit", func() { commit(t, s) })
	}
	defer close(goOn)
	for s.log.Durability().Durable() < uint64(word.FirstAddress)+12*reclog.BlockBytes {
		block()
	}
	within(t, "the run", func() { <-begun })
	for range 3 {
		block()
	}
	if m := s.current(); m.Cut-m.ReplayFrom < 15*reclog.BlockBytes || len(m.Shares) > 0 {
		t.Errorf("version %d ends at %#x and names %+v: the run was not awaited", m.Version, m.Cut, m.Index)
	}
}

// What no run stands for yet is in memory, and a restore reads nothing of it; the runs that come after it have it all.
func TestRestore_ReadsNoLogThatNoRunStandsFor(t *testing.T) {
	o := tiny()
	disk := o.FS.(*fsx.CrashFS)
	files := &readHookFS{FS: disk}
	o.FS, o.NoCompaction, o.KeepVersions = files, true, 10
	s := mustOpen(t, "/store", o)
	var reads atomic.Int64
	files.set(func(name string) {
		if strings.HasSuffix(name, ".seg") {
			reads.Add(1)
		}
	})
	check := fillKeys(t, s, 1000)
	v := commit(t, s)
	for range 3 {
		for k := range 1500 {
			must(t, s.Set(key8(k), []byte("undone")))
		}
		commit(t, s)
		if _, err := s.Restore(context.Background(), v); err != nil {
			t.Fatal(err)
		}
		if n := reads.Load(); n != 0 && !invariant.Enabled || len(s.current().Shares) != 0 { // which compare what is in memory
			t.Fatalf("%d reads of log; version %d names %+v", n, s.current().Version, s.current().Index)
		}
		check(s.Get)
	}
	must(t, s.Set(key8(2000), []byte("after")))
	commit(t, s)
	must(t, s.disk.WriteRunsUpTo(s.current().Cut))
	must(t, s.Set(key8(2001), []byte("last")))
	commit(t, s)
	if m := s.current(); len(m.Shares) == 0 || m.Index.Replay() <= uint64(word.FirstAddress) {
		t.Fatalf("version %d names %+v", m.Version, m.Index)
	}
	again := *o
	again.FS = disk.Clone(fsx.Crash{Keep: fsx.KeepNone})
	opened := mustOpen(t, "/store", &again)
	check(opened.Get)
	for k := 1000; k < 1500; k++ {
		if _, err := opened.Get(nil, key8(k)); err != ErrNotFound {
			t.Fatalf("key %d: %v", k, err)
		}
	}
}

// After a restore to a version whose log was compacted, nothing was told of the log below it. A restore to an older version,
// which has that log, reads it: what comes out of runs then has all of its keys.
func TestRestore_BelowWhereTheLogBegan(t *testing.T) {
	o := tiny()
	disk := o.FS.(*fsx.CrashFS)
	o.NoCompaction, o.KeepVersions = true, 10
	s := mustOpen(t, "/store", o)
	check := fillKeys(t, s, 1000)
	v := commit(t, s)
	for k := range 1000 {
		must(t, s.Set(key8(k), []byte("undone")))
	}
	commit(t, s)
	must(t, s.Compact(context.Background()))
	compacted := commit(t, s)
	if b := uint64(logBegin(s.current())); b <= uint64(word.FirstAddress) || s.current().Index.Replay() >= b {
		t.Fatalf("the log begins at %#x, behind runs %#x: nothing is tested", b, s.current().Index.Replay())
	}
	for _, to := range []checkpoint.Version{compacted, v} {
		if _, err := s.Restore(context.Background(), to); err != nil {
			t.Fatal(err)
		}
	}
	must(t, s.Set(key8(2000), []byte("after")))
	must(t, s.disk.WriteRunsUpTo(s.current().Cut))
	commit(t, s)
	if m := s.current(); len(m.Shares) == 0 {
		t.Fatalf("version %d names %+v", m.Version, m.Index)
	}
	again := *o
	again.FS = disk.Clone(fsx.Crash{Keep: fsx.KeepNone})
	check(mustOpen(t, "/store", &again).Get)
}

// A damaged share is not merged, so that the damage stays where it is, and recovery goes on replaying little.
func TestShares_DamagedOneIsNotMerged(t *testing.T) {
	o := tiny()
	r := withShares(t, o, 9)
	r.settle() // a merge that is under way has read its shares
	bad := r.disk.Name(control(r.control.Load()).logVersion(), r.log.Durability().Written()).Shares[0]
	flip(t, o.FS, r.ledger.ImagePath(bad.ID), bad.Bytes-1)
	for range 16 {
		r.churn(500)
		r.commit()
		r.settle()
	}
	m := r.ledger.Current()
	kept, level := false, 0
	for _, ref := range m.Shares {
		kept, level = kept || ref.ID == bad.ID, max(level, ref.Level)
	}
	if !kept || level < bad.Level+2 {
		t.Errorf("%v is not among %v, or nothing else was merged", bad, m.Shares)
	}
}

// What a crash leaves that nothing refers to stays until the first commit (V12), and then goes. That does not hold the
// commit up: not even if it cannot be removed.
func TestSweep_AfterACrash(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	r := withShares(t, o, 13)
	r.churn(6000)
	r.flush()
	committed := r.models[r.last]
	again := *o
	failing := fsx.NewErr(o.FS.(*fsx.CrashFS).Clone(fsx.Crash{Keep: fsx.KeepAll}))
	again.FS = failing
	injected := failing.Inject(fsx.Fault{Class: fsx.ClassRemove, Match: "*.img", Sticky: true})
	s := mustOpen(t, "/store", &again)
	must(t, r.same(committed, s.Get))
	left := imageFiles(t, s)
	must(t, s.Close())
	injected.Clear()
	s = mustOpen(t, "/store", &again)
	must(t, s.collect())
	if n := imageFiles(t, s); n != left {
		t.Errorf("%d files in images/ before the first commit, there were %d", n, left)
	}
	commit(t, s)
	eventually(t, "what the crash has left to be removed", func() bool { return imageFiles(t, s) <= referenced(t, s) })
	if left <= referenced(t, s) {
		t.Errorf("the crash left %d files in images/, versions and the store need %d", left, referenced(t, s))
	}
	must(t, r.same(committed, s.Get))
}

// What was merged after the last commit is named by that version when the store is closed, so that it is not merged again.
func TestClose_NamesWhatWasMergedSince(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	r := withShares(t, o, 14)
	r.background.merges.Stop()
	r.churn(3000)
	v := r.commit()
	r.background.runs.Stop() // the commit has woken it: it may write another run that is named, too
	m, ok := r.disk.TakeMerge()
	if !ok {
		t.Fatal("nothing is to be merged")
	}
	must(t, r.disk.MergeOnce(t.Context(), m))
	want := r.disk.IDs()
	must(t, r.Close())
	r.open(o)
	if got := r.ledger.Current(); got.Version != v || !slices.Equal(slices.Sorted(slices.Values(got.Index.IDs())), slices.Sorted(slices.Values(want))) {
		t.Errorf("version %d names %v, want %v", got.Version, got.Index.IDs(), want)
	}
	must(t, r.same(r.now, r.Get))
}

// Nobody waits for a merge: while one stands still, versions are committed and the store is restored. It reads on no more
// when the store closes, and goes on at the next opening.
func TestMerge_NobodyWaits(t *testing.T) {
	fs := &readHookFS{FS: tiny().FS}
	o := tiny()
	o.FS, o.NoCompaction = fs, true
	r := withShares(t, o, 15)
	hold := func() (chan struct{}, chan struct{}, *atomic.Int64) {
		merging, goOn, reads := make(chan struct{}), make(chan struct{}), new(atomic.Int64)
		fs.set(func(name string) {
			if filepath.Ext(name) == ".img" && testkit.Stands(").MergeOnce(", ").ReadAt(") && reads.Add(1) == 1 {
				close(merging)
				<-goOn
			}
		})
		return merging, goOn, reads
	}
	must(t, r.loadWholeIndex()) // else those who load it read, too
	merging, goOn, _ := hold()
	r.churn(4000)
	within(t, "a commit", func() { r.commit() })
	within(t, "the merge", func() { <-merging })
	r.churn(100)
	within(t, "a commit", func() { r.commit() })
	within(t, "a restore", func() { r.restore(r.last - 1) })
	close(goOn)
	fs.set(nil)
	r.settle()
	must(t, r.same(r.now, r.Get))

	merging, goOn, reads := hold()
	r.last = r.ledger.MaxID()
	r.churn(4000)
	r.commit()
	within(t, "the merge", func() { <-merging })
	closed := make(chan error)
	go func() { closed <- r.Close() }()
	eventually(t, "the end of the store's life", func() bool { return r.life.Context().Err() != nil })
	close(goOn)
	within(t, "the close", func() { must(t, <-closed) })
	if n := reads.Load(); n > 2 {
		t.Errorf("the merge has read %d times", n)
	}
	fs.set(nil)
	r.open(o)
	before := slices.Max(r.disk.IDs())
	r.churn(1000)
	r.last = r.ledger.MaxID()
	r.commit()
	r.settle()
	must(t, r.same(r.now, r.Get))
	if !slices.ContainsFunc(standing(r.Store), func(s index.ShareRef) bool { return s.ID > before && s.Level > 0 }) {
		t.Errorf("nothing was merged: %v", standing(r.Store))
	}
}

// unpack unpacks a directory that was packed with tar.
func unpack(t *testing.T, archive string) fsx.FS {
	t.Helper()
	f, err := os.Open(archive)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	fs := fsx.NewCrash(fsx.CrashOptions{Direct: true})
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return fs
		}
		must(t, err)
		path := filepath.Join("/store", h.Name)
		if h.FileInfo().IsDir() {
			must(t, fs.MkdirAll(path))
			continue
		}
		b, err := io.ReadAll(r)
		must(t, err)
		must(t, fs.MkdirAll(filepath.Dir(path)))
		put(t, fs, path, b)
	}
}

// A directory of the last release without shares, in testdata/before-shares.tar.gz: five versions on two branches, the newer
// of which have an image and two runs. It opens; versions to come name image and runs, and shares behind them, until
// compaction has passed what those stand for; all versions can be read and restored.
func TestOpen_DirectoryFromBeforeShares(t *testing.T) {
	const keys = 6000
	models := map[checkpoint.Version]map[int]string{}
	parents := map[checkpoint.Version]checkpoint.Version{1: 0, 2: 1, 3: 2, 4: 2, 5: 4}
	steps := []struct {
		v          checkpoint.Version
		from, step int
	}{{1, 0, 1}, {2, 0, 2}, {3, 1, 3}, {4, 2, 4}, {5, 0, 5}}
	write := func(model map[int]string, v checkpoint.Version, from, step int, set func(k int, value string)) {
		for k := from; k < keys; k += step {
			if (k+int(v))%11 == 0 {
				delete(model, k)
				set(k, "")
				continue
			}
			model[k] = fmt.Sprintf("%d of round %d, padding padding", k, v)
			set(k, model[k])
		}
	}
	for _, s := range steps {
		models[s.v] = maps.Clone(models[parents[s.v]])
		if models[s.v] == nil {
			models[s.v] = map[int]string{}
		}
		write(models[s.v], s.v, s.from, s.step, func(int, string) {})
	}
	same := func(v checkpoint.Version, get func(dst, key []byte) ([]byte, error)) {
		t.Helper()
		for k := range keys {
			got, err := get(nil, key8(k))
			if want, there := models[v][k]; there && (err != nil || string(got) != want) || !there && !errors.Is(err, ErrNotFound) {
				t.Fatalf("version %d, key %d: %q, %v, want %q", v, k, got, err, want)
			}
		}
	}
	chains, lists := 0, 0
	sameScan := func(v checkpoint.Version, w *View) {
		t.Helper()
		want := map[string]string{}
		for k, value := range models[v] {
			want[string(key8(k))] = value
		}
		sameState(t, fmt.Sprintf("scan of version %d", v), scanned(t, w.Scan), want)
		if w.version.Untold != nil {
			lists++
		} else {
			chains++
		}
	}
	o := &Options{FS: unpack(t, "testdata/before-shares.tar.gz"), MemoryBytes: MinMemoryBytes, PageBytes: MinPageBytes, KeepVersions: 20, NoCompaction: true, indexPace: shares.Pace{Uncovered: shareTestCut}}
	s := mustOpen(t, "/store", o)
	if m := s.current(); m.Version != 5 || m.Image == nil || len(m.Runs) == 0 || len(m.Shares) > 0 {
		t.Fatalf("version %d names %+v", m.Version, m.Index)
	}
	same(5, s.Get)
	for v := range models {
		w, err := s.OpenVersion(context.Background(), v)
		must(t, err)
		same(v, w.Get)
		sameScan(v, w)
		must(t, w.Close())
	}
	old := s.current().Index
	next := func(v, parent checkpoint.Version) {
		t.Helper()
		models[v] = maps.Clone(models[parent])
		write(models[v], v, int(v)%3, 3, func(k int, value string) {
			if value == "" {
				must(t, s.Delete(key8(k)))
			} else {
				must(t, s.Set(key8(k), []byte(value)))
			}
		})
		commit(t, s, WithVersion(v))
	}
	next(6, 5)
	if m := s.current(); m.Image == nil || m.Image.ID != old.Image.ID || len(m.Shares) == 0 {
		t.Fatalf("version %d names %+v", m.Version, m.Index)
	}
	_, err := s.Restore(context.Background(), 3) // another branch, of old
	must(t, err)
	same(3, s.Get)
	next(7, 3)
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	same(7, s.Get)
	_, err = s.Restore(context.Background(), 6)
	must(t, err)
	same(6, s.Get)
	must(t, s.Compact(context.Background()))
	next(8, 6)
	next(9, 8)
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	same(9, s.Get)
	if m := s.current(); m.Image != nil || len(m.Shares) == 0 {
		t.Errorf("version %d still names %+v", m.Version, m.Index)
	}
	for v := range models {
		w, err := s.OpenVersion(context.Background(), v)
		must(t, err)
		same(v, w.Get)
		sameScan(v, w)
		must(t, w.Close())
	}
	if lists == 0 || chains == 0 {
		t.Errorf("%d scans by shares, %d along chains", lists, chains)
	}
}

// Log that an earlier release has left without runs, more of it than fits into memory, gets them when the directory is
// opened, and is not replayed any more by the next opening.
func TestOpen_MuchLogWithoutRuns(t *testing.T) {
	o := &Options{FS: unpack(t, "testdata/before-shares.tar.gz"), MemoryBytes: MinMemoryBytes, PageBytes: MinPageBytes, KeepVersions: 20, NoCompaction: true}
	o.indexPace.Uncovered = 4096 // the fixture leaves some 20 KiB
	s := mustOpen(t, "/store", o)
	m := s.current()
	if s.disk.Tells(m) {
		t.Fatalf("version %d is replayed from %d to %d: that is told at once", m.Version, m.Index.Replay(), m.Cut)
	}
	for range 2 {
		must(t, s.Set(key8(1), key8(2)))
		commit(t, s)
		if now := s.current(); len(now.Shares) == 0 || now.Cut-now.ReplayFrom > s.disk.Uncovered || now.Image == nil {
			t.Fatalf("version %d, which ends at %d, names %+v", now.Version, now.Cut, now.Index)
		}
		_, err := s.Restore(context.Background(), m.Version)
		must(t, err)
	}
	must(t, s.Set(key8(1), key8(2)))
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	if got, err := s.Get(nil, key8(1)); err != nil || string(got) != string(key8(2)) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := s.Get(nil, key8(2)); err != nil || string(got) != "2 of round 4, padding padding" {
		t.Errorf("%q, %v", got, err)
	}
}
