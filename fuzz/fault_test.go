package fuzz

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// faulty plays a tape with one fault, step by step, so that the same calls come every time, and verifies what is left,
// after a clean stop and after a crash.
func faulty(tape Tape, fault fsx.Fault) (fired int64, counts Counts, err error) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	failing := fsx.NewErr(disk)
	r := &Runner{FS: failing, Options: []hlog.Options{small}, Faults: true, Work: step.New(1)}
	c := &Crasher{Options: r.Options, Outcome: r.Outcome, Every: sparse(7), Subsets: 2, Stepped: true}
	injected := failing.Inject(fault)
	c.Watch(disk)
	if err := within(func() error { return r.Play(tape) }); err != nil {
		return injected.Fired(), c.Counts(), err
	}
	if err := c.Err(); err != nil {
		return injected.Fired(), c.Counts(), err
	}
	for _, crash := range []fsx.Crash{{Keep: fsx.KeepAll}, {Keep: fsx.KeepNone}} {
		if err := within(func() error { return Verify(disk.Clone(crash), small, r.Outcome(), Deep) }); err != nil {
			return injected.Fired(), c.Counts(), fmt.Errorf("at the end, %v: %w", crash, err)
		}
	}
	return injected.Fired(), c.Counts(), nil
}

// faults are the ways in which a call of a class fails at its k-th time.
func faults(class fsx.Class) []fsx.Fault {
	all := []fsx.Fault{{}, {Sticky: true}, {After: true}, {Sticky: true, Err: syscall.ENOSPC}}
	switch class {
	case fsx.ClassWrite:
		all = append(all, fsx.Fault{Short: 700}, fsx.Fault{Short: 4096, Err: syscall.ENOSPC, Sticky: true})
	case fsx.ClassRead:
		all = append(all, fsx.Fault{Short: 700, Err: syscall.EIO})
	}
	for i := range all {
		all[i].Class = class
	}
	return all
}

// TestFault_EveryCall fails every call of every class, or one in so many unless the counts are full, once and for ever,
// before, in the middle of and after its effect.
func TestFault_EveryCall(t *testing.T) {
	t.Parallel()
	var sum Counts
	runs := 0
	for seed := range scaled(1, 1, 1, 40) {
		tape := versionsTape(seed+100, 20)
		for class := range fsx.NumClasses {
			for _, f := range faults(class) {
				for f.Nth = 1; ; f.Nth += int64(sparse(testkit.Scaled(7, 4, 1, 1))) {
					fired, counts, err := faulty(tape, f)
					if err != nil {
						t.Errorf("seed %d, fault %+v: %v", seed, f, err)
					}
					runs++
					sum = sum.Add(counts)
					if fired == 0 {
						break
					}
				}
			}
		}
	}
	testkit.Counted(t, "%d runs, %v", runs, sum)
}

// TestFault_Interrupted interrupts every call of every class: nobody notices.
func TestFault_Interrupted(t *testing.T) {
	interrupted := int64(0)
	for seed := range scaled(1, 1, 3, 100) {
		for class := range fsx.NumClasses {
			failing := fsx.NewErr(fsx.NewCrash(fsx.CrashOptions{}))
			fault := failing.Inject(fsx.Fault{Class: class, Err: syscall.EINTR, Sticky: true})
			r := &Runner{FS: failing, Options: []hlog.Options{small}}
			if err := within(func() error { return r.Play(versionsTape(seed+200, 30)) }); err != nil {
				t.Errorf("seed %d, %v: %v", seed, class, err)
			}
			interrupted += fault.Fired()
		}
	}
	testkit.Counted(t, "%d calls interrupted", interrupted)
}

