package hlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/step"
)

// filling is the filling of a directory that has no version, from the remote that has some. Open does not wait for it: it
// opens the remote's head where it lies, for the first reads, and the job fill fetches the same version behind them.
//
//	Open ---> Filling: operations on keys are served ---> the version is ---> recovered ---> the early writes ---> Open
//	              |    from early writes and the remote;  here whole          as by Open    are moved in
//	              |    all else waits                         |
//	              +---> Close without early writes: the       +---> fails: all that waits gets the error
//	                    directory stays as far as it has come
//
//	Y3  A store that is being filled has nothing of its own on disk. What operations write meanwhile is kept in memory (early.go:
//	    Y8 to Y11). Whatever makes, names or removes versions, or goes over all keys, waits until the directory is whole and was
//	    recovered. So no end of the fill can lose anything that was durable: a crash, or Close, leaves a directory that says that
//	    it is being filled (NONE, V13), or one with a whole version (V1), and the next Open with the remote goes on.
//	Y4  Reads on the remote and the fill are of one version, the head that Open has found. When that is purged from the
//	    remote before it is here, the store stays at it: reads get ErrRemote with ErrVersionNotFound, but for what is in
//	    memory, and so does all that waits. The directory opens at the new head the next time.
//	Y5  No read begins on the remote once a write can begin in the log: view is cleared before the phase moves. A read that has
//	    begun before may end later; it takes effect at its beginning. One that loses its view on the way begins again here.
//	Y6  Who waits gets the error of the attempt under way when that fails. The next one begins after a pause, and those who
//	    come then wait for it.
//	    Whoever waits also hastens the fill, which stands back for the first read, or for as long as one might begin.
//	Y7  Without early writes Close ends the attempt under way, whose context it ends, and waits for no more of it than it takes
//	    to notice.
type filling struct {
	dir       *checkpoint.Dir
	manifest  *checkpoint.Manifest // of the version
	info      checkpoint.Info
	pageBytes int // of the store, at the least; set when the segments are known
	total     int64
	came      atomic.Int64         // bytes that were fetched
	view      atomic.Pointer[View] // what reads use; nil when they may not any more
	early     *earlyWrites
	ahead     atomic.Bool // a Prefetch is under way
	recovered bool        // of the job: log and index are there, and only the early writes are not

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ended  chan struct{} // closed when the job has ended
	first  firstRead

	mu      lock.Mutex[lock.Leaf]
	changed chan struct{} // of mu: closed when err or the phase has changed
	err     error         // of mu: why the last attempt has failed; nil while one is under way
	failure error         // of mu: why the last one that has failed did
	timer   *time.Timer   // of mu: ends the attempt when the remote does not answer
	limit   time.Duration // of mu: within this
}

// firstRead is what the fill stands back for: it would take processor and remote from the read that somebody waits for.
type firstRead struct {
	begun, served, hurried sync.Once     // of the channels
	begins, ends, hurry    chan struct{} // closed when a first read begins, and is served, and when somebody waits for the fill
}

// firstPatience is how long the fill waits for a first read to begin.
const firstPatience = 20 * time.Millisecond

func newFirstRead() firstRead {
	return firstRead{begins: make(chan struct{}), ends: make(chan struct{}), hurry: make(chan struct{})}
}

func (r *firstRead) begin()  { r.begun.Do(func() { close(r.begins) }) }
func (r *firstRead) end()    { r.served.Do(func() { close(r.ends) }) }
func (r *firstRead) hasten() { r.hurried.Do(func() { close(r.hurry) }) }

// await returns when the first read has been served, when none begins, or when somebody waits for the fill.
func (r *firstRead) await(ctx context.Context) {
	patience := time.NewTimer(firstPatience)
	defer patience.Stop()
	select {
	case <-r.begins:
	case <-r.hurry:
		return
	case <-ctx.Done():
		return
	case <-patience.C:
		return
	}
	select {
	case <-r.ends:
	case <-r.hurry:
	case <-ctx.Done():
	}
}

// fillPause is how long the second attempt waits. Each further one waits twice as long, up to catchUp.
const fillPause = time.Second

// fillError is the error of what has to wait for a fill, or has to be read on the remote meanwhile, and cannot be.
type fillError struct{ err error }

func (e fillError) Error() string {
	return "hlog: the directory is not filled from the remote yet: " + e.err.Error()
}
func (e fillError) Unwrap() []error { return []error{ErrRemote, e.err} }

