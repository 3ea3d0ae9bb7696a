package hlog

import (
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/step"
)

// Events are optional callbacks about what the store does. They are called by a goroutine of their own, one at a time,
// in the order in which things happened, and with no lock of the store held: a callback may use the store in every way
// but one, it must not close it. What it tells has happened already, and may be outdated: CheckpointDurable may come
// after the Wait of its checkpoint has returned.
//
// A callback that takes long delays those that follow, and nothing else. Close returns after the last of them. The first
// may come before Open has returned; an Open that fails calls none.
type Events struct {
	// CheckpointBegun tells that the cut of version v is being taken: by BeginCheckpoint, Options.CheckpointEvery or
	// Close.
	CheckpointBegun func(v checkpoint.Version)
	// CheckpointDurable tells that a version has been committed to the directory, elapsed after it was begun. A copy for
	// the remote may still be on its way.
	CheckpointDurable func(info checkpoint.Info, elapsed time.Duration)
	// CheckpointFailed tells that a version could not be committed. It does not exist, and its id stays unused.
	CheckpointFailed func(v checkpoint.Version, err error)
	// SegmentCreated tells that a segment file was created for new log.
	SegmentCreated func(path string)
	// SegmentsFreed tells that so many segment files, of so many bytes in all, were removed, because no version, view or
	// scan needed them.
	SegmentsFreed func(files int, bytes int64)
	// IndexGrown tells that the index has doubled to so many buckets of 64 bytes.
	IndexGrown func(buckets int)
	// ImageWritten tells that so many bytes of the index on disk were written: a run, so that recovery replays only the
	// log behind it, or what older ones were merged into.
	ImageWritten func(bytes int64, elapsed time.Duration)
	// Compacted tells that the log below the address begin has been emptied, for which movedBytes of live records were
	// copied. Its files go after the next commit, once nothing else needs them.
	Compacted func(begin uint64, movedBytes int64, elapsed time.Duration)
	// Fetched tells, while an empty directory is filled from Options.Remote, that done of total bytes have been fetched. The
	// two are equal once, when the directory is whole and the store no longer needs the remote for what it has.
	Fetched func(done, total int64)
	// Restored tells that Restore has taken the store to a version.
	Restored func(info checkpoint.Info, elapsed time.Duration)
	// Stalled tells that operations had to wait for a log page, because the disk was slower than the writers: how many
	// since it was last called, and how long the longest of them waited. All that stall while another callback runs are
	// told of at once.
	Stalled func(operations int, longest time.Duration)
}

// notifier calls the callbacks of Events. Those that report to it may hold locks, which a callback may want: so it only
// notes what to call, and a job of the background calls.
type notifier struct {
	Events

	mu      lock.Mutex[lock.Leaf]
	waiting []func() // of mu
	stalls  stalls   // of mu: not told of yet
	job     *step.Job
}

type stalls struct {
	operations int
	longest    time.Duration
}

// send has call called after what was sent before.
func (n *notifier) send(call func()) {
	n.mu.Lock()
	n.waiting = append(n.waiting, call)
	n.mu.Unlock()
	n.job.Wake()
}

// callAll is a round of the job: it calls what waits until nothing does.
func (n *notifier) callAll() {
	for batch := n.take(); batch != nil; batch = n.take() {
		for _, call := range batch {
			call()
		}
	}
}

// take returns what waits.
func (n *notifier) take() []func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	batch := n.waiting
	n.waiting = nil
	return batch
}

func (n *notifier) checkpointBegun(v checkpoint.Version) {
	if f := n.CheckpointBegun; f != nil {
		n.send(func() { f(v) })
	}
}

func (n *notifier) checkpointDurable(i checkpoint.Info, d time.Duration) {
	if f := n.CheckpointDurable; f != nil {
		n.send(func() { f(i, d) })
	}
}

func (n *notifier) checkpointFailed(v checkpoint.Version, err error) {
	if f := n.CheckpointFailed; f != nil {
		n.send(func() { f(v, err) })
	}
}

func (n *notifier) segmentCreated(path string) {
	if f := n.SegmentCreated; f != nil {
		n.send(func() { f(path) })
	}
}

func (n *notifier) segmentsFreed(files int, bytes int64) {
	if f := n.SegmentsFreed; f != nil && files > 0 {
		n.send(func() { f(files, bytes) })
	}
}

func (n *notifier) indexGrown(buckets int) {
	if f := n.IndexGrown; f != nil {
		n.send(func() { f(buckets) })
	}
}

func (n *notifier) imageWritten(bytes int64, d time.Duration) {
	if f := n.ImageWritten; f != nil {
		n.send(func() { f(bytes, d) })
	}
}

func (n *notifier) compacted(begin uint64, moved int64, d time.Duration) {
	if f := n.Compacted; f != nil {
		n.send(func() { f(begin, moved, d) })
	}
}

func (n *notifier) fetched(done, total int64) {
	if f := n.Fetched; f != nil {
		n.send(func() { f(done, total) })
	}
}

func (n *notifier) restored(i checkpoint.Info, d time.Duration) {
	if f := n.Restored; f != nil {
		n.send(func() { f(i, d) })
	}
}

// stalled notes that an operation has waited for a page. Many may at a time, and one call tells of them all.
func (n *notifier) stalled(d time.Duration) {
	if n.Stalled == nil {
		return
	}
	n.mu.Lock()
	n.stalls.longest = max(n.stalls.longest, d)
	n.stalls.operations++
	first := n.stalls.operations == 1
	n.mu.Unlock()
	if first {
		n.send(n.tellStalls)
	}
}

func (n *notifier) tellStalls() {
	n.mu.Lock()
	all := n.stalls
	n.stalls = stalls{}
	n.mu.Unlock()
	n.Stalled(all.operations, all.longest)
}