// TestFault_ByteBudget has files grow by so many bytes and no more, for budgets up to what a tape needs, and gives
// space back in the middle of the tape.
func TestFault_ByteBudget(t *testing.T) {
	t.Parallel()
	var sum Counts
	runs, failed := 0, 0
	for seed := range scaled(1, 1, 3, 100) {
		tape := versionsTape(seed+700, 40)
		for budget, enough := int64(1000), false; !enough; budget += (budget/8 + 4096) * int64(sparse(1)) {
			disk := fsx.NewCrash(fsx.CrashOptions{})
			failing := fsx.NewErr(disk)
			failing.SetBudget(budget)
			r := &Runner{FS: failing, Options: []hlog.Options{small}, Faults: true, Work: step.New(seed)}
			c := &Crasher{Options: r.Options, Outcome: r.Outcome, Every: sparse(9), Subsets: 2, Stepped: true}
			c.Watch(disk)
			r.Trace = func(i int, _ Op) {
				if i == 2*len(tape)/3 {
					failing.SetBudget(-1)
				}
			}
			if err := within(func() error { return r.Play(tape) }); err != nil {
				t.Errorf("seed %d, budget %d: %v", seed, budget, err)
			}
			if err := c.Err(); err != nil {
				t.Errorf("seed %d, budget %d: %v", seed, budget, err)
			}
			failing.SetBudget(-1)
			if err := within(func() error { return Verify(disk.Clone(fsx.Crash{}), small, r.Outcome(), Deep) }); err != nil {
				t.Errorf("seed %d, budget %d, at the end: %v", seed, budget, err)
			}
			runs++
			failed += r.Failed()
			sum = sum.Add(c.Counts())
			enough = r.Failed() == 0
		}
	}
	testkit.Counted(t, "%d budgets, %d calls failed, %v", runs, failed, sum)
}

// TestFault_SyncDropsOnce has one sync drop what it should have written and say so, and be honest again from then on,
// at every sync of a tape: what it covered must be written again or never be believed durable (G8).
func TestFault_SyncDropsOnce(t *testing.T) {
	t.Parallel()
	var sum Counts
	runs, failed := 0, 0
	for seed := range scaled(1, 1, 3, 100) {
		tape := versionsTape(seed+300, 25)
		for k := int64(1); ; k += int64(sparse(1)) {
			disk := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 1})
			r := &Runner{FS: disk, Options: []hlog.Options{small}, Faults: true}
			c := &Crasher{Options: r.Options, Outcome: r.Outcome, Every: sparse(3), Subsets: 3}
			if seed%3 != 0 {
				r.Work, c.Stepped = step.New(seed), true
			}
			syncs := int64(0)
			var playing atomic.Int64 // a Kind; background work syncs, too
			r.Trace = func(_ int, o Op) { playing.Store(int64(o.Kind)) }
			disk.SetHook(func(call fsx.Call) {
				// That a purged version comes back is the one thing that is not made good: no later call could tell.
				if call.Op == fsx.OpSync || call.Op == fsx.OpSyncDir && Kind(playing.Load()) != OpPurge {
					if syncs++; syncs == k {
						disk.FailSync(fsx.SyncFailOnce, call.Name)
					}
				}
				c.at(disk, call)
			})
			if err := within(func() error { return r.Play(tape) }); err != nil {
				t.Fatalf("seed %d, sync %d: %v", seed, k, err)
			}
			if err := c.Err(); err != nil {
				t.Fatalf("seed %d, sync %d: %v", seed, k, err)
			}
			for _, crash := range []fsx.Crash{{Keep: fsx.KeepAll}, {Keep: fsx.KeepNone}} {
				if err := within(func() error { return Verify(disk.Clone(crash), small, r.Outcome(), Deep) }); err != nil {
					t.Fatalf("seed %d, sync %d, at the end, %v: %v", seed, k, crash, err)
				}
			}
			runs++
			failed += r.Failed()
			sum = sum.Add(c.Counts())
			if syncs < k {
				break
			}
		}
	}
	testkit.Counted(t, "%d runs, %d calls failed, %v", runs, failed, sum)
}

// TestFault_FullDisk lets the disk fill up, again and again, and gives space back.
func TestFault_FullDisk(t *testing.T) {
	var sum Counts
	failed := 0
	for seed := range scaled(2, 6, 10, 300) {
		disk := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 1})
		r := &Runner{FS: disk, Options: []hlog.Options{small}, Faults: true}
		c := &Crasher{Options: r.Options, Outcome: r.Outcome, Every: sparse(7), Subsets: 2}
		c.Watch(disk)
		r.Trace = func(i int, _ Op) {
			switch i % 6 {
			case 2:
				disk.SetSpace(disk.Used() + int64(i%5)*40<<10 + 1)
			case 5:
				disk.SetSpace(0)
			}
		}
		if err := within(func() error { return r.Play(versionsTape(seed+500, 60)) }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := c.Err(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		disk.SetSpace(0)
		if err := within(func() error { return Verify(disk.Clone(fsx.Crash{}), small, r.Outcome(), Deep) }); err != nil {
			t.Fatalf("seed %d, at the end: %v", seed, err)
		}
		failed += r.Failed()
		sum = sum.Add(c.Counts())
	}
	if failed == 0 {
		t.Error("no call failed")
	}
	testkit.Counted(t, "%d calls failed, %v", failed, sum)
}