// openToFill opens a directory that has no version, if the remote has some, and prepares to fill it. It returns nil, and has
// changed nothing, where that is not the case or cannot be told: then the directory is opened as any other is.
func (s *Store) openToFill(ctx context.Context, remote checkpoint.Remote) (_ *checkpoint.Dir, err error) {
	if s.opts.Version != 0 || s.background.work() != nil {
		return nil, nil
	}
	if some, err := checkpoint.HoldsVersions(s.root, s.path); some || err != nil {
		return nil, nil
	}
	memory := s.opts.MemoryBytes
	if s.opts.Shared != nil {
		memory = MinMemoryBytes // others have the rest
	}
	early := newEarlyWrites(memory)
	forReads := max(memory-early.limit, MinMemoryBytes)
	r, o, err := newRemoteReader(ctx, remote, 0, &Options{MemoryBytes: forReads, OpenTimeout: s.opts.OpenTimeout, Logger: s.opts.Logger})
	if err != nil {
		return nil, nil
	}
	w, err := openRemoteView(ctx, r, r.Head(), o)
	if err != nil {
		r.Close()
		return nil, nil
	}
	w.reader = r
	defer func() {
		if s.fill == nil {
			err = errors.Join(err, w.Close())
		}
	}()
	d, err := s.dirToFill(ctx, r.Identity(), true, nil)
	if err != nil || d.Current() != nil {
		return nil, err
	}
	f := &filling{dir: d, early: early, ended: make(chan struct{}), changed: make(chan struct{}), first: newFirstRead()}
	if s.copies.mirror, err = s.newMirror(d, watched{remote, f.answered}); err != nil {
		return nil, err
	}
	unclaimed, err := s.claim(ctx)
	if err != nil {
		return nil, notOpened(err)
	}
	if w, err = s.atHead(ctx, r, w, o); err != nil {
		return nil, notOpened(err)
	}
	s.noteUnclaimed(unclaimed)
	f.manifest, f.info, f.total = w.m, w.Info(), w.m.Bytes()
	f.view.Store(w)
	f.ctx, f.cancel = context.WithCancel(context.Background())
	s.fill = f
	return d, nil
}

// atHead returns a view of the remote's head as it is after the claim, which may have come after w was opened.
func (s *Store) atHead(ctx context.Context, r *checkpoint.RemoteReader, w *View, o Options) (*View, error) {
	if s.opts.RemoteEpoch == 0 {
		return w, nil
	}
	if err := r.CatchUp(ctx); err != nil || r.Head() == w.m.Version {
		return w, err
	}
	now, err := openRemoteView(ctx, r, r.Head(), o)
	if err != nil {
		return w, err
	}
	now.reader, w.reader = r, nil
	return now, w.Close()
}

// startFilling lets reads begin, and the fill.
func (s *Store) startFilling() {
	s.moveTo(life.Filling)
	s.pool.init(s)
	s.background.events.Start()
	s.background.jobs.Once("fill", step.Apart, s.fillAll)
}

// unfilled reports whether the store is being filled, or was closed before it was whole: users cannot use log and index.
func (s *Store) unfilled() bool {
	if s.fill == nil {
		return false
	}
	p := s.life.Phase()
	return p == life.Filling || p == life.Failed
}

// ready returns when the store has all that it was opened for; else the error of the fill, of ctx, or ErrClosed.
func (s *Store) ready(ctx context.Context) error {
	if s.fill != nil {
		if err := s.fill.wait(ctx, s.life); err != nil {
			return err
		}
	}
	return s.check()
}

