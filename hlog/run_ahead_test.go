package hlog

import (
	"context"
	"maps"
	"path/filepath"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// lastRun returns where the newest run ends.
func (r *running) lastRun() uint64 {
	return r.ledger.Index().ReplayFrom()
}

// Runs follow the log, not the commits: a version names, when it is committed, runs up to nearly its end. Until then
// they concern nobody: a crash leaves the version before, and a restore to it undoes what they stand for.
func TestRun_AheadOfTheCommit(t *testing.T) {
	o := tiny()
	disk := o.FS.(*fsx.CrashFS)
	r := withRuns(t, o, 10)
	ahead := func() {
		t.Helper()
		r.churn(2000)
		r.settle()
		if tail, to := r.log.Tail(), r.lastRun(); to <= r.current().Cut+runUnit || tail-to >= runUnit {
			t.Fatalf("the last run ends at %d, the version at %d, the log at %d", to, r.current().Cut, tail)
		}
		m := r.ledger.Current()
		if n := len(m.Runs); n > 0 && m.Runs[n-1].To > members(m).fuzzy {
			t.Fatalf("version %d names %v, its fuzzy end is %d", m.Version, m.Runs[n-1], members(m).fuzzy)
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
		if to := r.lastRun(); to > r.current().Cut {
			t.Fatalf("a run of what was undone: it ends at %d, the version at %d", to, r.current().Cut)
		}
		if err := r.same(r.now, r.Get); err != nil {
			t.Fatalf("after a restore: %v", err)
		}
		ahead()
		pace(r.Store, never)
		r.commit()
		if m := r.ledger.Current(); len(m.Runs) == 0 || m.Cut-m.Runs[len(m.Runs)-1].To >= runUnit+reclog.BlockBytes {
			t.Fatalf("version %d names %v, its cut is %d", m.Version, m.Runs, m.Cut)
		}
		if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), o); err != nil {
			t.Fatalf("after a crash: %v", err)
		}
		pace(r.Store, runUnit)
	}
}

// A run holds nothing that a version which has begun will not have, however far the log has gone on (R4).
func TestRun_EndsWhereAVersionBegan(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	disk := o.FS.(*fsx.CrashFS)
	r := withRuns(t, o, 11)
	r.churn(300)
	r.settle()

	pace(r.Store, never)
	old := r.epochs.Register()
	old.Enter() // an operation of the old version: the cut waits for it
	r.last++
	r.models[r.last] = maps.Clone(r.now)
	p, err := r.BeginCheckpoint(WithVersion(r.last))
	must(t, err)
	for k := range 2000 {
		r.change(k, 1)
	}
	pace(r.Store, runUnit)
	written := make(chan struct{})
	go func() {
		defer close(written)
		r.writeRunsIfDue() // as it is now; it may wait for the operation as well
	}()
	disk.SetHook(func(c fsx.Call) {
		if filepath.Ext(c.Name) == ".seg" {
			<-written // the commit comes after the run
		}
	})
	defer disk.SetHook(nil)
	old.Exit()
	old.Release()
	_, err = p.Wait(context.Background())
	must(t, err)
	m := r.ledger.Current()
	if m.Version != r.last || m.Cut-members(m).fuzzy < 2*runUnit {
		t.Fatalf("version %d has its fuzzy end at %d, its cut at %d", m.Version, members(m).fuzzy, m.Cut)
	}
	if n := len(m.Runs); n > 0 && m.Runs[n-1].To > members(m).fuzzy {
		t.Errorf("version %d names %v, its fuzzy end is %d", m.Version, m.Runs[n-1], members(m).fuzzy)
	}
	if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepAll}), o); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	r.settle()
	r.commit()
	if err := r.sameAfter(disk.Clone(fsx.Crash{Keep: fsx.KeepAll}), o); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
}

// A record that is still being written when a run of its log is claimed is in the run.
func TestRun_WaitsForWhatIsBeingWritten(t *testing.T) {
	r := withRuns(t, tiny(), 12)
	pace(r.Store, never)
	r.churn(100)
	g := r.epochs.Register()
	defer g.Release()
	g.Enter()
	key, value := key8(1), word8(77)
	sh := record.ShapeFor(len(key), len(value), 0)
	a, ok := r.log.Allocate(sh.Size)
	for !ok {
		g.Exit()
		must(t, r.log.WaitForSpace(sh.Size))
		g.Enter()
		a, ok = r.log.Allocate(sh.Size)
	}
	before := r.lastRun()
	pace(r.Store, r.log.Tail()-before) // one run for all
	written := make(chan struct{})
	go func() {
		defer close(written)
		r.writeRunsIfDue()
	}()
	eventually(t, "a run that waits for what is being written", func() bool { // the background may have been faster to begin it
		return r.lastRun() != before || testkit.Stands("[sleep", ").Synchronize(", ").writeRunsIfDue(")
	})
	if r.lastRun() != before {
		t.Error("a run of a record that is not written yet")
	}
	v := control(r.control.Load()).version()
	record.Write(r.log.At(a), sh, word.None, v, 0, key, value, false)
	record.Abandon(r.log.At(a)) // no chain leads to it
	g.Exit()
	within(t, "the run", func() { <-written; waitClaims(t, r.Store) })
	if to := r.lastRun(); to <= uint64(a) {
		t.Errorf("the last run ends at %d, below %d", to, a)
	}
}

// What a crash leaves that nothing refers to stays until the first commit (V12), and then goes. That does not hold the
// commit up: not even if it cannot be removed.
func TestSweep_AfterACrash(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	r := withRuns(t, o, 13)
	r.churn(3000)
	r.settle()
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
