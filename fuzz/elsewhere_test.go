package fuzz

import (
	"context"
	"fmt"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// elsewhere returns an Away that has another store in the place of the runner's while a command is played, and demands
// that nobody has touched it.
func elsewhere(disk *fsx.CrashFS) (away func() (func() error, error), times *int, err error) {
	const decoy, aside = "/data/decoy", "/data/aside"
	opts := small
	opts.FS = disk
	s, err := hlog.Open(decoy, &opts)
	if err != nil {
		return nil, nil, err
	}
	for i := range 500 {
		if err := s.Set(Key(i), Value(uint64(i), 300)); err != nil {
			return nil, nil, err
		}
	}
	if _, err := s.Checkpoint(context.Background()); err != nil {
		return nil, nil, err
	}
	if err := s.Close(); err != nil {
		return nil, nil, err
	}
	before := contents(disk, decoy)
	swap := func(away, comes string) error {
		if err := disk.Rename(storeDir, away); err != nil {
			return err
		}
		return disk.Rename(comes, storeDir)
	}
	times = new(int)
	return func() (func() error, error) {
		*times++
		return func() error {
			if err := swap(decoy, aside); err != nil {
				return err
			}
			if after := contents(disk, decoy); after != before {
				return disagree("the store that has its path now was changed:\n%s\n\n%s", before, after)
			}
			return nil
		}, swap(aside, decoy)
	}, times, nil
}

// TestElsewhere_PathLeadsToAnotherStore plays tapes with the directory renamed, and another store in its place, from before
// each command to after it: nothing of what the store does may be seen there, and all of it must be in its own directory.
func TestElsewhere_PathLeadsToAnotherStore(t *testing.T) {
	t.Parallel()
	moves := 0
	for seed := range scaled(testkit.UnderRace(2, 4), 12, 40, 4000) {
		play := func(tape Tape) error {
			disk := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 0})
			r := &Runner{FS: disk, Options: []hlog.Options{small}}
			if seed%2 == 1 {
				r.HashSeed, r.Work = seed, step.New(seed)
			}
			away, times, err := elsewhere(disk)
			if err != nil {
				return err
			}
			r.Away = away
			defer func() { moves += *times }()
			return within(func() error { return r.Play(tape) })
		}
		tape := versionsTape(seed+7000, 80)
		if err := play(tape); err != nil {
			report(t, fmt.Sprint("seed ", seed), err, tape, play)
		}
	}
	testkit.Counted(t, "%d times was another store in the place of the one that was used", moves)
}
