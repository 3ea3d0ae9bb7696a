package main

import (
	"context"
	"errors"
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

// offsetKey is the key of the record that says how far a partition has been worked off. Users have keys of 8 bytes, it
// has 16: the two never meet.
type offsetKey struct{ Kind, Partition uint64 }

const offsetKind = 1

// worker adds up the events of all partitions.
type worker struct {
	store *hlog.Store
	tell  func(news)
}

// batchEvents is how many events are read and applied at a time. A batch also lets the store overlap cache misses.
const batchEvents = 256

// workOn works until all events are in a durable version.
func workOn(ctx context.Context, c config, tell func(news)) (err error) {
	w, err := open(c, tell)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.store.Close()) }()
	if err := w.resume(c); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan error, c.Partitions)
	var workers sync.WaitGroup
	for p := range c.Partitions {
		workers.Go(func() { results <- w.consume(ctx, p, newSource(c, p)) })
	}
	defer workers.Wait() // so that no unit is under way when the store is closed
	defer cancel()
	return errors.Join(w.commitRegularly(ctx, c.Every, results, c.Partitions), ctx.Err())
}

// memoryBytes is the store's memory. With less than the state needs the work takes longer and ends the same.
const memoryBytes = 64 << 20

// open opens the store, at its newest version. Whichever that is, sums and offsets in it agree: there is nothing else to
// do to resume.
func open(c config, tell func(news)) (*worker, error) {
	store, err := hlog.Open(c.Dir, &hlog.Options{MemoryBytes: memoryBytes})
	return &worker{store: store, tell: tell}, err
}

// resume tells where the work is taken up.
func (w *worker) resume(c config) error {
	current, ok := w.store.Current()
	if !ok {
		return nil // a new store
	}
	session := w.store.NewSession()
	defer session.Close()
	table, err := hlog.NewTable[offsetKey, uint64](session)
	if err != nil {
		return err
	}
	offsets := make([]uint64, c.Partitions)
	for p := range offsets {
		if offsets[p], _, err = table.Get(offsetKey{offsetKind, uint64(p)}); err != nil {
			return err
		}
	}
	w.tell(news{Version: uint64(current.Version), Resumed: true, Offsets: offsets})
	return nil
}

// commit makes a version, while the work goes on.
func (w *worker) commit(ctx context.Context) error {
	info, err := w.store.Checkpoint(ctx)
	if errors.Is(err, hlog.ErrUnitBusy) {
		return nil // some batch has taken a second, on a machine with other things to do: the next version will have it
	}
	if err != nil {
		return err // not durable; the version before still is
	}
	w.tell(news{Version: uint64(info.Version)})
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

// consume applies the events of one partition from its offset on. A batch and the offset behind it are one unit: every
// version has both or neither, whenever it is cut, and no worker has to stop for that.
func (w *worker) consume(ctx context.Context, p int, from source) error {
	session := w.store.NewSession()
	defer session.Close()
	table, err := hlog.NewTable[uint64, sums](session)
	if err != nil {
		return err
	}
	offsets, err := hlog.NewTable[offsetKey, uint64](session)
	if err != nil {
		return err
	}
	key := offsetKey{offsetKind, uint64(p)}
	offset, _, err := offsets.Get(key)
	if err != nil {
		return err
	}
	batch, users := make([]event, batchEvents), make([]uint64, batchEvents)
	for ctx.Err() == nil {
		n := from.read(batch, offset)
		if n == 0 {
			return nil
		}
		for i, e := range batch[:n] {
			users[i] = e.User
		}
		offset += uint64(n)
		if err := session.Unit(func() error {
			if err := table.MultiUpdate(users[:n], func(i int, s *sums, existed bool) { s.add(batch[i]) }); err != nil {
				return err
			}
			return offsets.Set(key, offset)
		}); err != nil {
			return err
		}
	}
	return ctx.Err()
}
