package contest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// Dataflow is a small streaming job: a source numbers transactions, partition workers own the state, each in an engine of
// its own. Transaction i reads one key and changes another, which depends on what was read; the keys may live on two
// workers. Every worker handles its share of the transactions in the order of the stream, so that the outcome is
// that of running them one after the other:
//
//	source ──▶ queue of worker 0 ──▶ engine 0      read a at its owner, send the value,
//	       ──▶ queue of worker 1 ──▶ engine 1      change b at its owner, once the value has come
//	       …                        markers: every worker takes the snapshot where the marker stands in its queue
//
// No worker can wait for ever: the oldest unfinished transaction waits for nobody, since all before it are done.
//
// A version is complete when every worker has it. The source offset that it stands for is written into each worker's state under
// a key of its own just before the snapshot. When a worker dies, all go back to the newest complete version, and
// the source is read again from the offset found in the state.
type Dataflow struct {
	Contestant Contestant
	Keys       int
	Workers    int
	Txns       int
	Rate       float64 // transactions per second; 0 = as fast as they go
	Every      time.Duration
	Kill       int // transaction after which worker 0 dies; 0 = nobody does
	Dist       workload.Dist
	Dir        string
	At         func(done, total float64, note string)
}

// DataflowResult is what one run measured.
type DataflowResult struct {
	Latency   *workload.Latencies // of transactions, from when they were due until changed
	Snapshots []float64           // milliseconds that each snapshot of a worker took
	Blocked   []float64           // milliseconds of each during which the worker handled nothing
	Versions  int
	Recovery  time.Duration // from the death until every worker is back at the complete version
	Replayed  int           // transactions done again
	Elapsed   time.Duration // without the recovery
	Txns      int           // handled, replays included
}

// Beginner is implemented by engines whose snapshots need not be waited for: the cut is taken when BeginSnapshot returns, and wait
// returns when it is durable.
type Beginner interface {
	BeginSnapshot(version uint64) (wait func() error, err error)
}

// offsetKey holds the source offset in each worker's state. It is longer than the keys of the workload.
var offsetKey = []byte("source-offset")

// item is what stands in a worker's queue.
type item struct {
	kind    itemKind
	key     uint32
	txn     int
	due     time.Time
	value   chan uint64 // what was read, from the reader's worker to the writer's
	version uint64
}

type itemKind uint8

const (
	readItem itemKind = iota
	writeItem
	markItem
)

// flow is one running Dataflow.
type flow struct {
	Dataflow
	picks   []uint32
	workers []*flowWorker
	res     DataflowResult

	mu       sync.Mutex
	marks    map[uint64]*mark // versions being taken
	complete uint64           // the newest that all have
	offset   int              // of complete
	begun    uint64           // the newest that was begun
}

// mark is a version that is being taken.
type mark struct {
	offset int
	left   int // workers that do not have it yet
}

type flowWorker struct {
	id      int
	flow    *flow
	entry   *Entry
	queue   chan item
	lat     *workload.Latencies
	taken   []float64
	blocked []float64
	pending sync.WaitGroup // snapshots that are becoming durable
	err     error
	errMu   sync.Mutex
}

// errDied is the end of the worker that is killed.
var errDied = errors.New("bench: killed")

// Run loads the state, runs the stream with a death in the middle, and compares the end with a serial run.
func (d Dataflow) Run(ctx context.Context) (res DataflowResult, err error) {
	f := &flow{Dataflow: d, marks: map[uint64]*mark{}}
	f.picks = d.Dist.Picks(d.Keys, 2*d.Txns, 11)
	f.res.Latency = workload.NewLatencies()
	defer func() {
		for _, w := range f.workers {
			err = errors.Join(err, w.entry.Leave())
		}
	}()
	for i := range d.Workers {
		e, err := Enter(d.Contestant, d.Dir, Shape{Keys: d.Keys, KeyBytes: 8, ValueBytes: 8}, 1)
		if err != nil {
			return res, err
		}
		f.workers = append(f.workers, &flowWorker{id: i, flow: f, entry: e, lat: workload.NewLatencies()})
	}
	if err := f.load(ctx); err != nil {
		return res, err
	}
	if err := f.stream(ctx, 0); err != nil {
		if !errors.Is(err, errDied) {
			return res, err
		}
		from, err := f.recover()
		if err != nil {
			return res, fmt.Errorf("recovery: %w", err)
		}
		f.Kill = 0
		if err := f.stream(ctx, from); err != nil {
			return res, err
		}
	}
	for _, w := range f.workers {
		f.res.Latency.Merge(w.lat)
		f.res.Snapshots = append(f.res.Snapshots, w.taken...)
		f.res.Blocked = append(f.res.Blocked, w.blocked...)
	}
	return f.res, f.check()
}

