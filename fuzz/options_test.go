package fuzz

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// settings are option sets that must all give the same answers, in any order from one opening to the next. The least
// segment is 256 KiB, so that every page fits.
var settings = func() []hlog.Options {
	base := hlog.Options{MemoryBytes: 4 << 20, PageBytes: 16 << 10, SegmentBytes: 256 << 10, KeepVersions: 1000}
	with := func(change func(o *hlog.Options)) hlog.Options {
		o := base
		change(&o)
		return o
	}
	return []hlog.Options{
		base,
		with(func(o *hlog.Options) { o.PageBytes = 32 << 10 }),
		with(func(o *hlog.Options) { o.PageBytes = 64 << 10 }),
		with(func(o *hlog.Options) { o.PageBytes = 128 << 10 }),
		with(func(o *hlog.Options) { o.PageBytes, o.MemoryBytes = 256<<10, 8<<20 }),
		with(func(o *hlog.Options) { o.PageBytes = 0 }),
		with(func(o *hlog.Options) { o.MemoryBytes = 5<<20 + 123 }),
		with(func(o *hlog.Options) { o.MemoryBytes = 32 << 20 }),
		with(func(o *hlog.Options) { o.MutableFraction = 0.001 }),
		with(func(o *hlog.Options) { o.MutableFraction = 0.25 }),
		with(func(o *hlog.Options) { o.MutableFraction = 0.95 }),
		with(func(o *hlog.Options) { o.SegmentBytes = 1 << 20 }),
		with(func(o *hlog.Options) { o.SegmentBytes = 64 << 20 }),
		with(func(o *hlog.Options) { o.NoReadCache = true }),
		with(func(o *hlog.Options) { o.NoCompaction = true }),
		with(func(o *hlog.Options) { o.NoReadCache, o.MutableFraction, o.PageBytes = true, 0.01, 64<<10 }),
		with(func(o *hlog.Options) { o.ColdAfter = 1 }),
		with(func(o *hlog.Options) { o.ColdAfter, o.KeepVersions, o.NoReadCache = 1, 3, true }),
		with(func(o *hlog.Options) { o.ColdAfter, o.MutableFraction = 1, 0.001 }), // what no version has is demoted, too
		with(func(o *hlog.Options) { o.ColdAfter, o.MutableFraction, o.KeepVersions = 64<<10, 0.01, 4 }),
		with(func(o *hlog.Options) { o.ColdAfter = -1 }),
		with(func(o *hlog.Options) { o.KeepVersions = 1 }),
		with(func(o *hlog.Options) { o.KeepVersions = 2 }),
		with(func(o *hlog.Options) { o.KeepVersions = 5 }),
		with(func(o *hlog.Options) { o.KeepVersions, o.MutableFraction = 3, 0.01 }),
		with(func(o *hlog.Options) { o.PageBytes, o.MemoryBytes, o.KeepVersions = 64<<10, 6<<20, 4 }),
		with(func(o *hlog.Options) { o.MemoryBytes, o.MutableFraction, o.NoReadCache = 64<<20, 0.5, true }),
	}
}()

// TestOptions_ChangeFromOneOpenToTheNext plays tapes that open the store with ever other settings.
func TestOptions_ChangeFromOneOpenToTheNext(t *testing.T) {
	t.Parallel()
	for seed := range scaled(4, 10, 20, 1000) {
		for _, direct := range []bool{false, true} {
			play := func(tape Tape) error {
				disk := fsx.NewCrash(fsx.CrashOptions{Direct: direct})
				r := &Runner{FS: disk, Disk: disk, Options: settings}
				return within(func() error { return r.Play(tape) })
			}
			tape := randomTape(seed+1000, 120)
			if err := play(tape); err != nil {
				report(t, fmt.Sprintf("seed %d, direct %v", seed, direct), err, tape, play)
			}
		}
	}
}

// TestOptions_SameAnswers plays one tape under every option set, with files that are read and written past the page
// cache and with such as are not: all of them must end in the same state.
func TestOptions_SameAnswers(t *testing.T) {
	t.Parallel()
	var growths, images atomic.Int64
	runs := 0
	for seed := range scaled(1, 1, 2, 100) {
		tape := randomTape(seed+2000, 120)
		for i, o := range settings {
			if i%testkit.UnderRace(3, 1) != 0 {
				continue
			}
			o.Events.IndexGrown = func(int) { growths.Add(1) }
			o.Events.ImageWritten = func(int64, time.Duration) { images.Add(1) }
			for _, direct := range []bool{false, true} {
				play := func(tape Tape) error {
					disk := fsx.NewCrash(fsx.CrashOptions{Direct: direct})
					r := &Runner{FS: disk, Disk: disk, Options: []hlog.Options{o}}
					return within(func() error { return r.Play(tape) })
				}
				runs++
				if err := play(tape); err != nil {
					o.Events = hlog.Events{}
					report(t, fmt.Sprintf("seed %d, direct %v, options %+v", seed, direct, o), err, tape, play)
				}
			}
		}
	}
	if growths.Load() == 0 || images.Load() == 0 {
		t.Error("no index has grown, or no image was written")
	}
	testkit.Counted(t, "%d runs of %d option sets, each with and without direct I/O; %d growths of an index, %d images", runs, len(settings), growths.Load(), images.Load())
}
