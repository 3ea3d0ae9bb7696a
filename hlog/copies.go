package hlog

import (
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Whether a version has the state of its parent can be told when all of its log was flushed: if the records in it are as
// many as those that compaction has copied in this version, and none of them was changed in place afterwards. Every other
// change appends a record (C2). The counts are compared for one record version, so that records of the next one in the
// fuzzy end do not count.

// copies counts the records that compaction has copied, by record version.
type copies struct {
	counts *xsync.MapOf[word.RecordVersion, *atomic.Int64]
	failed bool // a version since the newest committed one has failed, and the next one has its changes; of those who commit
}

func (c *copies) reset() {
	c.counts = xsync.NewMapOf[word.RecordVersion, *atomic.Int64]()
	c.failed = false
}

// add counts a record that was published in version v. The caller is inside the epoch, so that the count is complete when
// the cut of the version has been taken.
func (c *copies) add(v word.RecordVersion) {
	n, _ := c.counts.LoadOrCompute(v, func() *atomic.Int64 { return new(atomic.Int64) })
	n.Add(1)
}

// onlyMoved reports whether p, whose log was flushed, has nothing that its parent has not. Versions are asked about in
// the order in which they are committed, each once.
func (c *compactState) onlyMoved(log *reclog.Log, p *ledger.Pending) bool {
	v := word.MakeRecordVersion(p.LogVersion)
	flushed := log.TakeTally(v)
	var copied int64
	if n, ok := c.copies.counts.LoadAndDelete(v); ok {
		copied = n.Load()
	}
	return !c.copies.failed && !flushed.Changed && flushed.Records == copied
}

// dealt says what came of a version.
func (c *compactState) dealt(err error) { c.copies.failed = err != nil }
