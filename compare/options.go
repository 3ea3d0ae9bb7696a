package compare

import (
	"fmt"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Options are the settings of an engine. The zero value is usable; a field that is 0 has its default. Any of them may
// differ from one Open to the next.
type Options struct {
	// MemoryBytes is the memory that an engine may use, in bytes; default 64 MiB. It is the same promise for all, kept as
	// far as each design can: the LSM tree splits it among memtable, indexes of the runs and a block cache; the append log
	// needs a place in memory for every key and caches values with the rest; memonly needs what the state needs.
	MemoryBytes int64
	// KeepVersions is how many of the newest versions stay restorable; default 8, negative for all.
	KeepVersions int
	// NoSync leaves out every sync, so that only a crash of the process is survived. Versions committed with it stay so.
	NoSync bool
	// PageCache has the baselines read their files through the page cache. It is memory that MemoryBytes does not count and
	// that the hybrid log does not use, so by default they read past it, where the file system can.
	PageCache bool
	// Remote receives a copy of every version; default none.
	Remote Remote
	// FS is the file system; default that of the operating system.
	FS fsx.FS

	// MaxRuns is how many runs (LSM tree) or files (append log) a level has before they are merged into one of the next;
	// 2 to 1000, default 10. The thesis' sweeps use 3, its comparisons 10.
	MaxRuns int
	// Density is the number of records for each fence pointer of an LSM tree's run; default 16. The thesis uses 10.
	Density int
	// MemtableBytes is the memory of the LSM tree's memtable, in bytes, at most 1 GiB; default half of MemoryBytes. The
	// thesis uses 10,000.
	MemtableBytes int64
	// FalsePositives is the share of absent keys that a run's Bloom filter lets through, above 0 and below 1; default 0.01,
	// like the thesis.
	FalsePositives float64
	// WAL writes every Set of an LSM tree to a log first, so that a dead process loses at most its last few KiB of writes.
	WAL bool
	// ThresholdBytes is how long the append log's active file gets, in bytes; default a sixteenth of MemoryBytes. The thesis
	// uses 1000.
	ThresholdBytes int64
	// NoCompaction keeps the append log from merging files, and the hybrid log from compacting.
	NoCompaction bool

	// MutableFraction is the share of the hybrid log's memory in which records are updated in place, PageBytes its unit of
	// writing, SegmentBytes that of giving disk space back; defaults as in package hlog. A directory keeps its SegmentBytes.
	// The hybrid log needs 4 MiB of MemoryBytes at least, and takes them.
	MutableFraction float64
	PageBytes       int
	SegmentBytes    int64
}

// ThesisOptions returns the settings of the thesis' parameter sweeps: sizes for some ten thousand small records.
func ThesisOptions() Options {
	return Options{MaxRuns: 3, Density: 10, MemtableBytes: 10_000, FalsePositives: 0.01, ThresholdBytes: 1000}
}

func (o Options) withDefaults() (Options, error) {
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 64 << 20
	}
	if o.KeepVersions == 0 {
		o.KeepVersions = 8
	}
	if o.FS == nil {
		o.FS = fsx.OS()
	}
	if o.MaxRuns == 0 {
		o.MaxRuns = 10
	}
	if o.Density == 0 {
		o.Density = 16
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = min(max(o.MemoryBytes/2, 1), maxMemtable)
	}
	if o.FalsePositives == 0 {
		o.FalsePositives = 0.01
	}
	if o.ThresholdBytes == 0 {
		o.ThresholdBytes = max(o.MemoryBytes/16, 1)
	}
	return o, o.validate()
}

// maxMemtable keeps the offsets in a memtable within 32 bits.
const maxMemtable = 1 << 30

func (o Options) validate() error {
	for _, field := range []struct {
		name            string
		value, min, max int64
	}{
		{"MemoryBytes", o.MemoryBytes, 1, 1 << 50},
		{"MaxRuns", int64(o.MaxRuns), 2, 1000},
		{"Density", int64(o.Density), 1, 1 << 20},
		{"MemtableBytes", o.MemtableBytes, 1, maxMemtable},
		{"ThresholdBytes", o.ThresholdBytes, 1, 1 << 50},
	} {
		if field.value < field.min || field.value > field.max {
			return fmt.Errorf("compare: Options.%s is %d, must be %d to %d", field.name, field.value, field.min, field.max)
		}
	}
	if !(o.FalsePositives > 0 && o.FalsePositives < 1) {
		return fmt.Errorf("compare: Options.FalsePositives is %v, must be above 0 and below 1", o.FalsePositives)
	}
	return nil
}

func (o Options) base() base.Options {
	return base.Options{FS: o.FS, MemoryBytes: o.MemoryBytes, KeepVersions: o.KeepVersions, NoSync: o.NoSync,
		PageCache: o.PageCache, Remote: o.Remote}
}
