package hlog

import (
	"fmt"
	"strings"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Metrics is a snapshot of what the store is and does. Fields that end in Count, and those that say "total", only grow
// from the opening of the store on; Sub makes rates of them. The others are as they are at the moment. Module
// metrics/prometheus exports them to Prometheus. To publish them otherwise:
//
//	expvar.Publish("hlog", expvar.Func(func() any { return store.Metrics() }))
type Metrics struct {
	// The log, as addresses in bytes: begin <= head <= read-only <= tail. Up to head it is on disk only, from
	// read-only on it is updated in place.
	LogBegin, LogHead, LogReadOnly, LogTail uint64

	MemoryBytes      int64 // the budget: Options.MemoryBytes
	FrameBytes       int64 // log in memory
	IndexBytes       int64 // index in memory
	CacheBytes       int64 // memory for cold records
	TripleBytes      int64 // memory of what the index on disk is told of and has not written yet
	PageBytes        int   // size of a log page
	DiskBytes        int64 // size of the segment files, those that only older versions need included
	DeadBytes        int64 // the sum of DeadBytes over Segments
	OldBytes         int64 // log and index files that only versions other than the current one hold: what purging them all would free
	ColdRecords      int64 // records in the cold tier, tombstones and what is superseded included
	ColdBytes        int64 // size of its files
	ColdMemoryBytes  int64 // memory for its filters and directories
	IndexBuckets     int64 // of 64 bytes, with room for 7 entries each
	IndexOverflow    int64 // buckets that others have overflowed into
	IndexEntries     int64 // entries in use, about one per key; sampled when there are many
	IndexLoad        float64
	IndexChainMax    int    // longest chain of buckets seen
	IndexGrowthCount uint64 // doublings

	// Operations that users asked for, by Store, Session and Table; each key of a Multi call is one. They count when they
	// begin, whatever comes of them: those that find nothing or fail, too, but none of a closed session.
	GetCount    uint64 // Get and MultiGet
	SetCount    uint64 // Set and MultiSet
	DeleteCount uint64 // Delete
	UpdateCount uint64 // RMW, MultiRMW, Update and MultiUpdate; one whose callback ran several times is one

	AppendedBytes        uint64        // total: growth of the log
	FlushedBytes         uint64        // end of what is on disk, as an address
	ColdReadCount        uint64        // records read from disk for operations, scans and views
	ProbeReadCount       uint64        // reads by which demotion and compaction saw whether a record has been superseded
	CacheHitCount        uint64        // cold records that were found in the cache
	PrefetchCount        uint64        // records read because of Prefetch, of ColdReadCount
	PrefetchDropCount    uint64        // of those: dropped before an operation asked for them
	PrefetchIgnoreCount  uint64        // keys given to Prefetch that it had no room for
	StallCount           uint64        // times that an operation had to wait for a log page
	StallTime            time.Duration // total: how long they waited
	CheckpointCount      uint64        // committed versions
	CheckpointErrorCount uint64        // versions that could not be committed
	CheckpointTime       time.Duration // total: from begin to durable, of those committed
	LastCheckpoint       time.Duration // the same of the last one
	LongestCheckpoint    time.Duration // and of the slowest since the store was opened
	ImageBytes           int64         // total: index images and runs written
	CompactedBytes       int64         // total: live records moved
	DemotedBytes         int64         // total: live records moved into the cold tier
	ReclaimedBytes       int64         // total: files removed
	RestoreCount         uint64
	RemoteLagVersions    int    // versions that the remote is to have and does not have yet
	RemoteError          string // why the remote was of no use the last time; empty when it was
	FetchLeft            int64  // bytes that Open has yet to fetch from the remote: 0 when the directory is whole; see Events.Fetched
	Versions             int    // that can be restored

	// AsyncReads says that reads of several records from disk are under way in the kernel at a time: false where it has
	// no asynchronous I/O, forbids it, or has given all that the machine may have (sysctl fs.aio-max-nr) to others, and
	// where files are buffered.
	AsyncReads bool
	// DirectFiles and BufferedFiles are how many segment files are open with direct I/O, and through the page cache,
	// which is what a file system without direct I/O leaves (ext4 with data=journal, and tmpfs before Linux 6.6: since
	// then it takes the flag, and has nothing but memory all the same).
	DirectFiles, BufferedFiles int

	PerVersion []VersionMetrics // the versions that can be restored, oldest first
	Segments   []SegmentMetrics // the segments that hold log of the current version, oldest first
}

// VersionMetrics is what a version takes on disk.
type VersionMetrics struct {
	Version        checkpoint.Version
	LogBytes       int64 // log that it consists of, most of it shared with others
	ExclusiveBytes int64 // log and image that no other version needs: what purging it would free
	Current        bool  // the directory opens at it
}

// SegmentMetrics is what a segment file holds of the current version.
type SegmentMetrics struct {
	Segment  uint64 // number of the file: it begins at log address Segment * Options.SegmentBytes
	LogBytes int64  // log of the current version in it
	// DeadBytes is how much of that is superseded or deleted records, which only compaction frees, as far as merges of the
	// index on disk have come upon them.
	DeadBytes int64
}

// Metrics returns a snapshot. It is meant to be taken every second or so: it looks at up to 2^15 buckets of the index,
// some 10 ms when there are as many, lists the directory of segment files, and allocates the two slices. It may be
// called from any goroutine, waits for no checkpoint and makes no operation wait. Its fields are read one after the
// other and need not fit each other exactly. On a closed store those about the index and the segments are zero, and the
// others are what they were last. While the directory is filled from a remote, only FetchLeft, RemoteError, MemoryBytes and
// the counts of operations say anything.
func (s *Store) Metrics() Metrics {
	if s.unfilled() {
		return s.fillMetrics()
	}
	l := s.log
	n := &s.counters
	m := Metrics{
		LogBegin: l.Begin(), LogHead: l.Head(), LogReadOnly: l.ReadOnly(), LogTail: l.Tail(),
		MemoryBytes: s.opts.MemoryBytes, PageBytes: s.opts.PageBytes,
		IndexBytes: s.memory.index.Load(), CacheBytes: s.memory.cache.Load(), TripleBytes: s.disk.Memory(), OldBytes: s.ledger.OldBytes(),
		AppendedBytes: l.Tail(), FlushedBytes: l.Durability().Written(),
		ColdReadCount: uint64(n.coldReads.Value()), ProbeReadCount: uint64(n.probeReads.Load()), CacheHitCount: s.cache.Hits(),
		CheckpointCount: n.checkpoints.Load(), CheckpointErrorCount: n.checkpointErrors.Load(),
		CheckpointTime:    time.Duration(n.checkpointNanos.all.Load()),
		LastCheckpoint:    time.Duration(n.checkpointNanos.last.Load()),
		LongestCheckpoint: time.Duration(n.checkpointNanos.longest.Load()),
		ImageBytes:        n.imageBytes.Load(), CompactedBytes: n.compactedBytes.Load(),
		ReclaimedBytes: n.reclaimedBytes.Load(), RestoreCount: n.restores.Load(),
		RemoteLagVersions: s.copies.lag(s), RemoteError: s.copies.trouble(),
	}
	m.ColdMemoryBytes, m.DemotedBytes = s.memory.cold.Load(), s.cold.demoted.Load()
	for _, r := range s.cold.refs() {
		m.ColdRecords, m.ColdBytes = m.ColdRecords+r.Triples, m.ColdBytes+r.Bytes
	}
	ops := s.epochs.Totals()
	m.GetCount, m.SetCount, m.DeleteCount, m.UpdateCount = ops[opGet], ops[opSet], ops[opDelete], ops[opUpdate]
	m.StallCount, m.StallTime = l.Stalls()
	p := &s.prefetcher
	m.PrefetchCount, m.PrefetchDropCount, m.PrefetchIgnoreCount = p.fetched.Load(), p.dropped(), p.ignored.Load()
	m.FrameBytes = l.FrameBytes()
	m.DirectFiles, m.BufferedFiles = s.segments.Kinds()
	m.AsyncReads = l.AsyncReads() && m.BufferedFiles == 0
	for _, i := range s.ledger.Versions() {
		m.PerVersion = append(m.PerVersion, VersionMetrics{i.Version, i.LogBytes, i.ExclusiveBytes, i.Current})
	}
	m.Versions = len(m.PerVersion)
	if entries, err := s.root.List(s.ledger.LogPath()); err == nil {
		for _, e := range entries {
			m.DiskBytes += e.Size
		}
	}
	x, ok := s.survey(nil)
	if !ok {
		return m
	}
	if current := s.current(); current != nil {
		for _, g := range s.disk.SegmentsOf(current) {
			m.Segments = append(m.Segments, SegmentMetrics{Segment: g.Number, LogBytes: g.LogBytes, DeadBytes: g.DeadBytes})
		}
	}
	for _, g := range m.Segments {
		m.DeadBytes += g.DeadBytes
	}
	m.IndexBuckets, m.IndexOverflow, m.IndexEntries = x.Buckets, x.OverflowBuckets, x.Entries
	m.IndexLoad, m.IndexChainMax, m.IndexGrowthCount = x.Load, x.LongestChain, uint64(x.Growths)
	return m
}

// survey returns figures about the index, and has visit called with the addresses of the entries that it looks at. ok
// is false when the store is closed.
func (s *Store) survey(visit func([]word.Address)) (x index.Stats, ok bool) {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	if s.check() != nil {
		return index.Stats{}, false
	}
	return s.index().Survey(visit), true
}

// Sub returns m with the counts and totals of an earlier snapshot taken off: what happened in between.
func (m Metrics) Sub(earlier Metrics) Metrics {
	m.IndexGrowthCount -= earlier.IndexGrowthCount
	m.GetCount -= earlier.GetCount
	m.SetCount -= earlier.SetCount
	m.DeleteCount -= earlier.DeleteCount
	m.UpdateCount -= earlier.UpdateCount
	m.AppendedBytes -= earlier.AppendedBytes
	m.ColdReadCount -= earlier.ColdReadCount
	m.ProbeReadCount -= earlier.ProbeReadCount
	m.CacheHitCount -= earlier.CacheHitCount
	m.PrefetchCount -= earlier.PrefetchCount
	m.PrefetchDropCount -= earlier.PrefetchDropCount
	m.PrefetchIgnoreCount -= earlier.PrefetchIgnoreCount
	m.StallCount -= earlier.StallCount
	m.StallTime -= earlier.StallTime
	m.CheckpointCount -= earlier.CheckpointCount
	m.CheckpointErrorCount -= earlier.CheckpointErrorCount
	m.CheckpointTime -= earlier.CheckpointTime
	m.ImageBytes -= earlier.ImageBytes
	m.CompactedBytes -= earlier.CompactedBytes
	m.DemotedBytes -= earlier.DemotedBytes
	m.ReclaimedBytes -= earlier.ReclaimedBytes
	m.RestoreCount -= earlier.RestoreCount
	return m
}

// maxRows bounds the versions and the segments that String lists.
const maxRows = 16

// String returns a table for people, of some 10 to 40 lines.
func (m Metrics) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{name}, args...)...)
	}
	row("log", "begin %#x  head %#x  read-only %#x  tail %#x", m.LogBegin, m.LogHead, m.LogReadOnly, m.LogTail)
	row("memory", "%s of %s: frames %s, index %s, cold cache %s, triples %s", size(m.FrameBytes+m.IndexBytes+m.CacheBytes+m.TripleBytes+m.ColdMemoryBytes),
		size(m.MemoryBytes), size(m.FrameBytes), size(m.IndexBytes), size(m.CacheBytes), size(m.TripleBytes))
	row("index", "%d entries in %d buckets (load %.2f), %d overflow, longest chain %d, %d doublings", m.IndexEntries, m.IndexBuckets,
		m.IndexLoad, m.IndexOverflow, m.IndexChainMax, m.IndexGrowthCount)
	row("operations", "%d gets, %d sets, %d deletes, %d updates", m.GetCount, m.SetCount, m.DeleteCount, m.UpdateCount)
	row("cold reads", "%d from disk, %d from the cache; read ahead %d, dropped %d, ignored %d", m.ColdReadCount, m.CacheHitCount,
		m.PrefetchCount, m.PrefetchDropCount, m.PrefetchIgnoreCount)
	reads, files := "asynchronous", "direct"
	if !m.AsyncReads {
		reads = "by goroutines"
	}
	if m.BufferedFiles > 0 {
		files = "buffered"
	}
	row("files", "%s, %d open; reads %s", files, m.DirectFiles+m.BufferedFiles, reads)
	row("stalls", "%d for a log page, %v in all", m.StallCount, brief(m.StallTime))
	row("checkpoints", "%d, %d failed; the last took %v, the longest %v, all together %v", m.CheckpointCount, m.CheckpointErrorCount,
		brief(m.LastCheckpoint), brief(m.LongestCheckpoint), brief(m.CheckpointTime))
	row("upkeep", "images %s, moved %s, %d reads to see what is superseded, reclaimed %s, %d restores", size(m.ImageBytes), size(m.CompactedBytes),
		m.ProbeReadCount, size(m.ReclaimedBytes), m.RestoreCount)
	if m.ColdRecords > 0 || m.DemotedBytes > 0 {
		row("cold tier", "%d records in %s of files, %s of memory; demoted %s", m.ColdRecords, size(m.ColdBytes), size(m.ColdMemoryBytes), size(m.DemotedBytes))
	}
	row("disk", "%s in segment files; about %s dead in the current version; %s only for other versions", size(m.DiskBytes), size(m.DeadBytes),
		size(m.OldBytes))
	for _, g := range m.Segments[:min(len(m.Segments), maxRows)] { // the oldest are compacted first
		row("", "segment %-12d %10s of log, %10s dead (%.0f%%)", g.Segment, size(g.LogBytes), size(g.DeadBytes),
			100*float64(g.DeadBytes)/float64(max(g.LogBytes, 1)))
	}
	if n := len(m.Segments) - maxRows; n > 0 {
		row("", "and %d newer segments", n)
	}
	row("versions", "%d, %d not on the remote", m.Versions, m.RemoteLagVersions)
	if m.FetchLeft > 0 {
		row("fetch", "%s to come from the remote", size(m.FetchLeft))
	}
	if n := len(m.PerVersion) - maxRows; n > 0 {
		row("", "%d older versions, and", n)
	}
	for _, v := range m.PerVersion[max(len(m.PerVersion)-maxRows, 0):] {
		mark := ""
		if v.Current {
			mark = "  current"
		}
		row("", "version %-12d %10s of log, %10s exclusive%s", v.Version, size(v.LogBytes), size(v.ExclusiveBytes), mark)
	}
	return b.String()
}

// brief rounds a duration to three or four digits.
func brief(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 10_000 {
		unit *= 10
	}
	return d.Round(unit)
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
