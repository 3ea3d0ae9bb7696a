package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
)

// sums is the state of one user: fixed-size and without pointers, so that a Table holds it as it is.
type sums struct {
	Events, Amount uint64
}

func (s *sums) add(e event) {
	s.Events++
	s.Amount += e.Amount
}

// worker adds up the events of all partitions.
type worker struct {
	store *hlog.Store
	tell  func(news)

	// cut is held shared while a batch and its offset are applied, and alone for the moment of a cut, so that no cut
	// falls between the two. That moment is microseconds: the version becomes durable while work goes on.
	cut     sync.RWMutex
	offsets []uint64 // of cut: per partition, what the store holds
}

// batchEvents is how many events are read and applied at a time. A batch also lets the store overlap cache misses.
const batchEvents = 256

// workOn works until all events are in a durable version.
func workOn(ctx context.Context, c config, tell func(news)) (err error) {
	w, err := open(ctx, c, tell)
	if err != nil {
		return err
	}
	// When the work has failed, Close commits a version without a cookie. resume goes back to the one before.
	defer func() { err = errors.Join(err, w.store.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, c.Partitions)
	for p := range c.Partitions {
		go func() { results <- w.consume(ctx, p, newSource(c, p)) }()
	}
	return errors.Join(w.commitRegularly(ctx, c.Every, results, c.Partitions), ctx.Err())
}

// memoryBytes is the store's memory. With less than the state needs the work takes longer and ends the same.
const memoryBytes = 64 << 20

// open opens the store and takes up the work where it was left.
func open(ctx context.Context, c config, tell func(news)) (*worker, error) {
	store, err := hlog.Open(c.Dir, &hlog.Options{MemoryBytes: memoryBytes})
	if err != nil {
		return nil, err
	}
	w := &worker{store: store, tell: tell, offsets: make([]uint64, c.Partitions)}
	if err := w.resume(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return w, nil
}

// resume makes state and offsets agree: both come from the newest version that has offsets. One without was
// committed by a Close in the middle of the work; its updates are rolled back and will be made again.
func (w *worker) resume(ctx context.Context) error {
	versions, err := w.store.Versions()
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		return w.commit(ctx) // there is always a version to go back to
	}
	for _, v := range slices.Backward(versions) {
		if len(v.Cookie) == 0 {
			continue
		}
		if !v.Current {
			if _, err := w.store.Restore(ctx, v.Version); err != nil {
				return err
			}
		}
		var offsets []uint64
		if err := json.Unmarshal(v.Cookie, &offsets); err != nil {
			return fmt.Errorf("cookie of version %d: %w", v.Version, err)
		}
		if len(offsets) != len(w.offsets) {
			return fmt.Errorf("version %d has offsets of %d partitions, the source has %d", v.Version, len(offsets), len(w.offsets))
		}
		w.offsets = offsets
		w.tell(news{Version: uint64(v.Version), Resumed: true, Offsets: slices.Clone(offsets)})
		return nil
	}
	return errors.New("no version has offsets")
}

// commit makes a version of the state with the offsets that belong to it.
func (w *worker) commit(ctx context.Context) error {
	w.cut.Lock()
	offsets := slices.Clone(w.offsets)
	cookie, err := json.Marshal(offsets)
	if err != nil {
		w.cut.Unlock()
		return err
	}
	pending, err := w.store.BeginCheckpoint(hlog.WithCookie(cookie)) // the cut is taken when it returns
	w.cut.Unlock()
	if err != nil {
		return err
	}
	info, err := pending.Wait(ctx)
	if err != nil {
		return err // not durable; the version before still is
	}
	w.tell(news{Version: uint64(info.Version), Offsets: offsets})
	return nil
}

// commitRegularly commits every so often, and a last time when n results are in, or the first that is bad.
func (w *worker) commitRegularly(ctx context.Context, every time.Duration, results <-chan error, n int) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n > 0 {
		select {
		case err := <-results:
			if err != nil {
				return err
			}
			n--
		case <-tick.C:
			if err := w.commit(ctx); err != nil {
				return err
			}
		}
	}
	return w.commit(ctx)
}

// consume applies the events of one partition from its offset on.
func (w *worker) consume(ctx context.Context, p int, from source) error {
	session := w.store.NewSession()
	defer session.Close()
	table, err := hlog.NewTable[uint64, sums](session)
	if err != nil {
		return err
	}
	batch, users := make([]event, batchEvents), make([]uint64, batchEvents)
	offset := w.offsets[p] // nobody else changes it
	for ctx.Err() == nil {
		n := from.read(batch, offset)
		if n == 0 {
			return nil
		}
		for i, e := range batch[:n] {
			users[i] = e.User
		}
		w.cut.RLock()
		err := table.MultiUpdate(users[:n], func(i int, s *sums, existed bool) { s.add(batch[i]) })
		offset += uint64(n)
		w.offsets[p] = offset
		w.cut.RUnlock()
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
