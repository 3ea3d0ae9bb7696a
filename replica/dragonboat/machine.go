package hlograft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/hybridlog/hybridlog/hlog"
)

// machine is the state machine that the library works with: from Open to Close it is one instance. The library calls Update,
// Sync, RecoverFromSnapshot and Close one at a time; PrepareSnapshot at no time when one of these runs; Lookup and
// SaveSnapshot at any time.
type machine struct {
	c              *Config
	shard, replica uint64
	state          atomic.Pointer[state] // nil before it is prepared, and from Close on
	record         *record
	batch          Batch
	durable        uint64 // Sync has nothing to do for entries up to here
	failed         bool   // a batch was applied in part

	mu     sync.Mutex
	newest *snapshot // prepared last, as long as the state has its index
}

var _ statemachine.IOnDiskStateMachine = (*machine)(nil)

// begin makes s the state that everything goes to from now on.
func (m *machine) begin(s *state) {
	session := s.store.NewSession()
	m.batch = Batch{Session: session, typed: typed{session: session}}
	m.durable = s.index.Load()
	m.state.Store(s)
}

// acquire returns the current state, which the caller releases; nil when the machine is closed.
func (m *machine) acquire() *state {
	for {
		s := m.state.Load()
		if s == nil || s.acquire() {
			return s
		}
	}
}

// Open returns the index of the version that the store was opened at (T2).
func (m *machine) Open(<-chan struct{}) (uint64, error) {
	if m.state.Load() == nil {
		if err := m.open(true); err != nil {
			return 0, err
		}
	}
	return m.state.Load().index.Load(), nil
}

// Update applies entries.
func (m *machine) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	s := m.state.Load()
	last := s.index.Load()
	for _, e := range entries {
		if e.Index <= last {
			return nil, fmt.Errorf("%w: %d behind %d", ErrOrder, e.Index, last)
		}
		last = e.Index
	}
	if len(entries) == 0 {
		return entries, nil
	}
	m.mu.Lock()
	m.forget()
	m.mu.Unlock()
	m.batch.Entries = entries
	m.failed = true // also when Apply panics
	err := m.c.Apply(&m.batch)
	m.batch.Entries = nil
	if err != nil {
		return nil, fmt.Errorf("%w: entries %d to %d: %w", ErrApply, entries[0].Index, last, err)
	}
	m.failed = false
	s.index.Store(last)
	return entries, nil
}

// Lookup answers a query from the current state (T8).
func (m *machine) Lookup(query any) (any, error) {
	s := m.acquire()
	if s == nil {
		return nil, ErrClosed
	}
	defer s.release()
	r := s.reader()
	defer s.readers.Put(r)
	answer, err := m.c.Query(r, query)
	if err != nil && m.state.Load() == nil && errors.Is(err, hlog.ErrClosed) {
		return nil, ErrClosed
	}
	return answer, err
}

// Sync makes what was applied durable, and then says so in the record (T3, T4).
func (m *machine) Sync() error {
	s := m.state.Load()
	index := s.index.Load()
	if index != m.durable {
		if _, err := s.store.Checkpoint(context.Background(), hlog.WithCookie(cookieOf(m.shard, index))); err != nil {
			return err
		}
		m.durable = index
	}
	return m.record.set(index)
}

// PrepareSnapshot cuts the version that SaveSnapshot writes (T6), unless there is one of the same index (T9).
func (m *machine) PrepareSnapshot() (any, error) {
	s := m.state.Load()
	index := s.index.Load()
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.newest; p != nil && p.state == s && p.index == index {
		p.users.Add(1)
		return p, nil
	}
	pending, err := s.store.BeginCheckpoint(hlog.WithCookie(cookieOf(m.shard, index)))
	if err != nil {
		return nil, err
	}
	p := &snapshot{state: s, index: index, pending: pending}
	p.users.Store(2) // the caller, and m
	m.forget()
	m.newest = p
	return p, nil
}

// forget gives up the snapshot of an index that the state has left. The caller holds mu.
func (m *machine) forget() {
	if p := m.newest; p != nil {
		m.newest = nil
		p.release()
	}
}

