package hlogprom

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hybridlog/hybridlog/hlog"
)

// series is one number of Metrics under its name for Prometheus. Those of one name differ in the value of one label.
type series struct {
	name         string // without the prefix hybridlog_
	label, value string
	help         string
	kind         prometheus.ValueType
	of           func(*hlog.Metrics) float64
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func seconds(d time.Duration) float64 { return d.Seconds() }

// all is everything that is exported.
var all = []series{
	{"operations_total", "op", "get", operations, counter, func(m *hlog.Metrics) float64 { return float64(m.GetCount) }},
	{"operations_total", "op", "set", operations, counter, func(m *hlog.Metrics) float64 { return float64(m.SetCount) }},
	{"operations_total", "op", "delete", operations, counter, func(m *hlog.Metrics) float64 { return float64(m.DeleteCount) }},
	{"operations_total", "op", "update", operations, counter, func(m *hlog.Metrics) float64 { return float64(m.UpdateCount) }},

	{"log_position_bytes", "position", "begin", position, gauge, func(m *hlog.Metrics) float64 { return float64(m.LogBegin) }},
	{"log_position_bytes", "position", "head", position, gauge, func(m *hlog.Metrics) float64 { return float64(m.LogHead) }},
	{"log_position_bytes", "position", "read_only", position, gauge, func(m *hlog.Metrics) float64 { return float64(m.LogReadOnly) }},
	{"log_position_bytes", "position", "flushed", position, gauge, func(m *hlog.Metrics) float64 { return float64(m.FlushedBytes) }},
	{"log_position_bytes", "position", "tail", position, gauge, func(m *hlog.Metrics) float64 { return float64(m.LogTail) }},
	{"log_page_size_bytes", "", "", "Size of a page of the log.", gauge, func(m *hlog.Metrics) float64 { return float64(m.PageBytes) }},
	{"log_appended_bytes_total", "", "", "Growth of the log.", counter, func(m *hlog.Metrics) float64 { return float64(m.AppendedBytes) }},

	{"memory_limit_bytes", "", "", "The budget for everything off the Go heap: Options.MemoryBytes.", gauge, func(m *hlog.Metrics) float64 { return float64(m.MemoryBytes) }},
	{"memory_bytes", "use", "frames", memory, gauge, func(m *hlog.Metrics) float64 { return float64(m.FrameBytes) }},
	{"memory_bytes", "use", "index", memory, gauge, func(m *hlog.Metrics) float64 { return float64(m.IndexBytes) }},
	{"memory_bytes", "use", "cache", memory, gauge, func(m *hlog.Metrics) float64 { return float64(m.CacheBytes) }},
	{"memory_bytes", "use", "triples", memory, gauge, func(m *hlog.Metrics) float64 { return float64(m.TripleBytes) }},
	{"memory_bytes", "use", "cold", memory, gauge, func(m *hlog.Metrics) float64 { return float64(m.ColdMemoryBytes) }},

	{"disk_bytes", "", "", "Size of the segment files, those that only older versions need included.", gauge, func(m *hlog.Metrics) float64 { return float64(m.DiskBytes) }},
	{"dead_bytes", "", "", "Estimate of the superseded and deleted records in the log of the current version.", gauge, func(m *hlog.Metrics) float64 { return float64(m.DeadBytes) }},
	{"old_versions_bytes", "", "", "Log and index files that only versions other than the current one hold.", gauge, func(m *hlog.Metrics) float64 { return float64(m.OldBytes) }},
	{"open_files", "io", "direct", files, gauge, func(m *hlog.Metrics) float64 { return float64(m.DirectFiles) }},
	{"open_files", "io", "buffered", files, gauge, func(m *hlog.Metrics) float64 { return float64(m.BufferedFiles) }},
	{"async_reads", "", "", "1 if several reads from disk are under way in the kernel at a time, 0 if goroutines make them.", gauge, func(m *hlog.Metrics) float64 { return oneIf(m.AsyncReads) }},
	{"segments", "", "", "Segment files that hold log of the current version.", gauge, func(m *hlog.Metrics) float64 { return float64(len(m.Segments)) }},

	{"index_buckets", "", "", "Buckets of the hash index, of 64 bytes each.", gauge, func(m *hlog.Metrics) float64 { return float64(m.IndexBuckets) }},
	{"index_overflow_buckets", "", "", "Buckets that others have overflowed into.", gauge, func(m *hlog.Metrics) float64 { return float64(m.IndexOverflow) }},
	{"index_entries", "", "", "Entries of the hash index in use, about one per key in memory or in the log.", gauge, func(m *hlog.Metrics) float64 { return float64(m.IndexEntries) }},
	{"index_load_ratio", "", "", "Share of the entries of the hash index that is in use.", gauge, func(m *hlog.Metrics) float64 { return m.IndexLoad }},
	{"index_longest_chain_buckets", "", "", "Longest chain of buckets seen.", gauge, func(m *hlog.Metrics) float64 { return float64(m.IndexChainMax) }},
	{"index_growths_total", "", "", "Doublings of the hash index.", counter, func(m *hlog.Metrics) float64 { return float64(m.IndexGrowthCount) }},
	{"index_written_bytes_total", "", "", "Index images and runs written to disk.", counter, func(m *hlog.Metrics) float64 { return float64(m.ImageBytes) }},

	{"cold_reads_total", "", "", "Records read from disk for operations, scans and views.", counter, func(m *hlog.Metrics) float64 { return float64(m.ColdReadCount) }},
	{"probe_reads_total", "", "", "Reads by which demotion and compaction saw whether a record has been superseded.", counter, func(m *hlog.Metrics) float64 { return float64(m.ProbeReadCount) }},
	{"cold_cache_hits_total", "", "", "Records that are only on disk and were found in the cache.", counter, func(m *hlog.Metrics) float64 { return float64(m.CacheHitCount) }},
	{"prefetched_total", "", "", "Records read from disk because of Prefetch.", counter, func(m *hlog.Metrics) float64 { return float64(m.PrefetchCount) }},
	{"prefetch_dropped_total", "", "", "Of those, dropped before an operation asked for them.", counter, func(m *hlog.Metrics) float64 { return float64(m.PrefetchDropCount) }},
	{"prefetch_ignored_total", "", "", "Keys given to Prefetch that it had no room for.", counter, func(m *hlog.Metrics) float64 { return float64(m.PrefetchIgnoreCount) }},
	{"stalls_total", "", "", "Times that an operation had to wait for a page of the log.", counter, func(m *hlog.Metrics) float64 { return float64(m.StallCount) }},
	{"stall_seconds_total", "", "", "How long operations have waited for pages of the log.", counter, func(m *hlog.Metrics) float64 { return seconds(m.StallTime) }},

	{"checkpoints_total", "", "", "Committed versions.", counter, func(m *hlog.Metrics) float64 { return float64(m.CheckpointCount) }},
	{"checkpoint_failures_total", "", "", "Versions that could not be committed.", counter, func(m *hlog.Metrics) float64 { return float64(m.CheckpointErrorCount) }},
	{"checkpoint_seconds_total", "", "", "How long the committed versions took, from begin to durable.", counter, func(m *hlog.Metrics) float64 { return seconds(m.CheckpointTime) }},
	{"checkpoint_last_seconds", "", "", "How long the last committed version took.", gauge, func(m *hlog.Metrics) float64 { return seconds(m.LastCheckpoint) }},
	{"checkpoint_longest_seconds", "", "", "How long the slowest version took since the store was opened.", gauge, func(m *hlog.Metrics) float64 { return seconds(m.LongestCheckpoint) }},
	{"compacted_bytes_total", "", "", "Live records moved by compaction.", counter, func(m *hlog.Metrics) float64 { return float64(m.CompactedBytes) }},
	{"demoted_bytes_total", "", "", "Live records moved into the cold tier.", counter, func(m *hlog.Metrics) float64 { return float64(m.DemotedBytes) }},
	{"cold_records", "", "", "Records in the cold tier, tombstones and superseded ones included.", gauge, func(m *hlog.Metrics) float64 { return float64(m.ColdRecords) }},
	{"cold_bytes", "", "", "Size of the files of the cold tier.", gauge, func(m *hlog.Metrics) float64 { return float64(m.ColdBytes) }},
	{"reclaimed_bytes_total", "", "", "Files removed.", counter, func(m *hlog.Metrics) float64 { return float64(m.ReclaimedBytes) }},
	{"restores_total", "", "", "Rollbacks of the live store.", counter, func(m *hlog.Metrics) float64 { return float64(m.RestoreCount) }},

	{"versions", "", "", "Versions that can be restored.", gauge, func(m *hlog.Metrics) float64 { return float64(m.Versions) }},
	{"remote_lag_versions", "", "", "Versions that the remote does not have yet.", gauge, func(m *hlog.Metrics) float64 { return float64(m.RemoteLagVersions) }},
	{"remote_failing", "", "", "1 while the remote was of no use the last time, else 0.", gauge, func(m *hlog.Metrics) float64 { return oneIf(m.RemoteError != "") }},
	{"remote_fetch_left_bytes", "", "", "Bytes that have yet to be fetched into a new directory.", gauge, func(m *hlog.Metrics) float64 { return float64(m.FetchLeft) }},
	{"current_version", "", "", "The version that the directory opens at.", gauge, func(m *hlog.Metrics) float64 { return float64(current(m).Version) }},
	{"current_version_log_bytes", "", "", "Log that the current version consists of.", gauge, func(m *hlog.Metrics) float64 { return float64(current(m).LogBytes) }},
	{"versions_exclusive_bytes", "", "", "What purging each version alone would free, added up.", gauge, exclusive},
}

// Help of the names with several series.
const (
	operations = "Operations that users asked for; each key of a group is one."
	position   = "Addresses that divide the log: up to head it is on disk only, from read_only on it is updated in place, up to flushed it has been written."
	files      = "Segment files that are open, with direct I/O and through the page cache."
	memory     = "Memory off the Go heap, by what it is used for."
)

// current returns the current version, the zero value when there is none.
func current(m *hlog.Metrics) hlog.VersionMetrics {
	for _, v := range m.PerVersion {
		if v.Current {
			return v
		}
	}
	return hlog.VersionMetrics{}
}

func exclusive(m *hlog.Metrics) float64 {
	sum := int64(0)
	for _, v := range m.PerVersion {
		sum += v.ExclusiveBytes
	}
	return float64(sum)
}