func (f *filling) wait(ctx context.Context, l *life.Life) error {
	for {
		f.mu.Lock()
		changed, err := f.changed, f.err
		f.mu.Unlock()
		if l.Phase() != life.Filling {
			return nil
		}
		if err != nil {
			return err
		}
		f.first.hasten()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell wakes those who wait. err is why an attempt has failed.
func (f *filling) tell(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	if err != nil && err != ErrClosed || f.failure == nil {
		f.failure = err
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// fillAll is the job: it tries until the directory is whole, the store is closed, or nothing can come of it.
func (s *Store) fillAll() {
	f := s.fill
	defer close(f.ended)
	defer f.cancel()
	f.first.await(f.ctx)
	for pause := fillPause; ; pause = min(2*pause, catchUp) {
		final, err := s.fillOnce()
		if err != nil && f.ctx.Err() != nil {
			err = ErrClosed
		}
		if final {
			f.early.seal(false)
		}
		f.tell(err)
		if err == nil || err == ErrClosed {
			return
		}
		if !f.recovered {
			s.copies.note(err)
		}
		s.logger.Error("fill the directory from the remote", "err", err)
		if final {
			return
		}
		select {
		case <-f.ctx.Done():
			return
		case <-time.After(pause):
		}
		f.tell(nil)
	}
}

// fillOnce is one attempt; when it returns nil, the store is open. final says that no other attempt would come to more.
func (s *Store) fillOnce() (final bool, err error) {
	f := s.fill
	if !f.recovered {
		if final, err := s.fetchAll(); err != nil {
			return final, err
		}
		f.recovered = true
		s.prepare()
		s.startJobs() // they make room for the early writes
	}
	if err := f.early.move(s); err != nil {
		return false, fmt.Errorf("hlog: move what was written while the directory was filled into the log: %w", err)
	}
	s.moveTo(life.Open)
	s.copies.note(nil)
	s.events.fetched(f.total, f.total)
	return true, nil
}

// fetchAll fetches the version, and recovers the store at it.
func (s *Store) fetchAll() (final bool, err error) {
	f := s.fill
	ctx, stop := f.begin(s.opts.OpenTimeout)
	fetched, err := s.copies.mirror.Fill(ctx, f.manifest.Version)
	cause := context.Cause(ctx)
	stop()
	if err != nil {
		for _, e := range []error{ErrVersionNotFound, ErrOtherStore, ErrFormat, ErrFenced, ErrDiverged} {
			final = final || errors.Is(err, e)
		}
		if cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return final, fillError{err}
	}
	s.logger.Info("fetched from the remote", "bytes", fetched)
	f.early.seal(false)
	if err := s.closeFilling(); err != nil { // its memory is the store's from here on
		s.logger.Warn("the view of the remote", "err", err)
	}
	if err := s.recoverDir(f.dir); err != nil {
		return true, fmt.Errorf("hlog: open %s, filled from the remote: %w", s.path, err)
	}
	return false, nil
}

// begin returns the context of an attempt, which ends when the remote has not answered for a time, unless that is negative.
func (f *filling) begin(limit time.Duration) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(f.ctx)
	if limit < 0 {
		return ctx, func() { cancel(nil) }
	}
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("no answer within %v", limit)) })
	f.mu.Lock()
	f.timer = timer
	f.limit = limit
	f.mu.Unlock()
	return ctx, func() {
		f.mu.Lock()
		f.timer = nil
		f.mu.Unlock()
		timer.Stop()
		cancel(nil)
	}
}

// answered tells that the remote has answered.
func (f *filling) answered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil {
		f.timer.Reset(f.limit)
	}
}

// fetched tells that so many bytes have come.
func (s *Store) fetched(n int64) {
	f := s.fill
	if f == nil || s.life.Phase() != life.Filling {
		return
	}
	s.events.fetched(min(f.came.Add(n), f.total-1), f.total) // the last one tells that all is done
}

// fillMetrics is Metrics of a store that is being filled.
func (s *Store) fillMetrics() Metrics {
	m := Metrics{MemoryBytes: s.opts.MemoryBytes, RemoteError: s.copies.trouble()}
	if s.life.Phase() == life.Filling {
		m.FetchLeft = max(s.fill.total-s.fill.came.Load(), 1)
	}
	ops := s.epochs.Totals()
	m.GetCount, m.SetCount, m.DeleteCount, m.UpdateCount = ops[opGet], ops[opSet], ops[opDelete], ops[opUpdate]
	return m
}

// closeFilling ends the reads on the remote (Y5).
func (s *Store) closeFilling() error {
	if s.fill != nil {
		if w := s.fill.view.Swap(nil); w != nil {
			return w.Close()
		}
	}
	return nil
}

// closeUnfilled is close for a store that is being filled; closed is false if it is not, or if it has a log by now.
func (s *Store) closeUnfilled(commit bool) (closed bool, err error) {
	f := s.fill
	if f == nil || s.life.Phase() != life.Filling {
		return false, nil
	}
	if commit {
		f.settleEarly(s.life)
	}
	f.cancel()
	<-f.ended
	if f.recovered || !s.moveTo(life.Failed) {
		return false, nil // Close has more to do, or somebody else has closed it
	}
	f.tell(ErrClosed)
	if commit {
		err = s.lostEarly()
	}
	err = errors.Join(err, s.closeFilling(), s.abandon())
	f.early.drop()
	s.memory.leave()
	s.background.events.Finish()
	return true, err
}

// getFar reads a key on the remote, while the store is being filled, if that was not written early. served is false if it has
// to be read here. Key and value are copied, so that those of a caller may lie on his stack.
func (s *Session) getFar(dst, key []byte) (value []byte, err error, served bool) {
	f := s.store.fill
	w := f.view.Load()
	if w == nil {
		return dst, nil, false
	}
	f.first.begin()
	defer f.first.end()
	s.asked = append(s.asked[:0], key...)
	s.answer, err = w.Get(s.answer[:0], s.asked)
	switch {
	case err == nil:
		return append(dst, s.answer...), nil, true
	case err == ErrNotFound:
		return dst, err, true
	case f.view.Load() == nil: // it was closed meanwhile
		return dst, nil, false
	case errors.Is(err, ErrVersionNotFound):
		err = fillError{err}
	}
	return dst, err, true
}