// owner is the worker that a key lives on.
func (f *flow) owner(key uint32) *flowWorker {
	return f.workers[workload.Mix64(uint64(key))%uint64(len(f.workers))]
}

// load gives every key its first value and takes version 1 at offset 0.
func (f *flow) load(ctx context.Context) error {
	var key, value [8]byte
	for k := range uint32(f.Keys) {
		workload.Key(key[:], uint64(k))
		binary.LittleEndian.PutUint64(value[:], firstValue(k))
		if err := f.owner(k).entry.Engine.Set(key[:], value[:]); err != nil {
			return err
		}
		if k%100_000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for _, w := range f.workers {
		if err := w.entry.Engine.Set(offsetKey, offsetValue(0)); err != nil {
			return err
		}
		if err := w.entry.Engine.Snapshot(1); err != nil {
			return err
		}
	}
	f.complete, f.begun = 1, 1
	return nil
}

func firstValue(k uint32) uint64 { return workload.Mix64(uint64(k)) | 1 }

// apply is what a transaction makes of the value it changes.
func apply(txn int, read, old uint64) uint64 { return workload.Mix64(old+read) ^ uint64(txn) }

// stream runs the source from an offset to the end, or until the kill.
func (f *flow) stream(ctx context.Context, from int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, w := range f.workers {
		w.queue, w.err = make(chan item, 1024), nil
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := w.loop(ctx); err != nil {
				w.fail(err)
				cancel(err)
			}
		}()
	}
	begin := time.Now()
	sent := f.source(ctx, begin, from, cancel)
	for _, w := range f.workers {
		close(w.queue)
	}
	wg.Wait()
	f.res.Elapsed += time.Since(begin)
	f.res.Txns += sent - from
	for _, w := range f.workers {
		w.pending.Wait()
	}
	f.mu.Lock()
	f.marks = map[uint64]*mark{} // what is not complete by now never will be
	f.mu.Unlock()
	for _, w := range f.workers {
		w.errMu.Lock()
		err := w.err
		w.errMu.Unlock()
		if err != nil && !errors.Is(err, errDied) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return context.Cause(ctx)
}

func (w *flowWorker) fail(err error) {
	w.errMu.Lock()
	defer w.errMu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// source sends the transactions and the markers; it returns the number of the first transaction it did not send.
func (f *flow) source(ctx context.Context, begin time.Time, from int, cancel context.CancelCauseFunc) int {
	nextMark := begin.Add(f.Every)
	send := func(w *flowWorker, it item) bool {
		select {
		case w.queue <- it:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for i := from; i < f.Txns; i++ {
		due := time.Now()
		if f.Rate > 0 {
			at := begin.Add(time.Duration(float64(i-from) / f.Rate * float64(time.Second)))
			if wait := at.Sub(due); wait > 0 {
				due = workload.WaitUntil(at)
			} else {
				due = at
			}
		}
		if f.Every > 0 && due.After(nextMark) {
			nextMark = due.Add(f.Every)
			version := f.newMark(i)
			for _, w := range f.workers {
				if !send(w, item{kind: markItem, txn: i, version: version}) {
					return i
				}
			}
		}
		a, b := f.picks[2*i], f.picks[2*i+1]
		value := make(chan uint64, 1)
		if !send(f.owner(a), item{kind: readItem, key: a, txn: i, value: value}) ||
			!send(f.owner(b), item{kind: writeItem, key: b, txn: i, value: value, due: due}) {
			return i
		}
		if f.Kill > 0 && i >= f.Kill && f.newest() > 1 {
			cancel(errDied)
			return i + 1
		}
		if i%256 == 0 {
			f.At(float64(i), float64(f.Txns), "")
		}
	}
	return f.Txns
}

func (f *flow) newMark(offset int) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun++
	f.marks[f.begun] = &mark{offset: offset, left: len(f.workers)}
	return f.begun
}

// newest is the newest complete version.
func (f *flow) newest() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.complete
}

// has notes that one worker has a version.
func (f *flow) has(version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.marks[version]
	if m == nil {
		return
	}
	if m.left--; m.left == 0 {
		f.complete, f.offset = version, m.offset
		f.res.Versions++
		delete(f.marks, version)
	}
}

// loop handles a worker's queue until it is closed or the run is given up.
func (w *flowWorker) loop(ctx context.Context) error {
	var key, value [8]byte
	for it := range w.queue {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if it.kind == markItem {
			if err := w.snapshot(it); err != nil {
				return err
			}
			continue
		}
		workload.Key(key[:], uint64(it.key))
		v, err := w.entry.Engine.Get(key[:])
		if err != nil {
			return err
		}
		if len(v) != 8 {
			return fmt.Errorf("%s: key %d has a value of %d bytes", w.entry.Name, it.key, len(v))
		}
		old := binary.LittleEndian.Uint64(v)
		if it.kind == readItem {
			it.value <- old
			continue
		}
		select {
		case read := <-it.value:
			binary.LittleEndian.PutUint64(value[:], apply(it.txn, read, old))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := w.entry.Engine.Set(key[:], value[:]); err != nil {
			return err
		}
		w.lat.Record(time.Since(it.due))
	}
	return nil
}

func offsetValue(n int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)+1) }

// snapshot takes a version where the marker stands. An engine that can begin one goes on while it becomes durable.
func (w *flowWorker) snapshot(it item) error {
	if err := w.entry.Engine.Set(offsetKey, offsetValue(it.txn)); err != nil {
		return err
	}
	t := time.Now()
	b, ok := w.entry.Engine.(Beginner)
	if !ok {
		if err := w.entry.Engine.Snapshot(it.version); err != nil {
			return err
		}
		took := float64(time.Since(t)) / float64(time.Millisecond)
		w.taken, w.blocked = append(w.taken, took), append(w.blocked, took)
		w.flow.has(it.version)
		return nil
	}
	w.pending.Wait() // one at a time
	wait, err := b.BeginSnapshot(it.version)
	if err != nil {
		return err
	}
	w.blocked = append(w.blocked, float64(time.Since(t))/float64(time.Millisecond))
	w.pending.Add(1)
	go func() {
		defer w.pending.Done()
		if err := wait(); err != nil {
			w.fail(err)
			return
		}
		w.taken = append(w.taken, float64(time.Since(t))/float64(time.Millisecond))
		w.flow.has(it.version)
	}()
	return nil
}

// recover brings every worker back to the newest complete version and returns the source offset. Worker 0 is opened from a
// copy of its files as they were when it died; the others roll back where they are.
func (f *flow) recover() (int, error) {
	dead := f.workers[0]
	image := dead.entry.Dir + "-died"
	if err := CopyDir(image, dead.entry.Dir); err != nil {
		return 0, err
	}
	if err := errors.Join(dead.entry.Engine.Close(), os.RemoveAll(dead.entry.Dir)); err != nil {
		return 0, err
	}
	dead.entry.Dir = filepath.Clean(image)
	t := time.Now()
	errs := make([]error, len(f.workers))
	var wg sync.WaitGroup
	for i, w := range f.workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if i == 0 {
				e, err := f.Contestant.Open(w.entry.Dir)
				if err != nil {
					errs[i] = err
					return
				}
				w.entry.Engine = e
			}
			errs[i] = w.entry.Engine.Restore(f.complete)
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	offset := -1
	for _, w := range f.workers {
		v, err := w.entry.Engine.Get(offsetKey)
		if err != nil || len(v) != 8 {
			return 0, errors.Join(fmt.Errorf("worker %d: no source offset in its state", w.id), err)
		}
		n := int(binary.LittleEndian.Uint64(v)) - 1
		if offset >= 0 && n != offset || n != f.offset {
			return 0, fmt.Errorf("worker %d is at offset %d, another at %d, the version at %d", w.id, n, offset, f.offset)
		}
		offset = n
	}
	f.res.Recovery = time.Since(t)
	f.res.Replayed = f.res.Txns - offset
	return offset, nil
}

// check compares every key of every worker with a serial run of the whole stream.
func (f *flow) check() error {
	state := make([]uint64, f.Keys)
	for k := range state {
		state[k] = firstValue(uint32(k))
	}
	for i := range f.Txns {
		a, b := f.picks[2*i], f.picks[2*i+1]
		state[b] = apply(i, state[a], state[b])
	}
	var key [8]byte
	for k, want := range state {
		workload.Key(key[:], uint64(k))
		v, err := f.owner(uint32(k)).entry.Engine.Get(key[:])
		if err != nil {
			return err
		}
		if len(v) != 8 || binary.LittleEndian.Uint64(v) != want {
			return fmt.Errorf("wrong: %s ends with %x for key %d, the serial run with %x", f.Contestant.Name, v, k, want)
		}
		for _, w := range f.workers { // and nobody else may have it
			if k%997 != 0 || w == f.owner(uint32(k)) {
				continue
			}
			if v, err := w.entry.Engine.Get(key[:]); err != nil || v != nil {
				return fmt.Errorf("wrong: key %d is at worker %d too (%v)", k, w.id, err)
			}
		}
	}
	return nil
}
