package fuzz

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// small are the options that make everything happen early: the least memory, the smallest pages, short segments.
var small = hlog.Options{MemoryBytes: 4 << 20, PageBytes: 16 << 10, SegmentBytes: 64 << 10, KeepVersions: 1000}

// demoting is small with a cold tier, into which everything is demoted as soon as it cannot change any more.
var demoting = func() hlog.Options {
	o := small
	o.ColdAfter, o.MutableFraction = 1, 0.001
	return o
}()

func randomTape(seed uint64, n int) Tape {
	rng := rand.New(rand.NewPCG(seed, 1))
	t := make(Tape, n)
	for i := range t {
		t[i] = Op{Kind(rng.IntN(int(numKinds))), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}
	}
	return t
}

// tapeLength is the number of commands of the tapes of TestTapes_Random.
const tapeLength = 150

// TestTapes_Random plays random tapes, crashes among their commands; every third one step by step.
func TestTapes_Random(t *testing.T) {
	t.Parallel()
	tapes := scaled(testkit.UnderRace(3, 9), 24, 60, 5000)
	testkit.Counted(t, "%d tapes of %d commands", tapes, tapeLength)
	for seed := range tapes {
		play := func(tape Tape) error {
			disk := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 0})
			r := &Runner{FS: disk, Disk: disk, Options: []hlog.Options{small}}
			if seed/3%2 == 1 {
				r.Options = []hlog.Options{demoting}
			}
			if seed%3 == 2 {
				r.HashSeed, r.Work = seed, step.New(seed)
			}
			return within(func() error { return r.Play(tape) })
		}
		tape := randomTape(seed, tapeLength)
		if err := play(tape); err != nil {
			report(t, fmt.Sprint("seed ", seed), err, tape, play)
		}
	}
}

// versionsTape is a random tape with little data and many versions, without commands that replace the disk.
func versionsTape(seed uint64, n int) Tape {
	rng := rand.New(rand.NewPCG(seed, 2))
	kinds := []Kind{OpSet, OpSet, OpSet, OpDelete, OpRMW, OpRMW, OpMultiSet, OpTable, OpFill, OpChurn, OpCheckpoint,
		OpCheckpoint, OpCheckpoint, OpBegin, OpWait, OpRestore, OpRestore, OpPurge, OpCompact, OpView, OpViewCheck, OpViewClose, OpReopen,
		OpBurst, OpUnit, OpUnit, OpChanges}
	t := make(Tape, n)
	for i := range t {
		o := Op{kinds[rng.IntN(len(kinds))], byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}
		if o.Kind == OpFill || o.Kind == OpChurn {
			o.B %= 40
		}
		t[i] = o
	}
	return t
}

// TestModel_RestoreUnderWay: what a restore waits for is committed before it, and the crash may come when the store is
// back already. What was current is as old as any other version then.
func TestModel_RestoreUnderWay(t *testing.T) {
	m := NewModel()
	m.keep = 2
	for id := Version(1); id <= 2; id++ {
		m.begin(id, "")
		m.committed()
	}
	m.begin(3, "")
	m.restoring(2)
	m.committed() // version 3
	for _, id := range []Version{2, 3} {
		if _, ok := m.outcome().current[id]; !ok {
			t.Errorf("version %d cannot be current", id)
		}
	}
	m.restored(2)
	if _, ok := m.outcome().current[3]; ok {
		t.Error("version 3 can be current")
	}

	m.keep = 1
	m.restoring(3)
	if o := m.outcome(); o.must[2] != nil || o.may[2] == nil {
		t.Error("version 2 is taken to stay although it is no longer current")
	}
	m.restored(3)
}
