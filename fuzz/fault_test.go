package fuzz

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// faulty plays a tape with one fault, then takes the fault away and verifies what is left, after a clean stop and
// after a crash.
func faulty(tape Tape, fault fsx.Fault) (fired int64, counts Counts, err error) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	failing := fsx.NewErr(disk)
	r := &Runner{FS: failing, Options: []hlog.Options{small}, Faults: true}
	c := &Crasher{Options: r.Options, Outcome: r.Outcome, Every: 5, Subsets: 2}
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

// TestFault_EveryCall fails every call of every class, once and for ever, before and after its effect.
func TestFault_EveryCall(t *testing.T) {
	var sum Counts
	runs := 0
	for seed := range scaled(1, 1, 40) {
		tape := versionsTape(seed+100, 20)
		for class := range fsx.NumClasses {
			for _, f := range []fsx.Fault{{}, {Sticky: true}, {After: true}, {Sticky: true, Err: syscall.ENOSPC}} {
				f.Class = class
				for f.Nth = 1; ; f.Nth++ {
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
		t.Logf("seed %d: %d runs", seed, runs)
	}
	t.Logf("%d runs, %v", runs, sum)
}
