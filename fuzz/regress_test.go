package fuzz

import (
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// TestRegress plays tapes that once showed a bug of the engine. Each is named after what went wrong; the ones that
// depend on what runs in the background are played several times.
func TestRegress(t *testing.T) {
	for _, c := range []struct {
		name  string
		times int
		tape  Tape
	}{
		{"compaction drops the records of the next version in the fuzzy end", 30, Tape{
			{OpBegin, 18, 253, 137}, {OpBurst, 11, 30, 171}, {OpCompact, 0, 0, 0}, {OpCheckpoint, 118, 245, 238}}},
		{"compaction drops what it has moved into the fuzzy end", 30, Tape{
			{OpFill, 207, 214, 127}, {OpCheckpoint, 240, 152, 144}, {OpBegin, 92, 229, 223}, {OpCompact, 0, 0, 0},
			{OpCompact, 0, 0, 0}, {OpReopen, 0, 0, 0}}},
		{"an image overwrites that of a version on another branch", 20, Tape{
			{OpSet, 1, 1, 1}, {OpCheckpoint, 1, 0, 0}, {OpFill, 0, 100, 15}, {OpCheckpoint, 1, 0, 0}, {OpSet, 1, 1, 1},
			{OpCheckpoint, 1, 0, 0}, {OpFill, 64, 50, 15}, {OpCheckpoint, 1, 0, 0}, {OpRestore, 0, 0, 0}, {OpReopen, 0, 0, 0},
			{OpFill, 128, 100, 7}, {OpFill, 64, 100, 15}, {OpCheckpoint, 1, 0, 0}, {OpSet, 1, 1, 1}, {OpCheckpoint, 1, 0, 0},
			{OpReopen, 0, 0, 0}, {OpView, 2, 0, 0}, {OpViewCheck, 0, 0, 0}, {OpView, 3, 0, 0}, {OpViewCheck, 1, 0, 0},
			{OpView, 1, 0, 0}, {OpViewCheck, 2, 0, 0}, {OpRestore, 3, 0, 0}, {OpRestore, 2, 0, 0}}},
		{"a record that a rollback undid comes back with the child of a version that has added nothing", 30, Tape{
			{OpCheckpoint, 0, 0, 0}, {OpCheckpoint, 0, 0, 0}, {OpBegin, 0, 0, 0}, {OpFill, 0, 1, 0}, {OpRestore, 0, 0, 0},
			{OpCrash, 0, 0, 0}, {OpRestore, 2, 0, 0}, {OpBegin, 0, 0, 0}, {OpCheckpoint, 0, 0, 0}, {OpRestore, 0, 0, 0},
			{OpRestore, 4, 0, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.times {
				disk := fsx.NewCrash(fsx.CrashOptions{Direct: i%2 == 0})
				r := &Runner{FS: disk, Disk: disk, Options: []hlog.Options{small}}
				if err := r.Play(c.tape); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestSegment_CreationReportedAsFailed: a file that was made although making it was reported as an error is as new as
// any other, and its name has to become durable before a version refers to it.
func TestSegment_CreationReportedAsFailed(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	failing := fsx.NewErr(disk)
	opts := small
	opts.FS = failing
	s, err := hlog.Open(storeDir, &opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set(Key(1), []byte("one")); err != nil {
		t.Fatal(err)
	}
	// The segment is opened, which fails because there is none, and then made.
	fault := failing.Inject(fsx.Fault{Class: fsx.ClassOpen, Match: "*.seg", Nth: 2, After: true})
	if _, err := s.Checkpoint(t.Context()); err == nil || fault.Fired() != 1 {
		t.Fatalf("error %v, fault came %d times", err, fault.Fired())
	}
	if _, err := s.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := disk.Clone(fsx.Crash{Keep: fsx.KeepNone})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	opts.FS = left
	if s, err = hlog.Open(storeDir, &opts); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get(nil, Key(1)); err != nil || string(v) != "one" {
		t.Errorf("got %q, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCompact_RecordLargerThanAPage: a value that was written with larger pages is moved after each reopening, for which
// pages that are too small are refused.
func TestCompact_RecordLargerThanAPage(t *testing.T) {
	large, little := small, small
	large.PageBytes, large.SegmentBytes = 128<<10, 256<<10
	disk := fsx.NewCrash(fsx.CrashOptions{})
	r := &Runner{FS: disk, Disk: disk, Options: []hlog.Options{large, little}}
	err := within(func() error {
		return r.Play(Tape{
			{OpSet, 1, 3, 0}, {OpSet, 2, 19, 0}, {OpSet, 3, 18, 0}, {OpCheckpoint, 1, 0, 0}, {OpReopen, 1, 0, 0},
			{OpCompact, 0, 0, 0}, {OpCheckpoint, 1, 0, 0}, {OpDelete, 2, 0, 0}, {OpCompact, 0, 0, 0}, {OpReopen, 1, 0, 0},
			{OpReopen, 0, 0, 0}, {OpCompact, 0, 0, 0}, {OpReopen, 1, 0, 0}})
	})
	if err != nil {
		t.Fatal(err)
	}
}
