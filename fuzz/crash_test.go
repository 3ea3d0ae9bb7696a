package fuzz

import (
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// TestCrash_EveryCall crashes random tapes at every write-class call, each in eight ways, and the recovery from some of
// these crashes at every call again. Every fourth tape is played with the goroutines of the store, the others step by
// step: what fails there fails every time.
func TestCrash_EveryCall(t *testing.T) {
	t.Parallel()
	crashEveryCall(t, small, scaled(1, 4, 20, 200))
}

// The same with a cold tier: demotions, merges of cold files, and versions that name them are cut short everywhere.
func TestCrash_EveryCallWhileDemoting(t *testing.T) {
	t.Parallel()
	crashEveryCall(t, demoting, scaled(1, 2, 20, 200))
}

func crashEveryCall(t *testing.T, o hlog.Options, scripts uint64) {
	var sum Counts
	for seed := range scripts {
		disk := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 0})
		r := &Runner{FS: disk, Disk: disk, Options: []hlog.Options{o}}
		c := &Crasher{Options: r.Options, Outcome: r.Outcome, Every: sparse(1), Subsets: 8, Again: 80, Depths: 40}
		if seed%4 != 0 {
			r.HashSeed, r.Work, c.Stepped = seed, step.New(seed), true
		}
		tape := versionsTape(seed, 40)
		c.Watch(disk)
		if err := r.Play(tape); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err := c.Err(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		t.Logf("seed %d: %v, %d calls", seed, c.Counts(), disk.Calls())
		sum = sum.Add(c.Counts())
	}
	testkit.Counted(t, "%d scripts: %v", scripts, sum)
}
