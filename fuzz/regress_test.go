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
