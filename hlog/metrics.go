package hlog

import (
	"fmt"
	"strings"
	"time"
)

// Metrics is a snapshot of what the store is and does. Operations are not counted: a counter on the hot path would
// cost more than some of them. Fields that end in Count, and the totals in bytes that say so, only grow; Sub makes
// rates of them. To publish it: expvar.Publish("hlog", expvar.Func(func() any { return store.Metrics() })).
type Metrics struct {
	// The log, as addresses in bytes: begin <= head <= read-only <= tail.
	LogBegin, LogHead, LogReadOnly, LogTail uint64

	MemoryBytes      int64 // the budget
	FrameBytes       int64 // log in memory
	IndexBytes       int64 // index in memory
	CacheBytes       int64 // cold records in memory
	PageBytes        int   // size of a log page
	DiskBytes        int64 // segment files that are in use, whole
	DeadBytes        int64 // estimate of superseded records on disk that only compaction frees
	IndexBuckets     int64 // of 64 bytes
	IndexOverflow    int64 // buckets that others have overflowed into
	IndexEntries     int64 // entries in use; sampled when there are many
	IndexLoad        float64
	IndexChainMax    int // longest chain of buckets seen
	IndexGrowthCount uint64

	AppendedBytes        uint64 // total: growth of the log
	FlushedBytes         uint64 // end of what is on disk, as an address
	ColdReadCount        uint64 // records read from disk
	CacheHitCount        uint64 // cold records that were in memory
	StallCount           uint64 // operations that waited for a log page
	CheckpointCount      uint64
	CheckpointErrorCount uint64
	LastCheckpoint       time.Duration // from begin to durable
	ImageBytes           int64         // total: index images written
	CompactedBytes       int64         // total: live records moved
	ReclaimedBytes       int64         // total: files removed
	RestoreCount         uint64
	RemoteLagVersions    int // versions that the remote does not have yet
	Versions             int // that can be restored
}

// Metrics returns a snapshot. It is cheap enough to be taken every second; its fields are read one after the other.
func (s *Store) Metrics() Metrics {
	l := s.log
	m := Metrics{
		LogBegin: l.begin.Load(), LogHead: l.head.Load(), LogReadOnly: l.readOnly.Load(), LogTail: l.tail.Load(),
		MemoryBytes: s.opts.MemoryBytes, PageBytes: s.opts.PageBytes,
		IndexBytes: s.memory.index.Load(), CacheBytes: s.memory.cache.Load(),
		AppendedBytes: l.tail.Load(), FlushedBytes: l.flushed.Load(), StallCount: l.stalls.Load(),
		ColdReadCount: s.counters.coldReads.Load(), CacheHitCount: s.counters.cacheHits.Load(),
		CheckpointCount: s.counters.checkpoints.Load(), CheckpointErrorCount: s.counters.checkpointErrors.Load(),
		LastCheckpoint: time.Duration(s.counters.checkpointNanos.Load()),
		ImageBytes:     s.counters.imageBytes.Load(), CompactedBytes: s.counters.compactedBytes.Load(),
		ReclaimedBytes: s.counters.reclaimedBytes.Load(), RestoreCount: s.counters.restores.Load(),
		Versions: len(s.versions.Versions()), RemoteLagVersions: s.copies.lag(),
	}
	m.DiskBytes, m.DeadBytes = s.diskUse()
	m.FrameBytes = int64(l.limit.Load() - l.pageStart(m.LogHead))
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	if s.tableShut {
		return m
	}
	x := s.index().Stats()
	m.IndexBuckets, m.IndexOverflow, m.IndexEntries = x.Buckets, x.OverflowBuckets, x.Entries
	m.IndexLoad, m.IndexChainMax, m.IndexGrowthCount = x.Load, x.LongestChain, uint64(x.Growths)
	return m
}

// diskUse returns the bytes of the segment files, and an estimate of how much of the current log is dead.
func (s *Store) diskUse() (disk, dead int64) {
	entries, err := s.opts.FS.List(s.versions.LogPath())
	if err != nil {
		return 0, 0
	}
	for _, e := range entries {
		disk += e.Size
	}
	if m := s.current(); m != nil && s.check() == nil {
		dead = max(m.LogBytes()-s.liveEstimate(), 0)
	}
	return disk, dead
}

// Sub returns m with the counts and totals of an earlier snapshot taken off: what happened in between.
func (m Metrics) Sub(earlier Metrics) Metrics {
	m.IndexGrowthCount -= earlier.IndexGrowthCount
	m.AppendedBytes -= earlier.AppendedBytes
	m.ColdReadCount -= earlier.ColdReadCount
	m.CacheHitCount -= earlier.CacheHitCount
	m.StallCount -= earlier.StallCount
	m.CheckpointCount -= earlier.CheckpointCount
	m.CheckpointErrorCount -= earlier.CheckpointErrorCount
	m.ImageBytes -= earlier.ImageBytes
	m.CompactedBytes -= earlier.CompactedBytes
	m.ReclaimedBytes -= earlier.ReclaimedBytes
	m.RestoreCount -= earlier.RestoreCount
	return m
}

// String returns a table for people.
func (m Metrics) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{name}, args...)...)
	}
	row("log", "begin %#x  head %#x  read-only %#x  tail %#x", m.LogBegin, m.LogHead, m.LogReadOnly, m.LogTail)
	row("memory", "%s of %s: frames %s, index %s, cold cache %s", size(m.FrameBytes+m.IndexBytes+m.CacheBytes), size(m.MemoryBytes),
		size(m.FrameBytes), size(m.IndexBytes), size(m.CacheBytes))
	row("index", "%d entries in %d buckets (load %.2f), %d overflow, longest chain %d", m.IndexEntries, m.IndexBuckets, m.IndexLoad,
		m.IndexOverflow, m.IndexChainMax)
	row("disk", "%s in segments, about %s of it dead", size(m.DiskBytes), size(m.DeadBytes))
	row("cold reads", "%d from disk, %d from the cache, %d stalls", m.ColdReadCount, m.CacheHitCount, m.StallCount)
	row("checkpoints", "%d, %d failed, the last took %v; %d versions, %d not on the remote", m.CheckpointCount, m.CheckpointErrorCount,
		m.LastCheckpoint, m.Versions, m.RemoteLagVersions)
	row("upkeep", "images %s, moved %s, reclaimed %s, %d restores", size(m.ImageBytes), size(m.CompactedBytes), size(m.ReclaimedBytes), m.RestoreCount)
	return b.String()
}

func size(n int64) string {
	const units = "KMGTP"
	if n < 1024 && n > -1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for (f >= 1024 || f <= -1024) && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
