package hlog

import (
	"context"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// Most keys are deleted; what is left is updated and committed again and again. Log and index come down to what is
// alive, whether the store compacts by itself or is told to.
func TestCompact_DeletedKeysAreReclaimed(t *testing.T) {
	for _, manual := range []bool{false, true} {
		s, err := Open(t.TempDir(), &Options{MemoryBytes: 64 << 20, SegmentBytes: 1 << 20, PageBytes: 64 << 10, KeepVersions: 2, NoCompaction: manual})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		const left, most = 500, 4 << 20
		keys := testkit.UnderRace(25_000, 300_000)
		x := s.NewSession()
		for i := range uint64(keys) {
			x.Set(k8(i), make([]byte, 100))
		}
		if _, err := s.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(keys) {
			if i >= left {
				x.Delete(k8(i))
			}
			if i == uint64(keys-keys/5) { // the last run has a fifth of the keys, and hides nearly all that is left
				if _, err := s.Checkpoint(ctx); err != nil {
					t.Fatal(err)
				}
				must(t, s.disk.WriteRunsUpTo(s.current().Cut))
				eventually(t, "the merges", func() bool { return !mergeDue(s) })
			}
		}
		before := s.index().Stats().Entries
		var logBytes int64
		for round := range 60 { // of compaction, of which each takes an eighth of the log
			for i := range uint64(left) {
				x.Set(k8(i), make([]byte, 100))
			}
			info, err := s.Checkpoint(ctx)
			if err != nil {
				t.Fatal(err)
			}
			logBytes = info.LogBytes
			s.disk.WriteRuns()
			eventually(t, "the merges", func() bool { return !mergeDue(s) }) // which find out what is dead
			if manual {
				err = s.Compact(ctx)
			} else {
				s.kickMaintenance()
				_, err = s.compactIfDue(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.clearEntries()
			if s.index().Stats().Entries < before/10 && logBytes < most {
				t.Logf("manual %v: reclaimed after %d versions", manual, round)
				break
			}
		}
		if n := s.index().Stats().Entries; n > before/10 || logBytes > most {
			t.Errorf("manual %v: %d entries of %d, log of %d bytes for %d keys", manual, n, before, logBytes, left)
		}
		for i := range uint64(keys) {
			if _, err := x.Get(nil, k8(i)); (err == nil) != (i < left) {
				t.Fatalf("key %d: %v", i, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