// SaveSnapshot writes the version that PrepareSnapshot has cut. What goes wrong with the writer ends the snapshot; what goes
// wrong with the store is returned, and ends the process.
func (m *machine) SaveSnapshot(what any, w io.Writer, stop <-chan struct{}) error {
	p, ok := what.(*snapshot)
	if !ok {
		return statemachine.ErrSnapshotAborted
	}
	defer p.release()
	if !p.state.acquire() {
		return statemachine.ErrSnapshotAborted
	}
	defer p.state.release()
	ctx, cancel := until(stop)
	defer cancel()
	out := &stoppable{w: w, ctx: ctx}
	view, err := p.open(ctx)
	if err == nil {
		_, err = view.WriteTo(out)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.Is(err, hlog.ErrClosed):
		return statemachine.ErrSnapshotStopped
	case out.err != nil:
		for _, known := range []error{statemachine.ErrSnapshotStreaming, statemachine.ErrSnapshotStopped, statemachine.ErrSnapshotAborted} {
			if errors.Is(out.err, known) {
				return known
			}
		}
		m.logger().Error("a snapshot could not be written", "shard", m.shard, "replica", m.replica, "error", out.err)
		return statemachine.ErrSnapshotAborted
	}
	return err
}

// RecoverFromSnapshot replaces the state (T7). Lookups go on in the old one until the new one is current.
func (m *machine) RecoverFromSnapshot(r io.Reader, stop <-chan struct{}) error {
	old := m.state.Load()
	number := old.number + 1
	dir := m.c.stateDir(number)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	ctx, cancel := until(stop)
	defer cancel()
	s, err := m.takeIn(ctx, r, number)
	if err == nil {
		if err = m.becomes(s); err == nil {
			m.begin(s)
			m.mu.Lock()
			m.forget()
			m.mu.Unlock()
			old.release()
			return nil
		}
		// Whether CURRENT names the new state is not known: both stay, and the next Prepare removes the one that is not.
		return errors.Join(err, s.store.Close())
	}
	if cleaned := os.RemoveAll(dir); cleaned != nil {
		err = errors.Join(err, cleaned)
	}
	if ctx.Err() != nil {
		return statemachine.ErrSnapshotStopped
	}
	return err
}

// takeIn makes a store of a snapshot, and opens it.
func (m *machine) takeIn(ctx context.Context, r io.Reader, number uint64) (*state, error) {
	if _, err := hlog.Import(ctx, m.c.stateDir(number), r); err != nil {
		return nil, err
	}
	return m.c.openState(m.shard, number)
}

// becomes makes a state the current one. A snapshot that was imported by hand may be older than the state: then the record
// goes down first, so that it is never ahead of the state.
func (m *machine) becomes(s *state) error {
	if index := s.index.Load(); index < m.record.index {
		if err := m.record.set(index); err != nil {
			return err
		}
	}
	return m.c.writeCurrent(m.shard, m.replica, s.number)
}

// Close commits what was applied, and closes the store. Lookups return ErrClosed from then on. What goes wrong is logged and not
// returned: the library would end the process, with all other replicas in it, for a version that nobody counts on.
func (m *machine) Close() error {
	if err := m.close(); err != nil {
		m.logger().Error("the last version was not committed", "shard", m.shard, "replica", m.replica, "error", err)
	}
	return nil
}

// close is Close, with the error. After a batch that has failed the store goes back to its newest version first; if it
// cannot, it stays open and commits nothing (T1).
func (m *machine) close() error {
	s := m.state.Swap(nil)
	if s == nil {
		return nil
	}
	if m.failed {
		if _, err := s.store.Restore(context.Background(), 0); err != nil {
			return err
		}
	}
	return errors.Join(s.store.Close(), m.record.file.Close())
}

func (m *machine) logger() *slog.Logger {
	if l := m.c.Options.Logger; l != nil {
		return l
	}
	return slog.New(slog.DiscardHandler)
}

// until returns a context that ends with stop, and a function that ends it in any case.
func until(stop <-chan struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// stoppable is a writer that ends with a context, and remembers its error.
type stoppable struct {
	w   io.Writer
	ctx context.Context
	err error
}

func (s *stoppable) Write(p []byte) (n int, err error) {
	if err = s.ctx.Err(); err == nil {
		n, err = s.w.Write(p)
	}
	if err != nil {
		s.err = err
	}
	return n, err
}
