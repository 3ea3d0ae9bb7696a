package reclog

import (
	"time"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// The regions of the log, as addresses in bytes: Begin <= Head <= SafeReadOnly <= ReadOnly <= Tail, when read in this
// order. They only grow, but for Begin, which a restore may lower, and Head, which warming may. Safe from any goroutine.

// Begin returns where the log begins.
func (l *Log) Begin() uint64 { return l.begin.Load() }

// Head returns the first address that is in memory.
func (l *Log) Head() uint64 { return l.head.Load() }

// SafeReadOnly returns the address below which no record changes any more (H2).
func (l *Log) SafeReadOnly() uint64 { return l.safeReadOnly.Load() }

// ReadOnly returns the address from which on records are updated in place.
func (l *Log) ReadOnly() uint64 { return l.readOnly.Load() }

// Aging returns the address below which uses of records in memory are counted.
func (l *Log) Aging() uint64 { return l.aging.Load() }

// Tail returns the address that is allocated next.
func (l *Log) Tail() uint64 { return l.tail.Load() }

// Ring returns how addresses map to the frames, for a lookup that touches many records; see At.
func (l *Log) Ring() *mem.Ring { return &l.ring }

// SetBegin says that the log begins at a.
func (l *Log) SetBegin(a uint64) { l.begin.Store(a) }

// RaiseBegin says that the log begins at a, unless it begins above it.
func (l *Log) RaiseBegin(a uint64) { raise(&l.begin, a) }

// PageBytes returns the size of a page in bytes, a power of two.
func (l *Log) PageBytes() int { return int(l.pageBytes) }

// FrameBytes returns how many bytes of frames are in use.
func (l *Log) FrameBytes() int64 { return int64(l.limit.Load() - l.pageStart(l.head.Load())) }

// Durability returns how far the log has got on its way to the disk. It goes on moving.
func (l *Log) Durability() *Durability { return &l.durability }

// Segments returns the files of the log.
func (l *Log) Segments() *Segments { return l.segments }

// Stalls returns how many operations have waited for a page, and for how long in all.
func (l *Log) Stalls() (n uint64, waited time.Duration) {
	return l.stalls.Load(), time.Duration(l.waited.Load())
}

// SingleReads returns how many reads by Readers are under way.
func (l *Log) SingleReads() int { return int(l.singles.reading.Load()) }

// Totals is what has been flushed since the log was made, for the mean size of a record. Records that were written again
// count again.
type Totals struct {
	Records    int64
	Bytes      int64 // of those records
	Tombstones int64 // among them that compaction has not met
}

// Totals returns the totals.
func (l *Log) Totals() Totals {
	return Totals{l.flushedRecords.Load(), l.flushedBytes.Load(), l.tombstones.Load()}
}

// SetTotals takes over the totals of an earlier opening.
func (l *Log) SetTotals(t Totals) {
	l.flushedRecords.Store(t.Records)
	l.flushedBytes.Store(t.Bytes)
	l.tombstones.Store(t.Tombstones)
}

// MetTombstone says that compaction has met a tombstone.
func (l *Log) MetTombstone() { l.tombstones.Add(-1) }
