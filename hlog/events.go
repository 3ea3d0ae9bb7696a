package hlog

import (
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Events are optional callbacks about what the store does by itself. They are called from background goroutines, with
// no lock held, one after the other for one kind; what takes long delays the next of its kind. They must not close
// the store.
type Events struct {
	CheckpointBegun   func(v checkpoint.Version)
	CheckpointDurable func(info checkpoint.Info, elapsed time.Duration)
	CheckpointFailed  func(v checkpoint.Version, err error)
	SegmentsFreed     func(files int, bytes int64)
	IndexGrown        func(buckets int)
	ImageWritten      func(bytes int64, elapsed time.Duration)
	Compacted         func(begin uint64, movedBytes int64, elapsed time.Duration)
	Restored          func(info checkpoint.Info, elapsed time.Duration)
}

func (e *Events) checkpointBegun(v checkpoint.Version) {
	if e.CheckpointBegun != nil {
		e.CheckpointBegun(v)
	}
}

func (e *Events) checkpointDurable(i checkpoint.Info, d time.Duration) {
	if e.CheckpointDurable != nil {
		e.CheckpointDurable(i, d)
	}
}

func (e *Events) checkpointFailed(v checkpoint.Version, err error) {
	if e.CheckpointFailed != nil {
		e.CheckpointFailed(v, err)
	}
}

func (e *Events) segmentsFreed(files int, bytes int64) {
	if e.SegmentsFreed != nil {
		e.SegmentsFreed(files, bytes)
	}
}

func (e *Events) indexGrown(buckets int) {
	if e.IndexGrown != nil {
		e.IndexGrown(buckets)
	}
}

func (e *Events) imageWritten(bytes int64, d time.Duration) {
	if e.ImageWritten != nil {
		e.ImageWritten(bytes, d)
	}
}

func (e *Events) compacted(begin uint64, moved int64, d time.Duration) {
	if e.Compacted != nil {
		e.Compacted(begin, moved, d)
	}
}

func (e *Events) restored(i checkpoint.Info, d time.Duration) {
	if e.Restored != nil {
		e.Restored(i, d)
	}
}
