package hlogstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// Worker works on some of the partitions.
type Worker struct {
	c Config

	mu   sync.Mutex
	mine map[int]*holding
	err  error // that ended a partition for good
	stop context.CancelFunc

	running sync.WaitGroup
}

// holding is a partition that the worker has, or is about to give up.
type holding struct {
	lease *lease
	end   context.CancelFunc
	until atomic.Int64 // when the lease may be somebody else's, by the monotonic clock of start
	gone  bool         // it has been told to end
}

// start is what monotonic times are counted from.
var start = time.Now()

// New returns a worker that does not run yet.
func New(c Config) (*Worker, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Worker{c: c, mine: map[int]*holding{}}, nil
}

// Run works until ctx ends, commits what was done, gives the partitions up, and returns nil; or it returns the error that
// ended a partition and that trying again cannot help, after having done the same with the others. That somebody else has
// taken a partition is no error, and neither is a server that is away: it is tried again until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	ctx, w.stop = context.WithCancel(ctx)
	defer w.stop()
	if err := os.MkdirAll(w.c.Dir, 0o700); err != nil {
		return err
	}
	tick := time.NewTicker(w.c.LeaseTime / 5)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			w.c.Logger.Warn("leases", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	w.mu.Lock()
	for _, h := range w.mine {
		h.end()
	}
	w.mu.Unlock()
	w.running.Wait()
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.c.LeaseTime)
	defer cancel()
	if err := w.c.Leases.leave(bye, w.c.Name); err != nil {
		w.c.Logger.Warn("leaving", "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Partitions returns which partitions the worker has at the moment.
func (w *Worker) Partitions() (all []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := range w.mine {
		all = append(all, n)
	}
	return all
}

// round renews the leases, and takes or gives up partitions so that the workers have as many each.
func (w *Worker) round(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, w.c.LeaseTime/2)
	defer cancel()
	if err := w.c.Leases.beat(limit, w.c.Name); err != nil {
		return err
	}
	kept, err := w.renew(limit)
	if err != nil {
		return err
	}
	workers, err := w.c.Leases.workers(limit, w.c.Name, w.c.LeaseTime)
	if err != nil {
		return err
	}
	share := (w.c.Partitions + workers - 1) / workers
	if kept > share {
		w.giveUp(kept - share)
	}
	return w.takeUp(ctx, limit, share-kept)
}

// renew renews all leases, and returns how many partitions are kept.
func (w *Worker) renew(ctx context.Context) (kept int, err error) {
	w.mu.Lock()
	all := make(map[int]*holding, len(w.mine))
	for n, h := range w.mine {
		all[n] = h
	}
	w.mu.Unlock()
	for n, h := range all {
		switch e := h.lease.renew(ctx); {
		case e == nil:
			h.extend(w.c.LeaseTime)
		case errors.Is(e, errHeld):
			w.c.Logger.Info("lease is lost", "partition", n)
			h.until.Store(0)
		default:
			err = errors.Join(err, e)
		}
		w.mu.Lock()
		if w.mine[n] == h && !h.gone {
			kept++
		}
		w.mu.Unlock()
	}
	return kept, err
}

// extend notes until when the lease is certainly held: others wait for LeaseTime from when they have seen the renewal, which
// is not before it was asked for.
func (h *holding) extend(leaseTime time.Duration) {
	h.until.Store(int64(h.lease.renewed.Add(leaseTime).Sub(start)))
}

func (h *holding) lost() bool { return int64(time.Since(start)) >= h.until.Load() }

// giveUp ends n partitions.
func (w *Worker) giveUp(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.mine {
		if n > 0 && !h.gone {
			h.gone = true
			h.end()
			n--
		}
	}
}

// takeUp takes up to most partitions that are free.
func (w *Worker) takeUp(ctx, limit context.Context, most int) error {
	for n := 0; n < w.c.Partitions && most > 0; n++ {
		p := (n + w.offset()) % w.c.Partitions
		w.mu.Lock()
		_, have := w.mine[p]
		w.mu.Unlock()
		if have {
			continue
		}
		began := time.Now()
		l, err := w.c.Leases.take(limit, p, w.c.Name, w.c.LeaseTime)
		if errors.Is(err, errHeld) {
			continue
		}
		if err != nil {
			return err
		}
		most--
		w.begin(ctx, p, l, began)
	}
	return nil
}

// offset is where a worker begins to look for partitions: at another place than the others, so that they meet less.
func (w *Worker) offset() (n int) {
	for _, c := range w.c.Name {
		n = (n*31 + int(c)) % w.c.Partitions
	}
	return n
}

// begin runs a partition until it ends.
func (w *Worker) begin(ctx context.Context, n int, l *lease, began time.Time) {
	inner, end := context.WithCancel(ctx)
	h := &holding{lease: l, end: end}
	h.extend(w.c.LeaseTime)
	w.mu.Lock()
	w.mine[n] = h
	w.mu.Unlock()
	w.running.Go(func() {
		defer end()
		p := &partition{
			c: &w.c, n: n, epoch: l.epoch, lost: h.lost, wake: make(chan struct{}, 1), failures: make(chan error, 4),
			batches: make(chan []Message, batchesHeld), used: make(chan []Message, batchesHeld),
		}
		for range batchesHeld {
			p.used <- make([]Message, 0, w.c.BatchMessages)
		}
		w.ended(n, h, p.run(inner, began))
	})
}

// ended frees the lease of a partition that has ended, and notes why it has.
func (w *Worker) ended(n int, h *holding, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), w.c.LeaseTime/2)
	defer cancel()
	event := Event{Partition: n, Kind: Closed, Err: err}
	switch {
	case err == nil:
	case isRefused(err), errors.Is(err, errHeld):
		event.Kind = Lost
		w.c.Logger.Info("somebody else has the partition", "partition", n, "error", err)
		err = nil
	case !isFinal(err):
		w.c.Logger.Warn("partition has stopped, and is tried again", "partition", n, "error", err)
		err = nil
	}
	w.mu.Lock()
	delete(w.mine, n)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("hlogstream: partition %d: %w", n, err)
		w.stop()
	}
	w.mu.Unlock()
	if event.Kind != Lost {
		if e := h.lease.release(ctx); e != nil {
			w.c.Logger.Warn("lease is not given back, and expires", "partition", n, "error", e)
		}
	}
	w.c.Events(event)
}

// isFinal reports whether trying again cannot help. Whatever else ends a partition is a server, or a disk, that is away.
func isFinal(err error) bool {
	if errors.Is(err, checkpoint.ErrFilling) { // the remote that goes on with it is away
		return false
	}
	for _, final := range []error{ErrProcess, ErrSourceGap, ErrSourceShort, ErrOutput, ErrCookie, hlog.ErrCorrupt, hlog.ErrFormat, hlog.ErrLocked} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}
