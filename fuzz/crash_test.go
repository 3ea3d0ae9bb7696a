package fuzz

import (
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// TestCrash_EveryCall crashes random tapes at every write-class call.
func TestCrash_EveryCall(t *testing.T) {
	var sum Counts
	for seed := range scaled(1, 4, 200) {
		disk := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 0})
		r := &Runner{FS: disk, Disk: disk, Options: []hlog.Options{small}}
		c := &Crasher{Options: []hlog.Options{small}, Outcome: r.Outcome, Every: 1, Subsets: 8, Again: 20, Depths: 10}
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
	t.Log(sum)
}
