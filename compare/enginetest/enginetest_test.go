package enginetest

import (
	"testing"

	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// small are settings under which a few dozen records fill a memtable or a file.
func small() compare.Options {
	return compare.Options{
		FS: fsx.OS(), MemoryBytes: 4 << 20, MemtableBytes: 3000, ThresholdBytes: 1500, MaxRuns: 3, Density: 4, KeepVersions: 100,
		NoSync: true,
	}
}

func TestLSM(t *testing.T) {
	Run(t, Subject{Kind: "lsm", Remote: true, Incremental: true, DiskSlack: 1 << 20, Options: small()})
}

func TestLSM_WAL(t *testing.T) {
	o := small()
	o.WAL = true
	Run(t, Subject{Kind: "lsm", Remote: true, Incremental: true, Replays: true, DiskSlack: 1 << 20, Options: o})
}

func TestAppendLog(t *testing.T) {
	Run(t, Subject{Kind: "appendlog", Remote: true, Incremental: true, DiskSlack: 1 << 20, Options: small()})
}

func TestMemOnly(t *testing.T) {
	Run(t, Subject{Kind: "memonly", Remote: true, DiskSlack: 1 << 20, Options: small()})
}

func TestHybridLog(t *testing.T) {
	o := small()
	o.PageBytes, o.SegmentBytes = 16<<10, 1<<20
	Run(t, Subject{Kind: "hybridlog", Remote: true, RefusesDivergence: true, Retries: true, Incremental: true, DiskSlack: 16 << 20, Options: o})
}
