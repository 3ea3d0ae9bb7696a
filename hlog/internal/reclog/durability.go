package reclog

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
)

// Durability is how far the log has got on its way to the disk, and what was lost there. Nothing else knows, and only the
// methods in this file move it: a piece that was written, a sync, a sync that failed, and an owner who abandons the log
// that is not durable (D5, D6). A sync may be begun ahead (D8).
//
//	            durable           written           tail
//	-- synced ---->|-- written ----->|-- in memory -->|
//
// Written, Durable and Lost may be called from any goroutine; the others by whoever holds flushMu.
type Durability struct {
	written atomic.Uint64
	durable atomic.Uint64
	lost    atomic.Pointer[error] // why nothing becomes durable any more; nil: nothing is lost

	files []*segment // what [durable, written) was written to, with a reference to each, in the order of the log

	names *fsx.Names // of the segments

	// A sync that was begun ahead: of all files, when the log was written up to aheadTo; 0 if none is under way.
	aheadTo uint64
	ahead   []fsx.Request
	queue   *fsx.Queue
}

// Written returns the address below which the log is written to segments.
func (d *Durability) Written() uint64 { return d.written.Load() }

// Durable returns the address below which the log is durable.
func (d *Durability) Durable() uint64 { return d.durable.Load() }

// Lost returns nil, or the error of the sync that failed when what it covered was not in memory any more: nothing becomes
// durable until that is abandoned.
func (d *Durability) Lost() error {
	if cause := d.lost.Load(); cause != nil {
		return *cause
	}
	return nil
}

// hopeless returns ErrNotDurable, with the cause, if nothing becomes durable any more.
func (d *Durability) hopeless() error {
	if cause := d.Lost(); cause != nil {
		return fmt.Errorf("%w: %w", ErrNotDurable, cause)
	}
	return nil
}

// init says where the segments are, and how a sync is begun ahead.
func (d *Durability) init(s *Segments, queues fsx.Queues) {
	d.names, d.queue = fsx.NewNames(s.fs, s.dir), queues.New(aheadDepth)
}

// aheadDepth is how many files are synced ahead at the most. Each needs a descriptor while its sync is under way, and there may be
// few of them: more files than that are left to sync, which takes one after the other.
const aheadDepth = 4

// beginSync begins to make durable what is written, and does not wait for it. Only sync says whether it has become so.
func (d *Durability) beginSync() {
	if d.aheadTo != 0 || d.lost.Load() != nil || len(d.files) == 0 || len(d.files) > aheadDepth {
		return
	}
	d.aheadTo = d.written.Load()
	d.ahead = slices.Grow(d.ahead[:0], len(d.files)) // the queue refers to them
	var begun []*fsx.Request
	for _, g := range d.files {
		d.ahead = append(d.ahead, fsx.Request{File: g.file, Sync: true})
		begun = append(begun, &d.ahead[len(d.ahead)-1])
	}
	d.queue.Submit(begun)
}

// endSync waits for the sync that was begun ahead, if one was. It returns up to where that has made the bytes of files durable,
// 0 if nowhere, or why it has not (D8).
func (d *Durability) endSync() (to uint64, err error) {
	if d.aheadTo == 0 {
		return 0, nil
	}
	d.queue.Close()
	for i := range d.ahead {
		err = errors.Join(err, d.ahead[i].Err)
	}
	to, d.aheadTo = d.aheadTo, 0
	clear(d.ahead)
	return to, err
}

// making says that the segment of that path is about to be made.
func (d *Durability) making(path string) { d.names.Making(path) }

// wrote says that [from, to) was written to file g. It counts if all before it does (D4).
func (d *Durability) wrote(from, to uint64, g *segment) {
	if d.written.Load() != from {
		return
	}
	if d.lost.Load() == nil && !slices.Contains(d.files, g) {
		g.refs.Add(1)
		d.files = append(d.files, g)
	}
	d.written.Store(to)
}

// sync makes what is written durable, unless the log is durable up to target, which is written. hold keeps the head of the
// log where it is until release is called.
func (d *Durability) sync(target uint64, hold func() (head uint64, release func())) error {
	if d.durable.Load() >= target {
		return nil
	}
	if err := d.hopeless(); err != nil {
		return err
	}
	to := d.written.Load()
	if invariant.Enabled {
		invariant.Check(to >= target, "D5: sync up to %#x, written up to %#x", target, to)
	}
	done, err := d.endSync()
	if err == nil && done != to {
		err = d.syncFiles()
	}
	if err == nil {
		err = d.names.Sync()
	}
	if err == nil {
		err = d.filesInPlace()
	}
	if err != nil {
		head, release := hold()
		d.fail(err, head)
		release()
		return fmt.Errorf("hlog: sync of log up to %#x: %w", to, err)
	}
	d.drop()
	d.durable.Store(to)
	return nil
}

// fail is what follows from a sync that failed with cause (D6). The log is in memory from head on, which does not move
// meanwhile.
func (d *Durability) fail(cause error, head uint64) {
	d.names.Doubt()
	durable := d.durable.Load()
	if head <= durable {
		d.written.Store(durable)
		return
	}
	d.lost.Store(&cause)
	d.drop()
}

// abandon gives up all that is not durable, up to tail, where the log goes on.
func (d *Durability) abandon(tail uint64) {
	d.drop()
	d.lost.Store(nil)
	d.written.Store(tail)
	d.durable.Store(tail)
}

// drop gives back the files.
func (d *Durability) drop() {
	_, _ = d.endSync() // what it has found does not matter any more
	for _, g := range d.files {
		g.release()
	}
	clear(d.files)
	d.files = d.files[:0]
}

func (d *Durability) syncFiles() (first error) {
	for _, g := range d.files {
		first = errors.Join(first, g.file.Sync())
	}
	return first
}

// filesInPlace returns fsx.ErrReplaced if a file that was just synced has lost its name though it is not to be removed:
// the next opening would not find what is in it.
func (d *Durability) filesInPlace() error {
	for _, g := range d.files {
		if err := g.file.InPlace(); err != nil && !(errors.Is(err, fsx.ErrReplaced) && g.gone.Load()) {
			return err
		}
	}
	return nil
}
