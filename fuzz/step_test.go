package fuzz

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// trace plays a tape step by step and returns the calls that changed the disk, crashes and what follows them included.
func trace(tape Tape, seed uint64, o hlog.Options) (calls []string, work int, err error) {
	disk := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 0})
	r := &Runner{FS: disk, Disk: disk, Options: []hlog.Options{o}, HashSeed: seed + 1, Work: step.New(seed)}
	note := func(disk *fsx.CrashFS) {
		disk.SetHook(func(c fsx.Call) { calls = append(calls, fmt.Sprint(c.N, " ", c.Op, " ", c.Name)) })
	}
	note(disk)
	r.NewDisk = note
	err = within(func() error { return r.Play(tape) })
	return calls, r.Work.Done(), err
}

// TestStepped_Replays: a run that is played step by step does the same to its disk every time, call by call.
func TestStepped_Replays(t *testing.T) {
	t.Parallel()
	calls, work := 0, 0
	for seed := range scaled(2, 8, 20, 1000) {
		tape := randomTape(seed+5000, 120)
		o := settings[int(seed)%len(settings)]
		first, n, err := trace(tape, seed, o)
		if err != nil {
			report(t, fmt.Sprint("seed ", seed), err, tape, func(tape Tape) error { _, _, err := trace(tape, seed, o); return err })
			continue
		}
		second, _, err := trace(tape, seed, o)
		if err != nil {
			t.Fatalf("seed %d, the second time only: %v", seed, err)
		}
		for i := range max(len(first), len(second)) {
			if i >= len(first) || i >= len(second) || first[i] != second[i] {
				t.Fatalf("seed %d: %d calls, then %d; they differ from call %d on:\n%s\n\n%s", seed, len(first), len(second), i,
					strings.Join(first[min(i, len(first)):min(i+5, len(first))], "\n"), strings.Join(second[min(i, len(second)):min(i+5, len(second))], "\n"))
			}
		}
		calls += len(first)
		work += n
	}
	testkit.Counted(t, "%d calls of %d tapes came again; %d pieces of background work", calls, scaled(2, 8, 20, 1000), work)
}
