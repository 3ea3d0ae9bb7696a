package hlog

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/word"
)

// CheckpointOption is an option of Checkpoint and BeginCheckpoint.
type CheckpointOption func(*checkpointOptions)

type checkpointOptions struct {
	version checkpoint.Version
	cookie  []byte
	given   bool // there was a cookie, if only an empty one
	ask     bool // Options.Cookie has it
	keep    bool // for PendingCheckpoint.View
}

// WithVersion gives the version its id, which must be higher than every id so far, those of failed and purged versions
// included, and less than 1<<63; gaps are allowed. Without it, and with 0, the id is the next one.
func WithVersion(v checkpoint.Version) CheckpointOption {
	return func(o *checkpointOptions) { o.version = v }
}

// WithCookie stores a copy of b, at most 16 MiB, with the version: the offsets of the application's sources, say. It
// comes back in Info.Cookie. A version without it in which nothing has changed, if only compaction has moved records, has
// the cookie of its parent, whose state it is.
func WithCookie(b []byte) CheckpointOption {
	return func(o *checkpointOptions) { o.cookie, o.given = append([]byte(nil), b...), true }
}

// PendingCheckpoint is a version whose cut has been taken and which is being made durable. Its methods may be called
// from any goroutine, more than once. From the cut until the first Wait has returned what came of it, the version is
// pinned: neither KeepVersions nor Purge removes it. One that nobody waits for stays pinned until the garbage collector
// finds the PendingCheckpoint unreachable.
type PendingCheckpoint struct {
	store   *Store
	version *ledger.Pending
}

// Version returns the id that the version will have.
func (p *PendingCheckpoint) Version() checkpoint.Version { return p.version.Version }

// Wait returns when the version is durable (and on the remote, if there is one), or could not be made so. After an error
// there is no such version, with two exceptions: ErrRemote says that the version is durable in the directory, and comes
// with its Info; and when ctx ends first, its error is returned and the checkpoint goes on.
func (p *PendingCheckpoint) Wait(ctx context.Context) (checkpoint.Info, error) {
	if err := p.until(ctx, p.version.Answering()); err != nil {
		return checkpoint.Info{}, err
	}
	if p.version.LetGo() {
		p.store.kickMaintenance() // it may have been kept beyond its time
	}
	return p.version.Answer()
}

// View returns the version, open for reading, as soon as it is durable in the directory; it does not wait for a remote.
// It is called instead of Wait, or before: then nobody can have purged the version in between, however many were
// committed since the cut. After Wait it is like OpenVersion. The caller closes the view, which keeps the version.
//
// The error is that which Wait returns when there is no such version; ErrVersionNotFound when it was purged after Wait;
// the errors of OpenVersion; the error of ctx.
func (p *PendingCheckpoint) View(ctx context.Context) (*View, error) {
	p.version.Keep()
	defer p.version.Unkeep()
	if err := p.until(ctx, p.version.Decided()); err != nil {
		return nil, err
	}
	if err := p.version.Failure(); err != nil {
		return nil, err
	}
	if err := p.store.check(); err != nil {
		return nil, err
	}
	m, err := p.store.ledger.Pin(p.version.Version)
	if err != nil {
		return nil, err
	}
	return p.store.openView(ctx, m)
}

// until returns when c is closed, or with the error of ctx.
func (p *PendingCheckpoint) until(ctx context.Context, c <-chan struct{}) error {
	p.store.background.work().Until(closed(c))
	select {
	case <-c:
		return nil
	default:
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Checkpoint commits a version: BeginCheckpoint and Wait, with the errors of both. No operation waits for it. The error is
// that of ctx when ctx ends while units are waited for, and no version is begun then.
func (s *Store) Checkpoint(ctx context.Context, opts ...CheckpointOption) (checkpoint.Info, error) {
	var o checkpointOptions
	for _, f := range opts {
		f(&o)
	}
	p, err := s.begin(ctx, o)
	if err != nil {
		return checkpoint.Info{}, err
	}
	return p.Wait(ctx)
}

// BeginCheckpoint takes the cut of a new version, which holds every operation that returned before the call, none that
// starts after it has returned, and is causally closed in between. It holds a unit (see Session.Unit) whole or not at all.
// No operation waits for it; units that begin wait until the cut has been taken. The caller waits at most for the cut of
// the checkpoint before, for a restore, and a second for the units under way, not for the disk: the Wait of what is
// returned does that.
//
// ErrVersionOrder when the id given by WithVersion is not above every id so far; ErrTooLarge when the cookie is too
// large; ErrUnitBusy when a unit does not end; ErrReadOnly; ErrClosed. After an error nothing has changed.
func (s *Store) BeginCheckpoint(opts ...CheckpointOption) (*PendingCheckpoint, error) {
	o := checkpointOptions{keep: true}
	for _, f := range opts {
		f(&o)
	}
	p, err := s.begin(context.Background(), o)
	if err == nil {
		runtime.AddCleanup(p, func(v *ledger.Pending) { v.LetGo() }, p.version)
	}
	return p, err
}

func (s *Store) begin(ctx context.Context, o checkpointOptions) (*PendingCheckpoint, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if !s.writable {
		return nil, ErrReadOnly
	}
	if err := checkCookie(o.cookie); err != nil {
		return nil, err
	}
	lost := s.units.lost.Load()
	s.cutMu.Lock()
	defer s.cutMu.Unlock()
	if err := s.check(); err != nil {
		return nil, err
	}
	s.awaitCut() // before units have to wait
	if o.ask && !s.units.asked.awaits(0) {
		return nil, errCookieBusy // before units have to wait, too
	}
	began, patience := time.Now(), s.patienceWithUnits(lost)
	if err := s.shutUnits(ctx, lost); err != nil {
		return nil, err
	}
	p, err := s.beginLocked(o, patience-time.Since(began))
	s.units.reopen(began, err)
	if err != nil {
		return nil, err
	}
	return &PendingCheckpoint{store: s, version: p}, nil
}

// beginLocked moves the store to the next log version (C1). The caller holds cutMu, and no unit is under way (U2). A cookie
// that has to be asked for is waited for as long as patience says.
func (s *Store) beginLocked(o checkpointOptions, patience time.Duration) (*ledger.Pending, error) {
	s.awaitCut()
	if o.ask {
		if err := s.askForCookie(&o, patience); err != nil {
			return nil, err
		}
	}
	p, err := s.ledger.Begin(ledger.Request{
		Version: o.version, Cookie: o.cookie, Inherits: !o.given, Keep: o.keep, Moved: s.counters.compactedBytes.Load(),
		Raise: func() (tail, logVersion uint64) {
			tail = s.log.Tail()
			logVersion = control(s.control.Load()).logVersion()
			s.control.Add(1)
			return tail, logVersion
		},
	})
	if err != nil {
		return nil, err
	}
	s.events.checkpointBegun(p.Version)
	s.background.jobs.Once("cut", step.Cut, func() { s.takeCut(p) })
	s.background.commit.Wake()
	return p, nil
}

// awaitCut waits for the cut of the checkpoint before: operations of three versions at once would not know each
// other's records (C3). That is the time of the longest operation, without any I/O.
func (s *Store) awaitCut() {
	if p := s.ledger.Newest(); p != nil {
		s.waitCut(p)
	}
}

func (s *Store) waitCut(p *ledger.Pending) {
	s.background.work().Until(closed(p.Cutting()), step.Cut)
	<-p.Cutting()
}

// closed returns a function that reports whether c is closed.
func closed(c <-chan struct{}) func() bool {
	return func() bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
}

// drainCommits waits for the commits of all checkpoints that have begun.
func (s *Store) drainCommits() {
	s.background.work().Until(s.ledger.Idle, step.Cut, step.Commit, step.Pager)
	s.ledger.Drain()
}

// takeCut waits until the last operation of the old version has left, and ends the version's log there, on a block
// boundary (C4, H8).
func (s *Store) takeCut(p *ledger.Pending) {
	s.epochs.Synchronize()
	bits := s.index().Bits()
	cut, moved := s.log.AlignTail(p.From)
	s.ledger.Cut(p, cut, moved, bits)
}

// commitRound makes the checkpoints that have begun durable, in the order in which they began.
func (s *Store) commitRound() {
	for p := s.ledger.Next(); p != nil; p = s.ledger.Next() {
		s.commitNext(p)
	}
}

// commitNext makes p durable and tells everybody what came of it.
func (s *Store) commitNext(p *ledger.Pending) {
	defer s.ledger.Dealt()
	s.waitCut(p)
	info, err := s.commit(p)
	elapsed := time.Since(p.Began)
	if err != nil {
		s.counters.checkpointErrors.Add(1)
		s.logger.Error("checkpoint failed", "version", p.Version, "err", err)
		s.events.checkpointFailed(p.Version, err)
		s.ledger.Finish(p, err)
		return
	}
	s.counters.checkpoints.Add(1)
	s.counters.checkpointNanos.add(int64(elapsed))
	s.events.checkpointDurable(info, elapsed)
	if s.copies.mirror != nil {
		s.copies.add(p) // which finishes it
	} else {
		s.ledger.Finish(p, nil)
	}
	runtime.Gosched()          // whoever waits for the version has the processor before what follows
	s.background.merges.Wake() // they may write more, and there may be runs that only this version had
	s.kickMaintenance()
}

// commit writes the version's log, waits for runs if they do not stand for enough of it, and has the manifest written beside
// the sync of the log, which begins when the log is written (D8); it gets its name last (C5).
func (s *Store) commit(p *ledger.Pending) (checkpoint.Info, error) {
	defer s.disk.Committed(p.LogVersion) // or never will be
	covered := p.Cut - min(p.Cut, s.mayReplay())
	s.disk.Want(word.Address(covered)) // the run is written while the log is, as far as that goes
	s.background.runs.Wake()
	s.log.ShiftReadOnly(p.Cut)
	err := s.log.FlushTo(p.Cut)
	unchanged := s.compactor.onlyMoved(s.log, p)
	if err == nil {
		err = s.disk.WriteRunsUpTo(covered)
		if err != nil {
			err = errors.Join(s.log.SyncTo(p.Cut), err) // what is wrong with the log comes first: no later version makes it good
		} else {
			s.disk.MakeShallow(p.LogVersion, p.Cut) // (R7)
		}
	}
	if err != nil {
		s.compactor.dealt(err)
		s.ledger.Fail(p, err)
		return checkpoint.Info{}, err
	}
	aux := makeAux(p.IndexBits, s.log.Totals(), s.log.LargeRecords())
	info, err := s.ledger.Commit(p, aux, s.opts.PageBytes, unchanged, func() error { return s.log.SyncTo(p.Cut) })
	s.compactor.dealt(err)
	if err == nil {
		s.log.RaiseBegin(p.Emptied)
		s.disk.Begin(s.log.Begin())
	}
	return info, err
}

// mayReplay returns how much log a version may leave to be replayed when it is opened (R4). The last version leaves little.
func (s *Store) mayReplay() uint64 {
	if s.life.Phase().Ends() {
		return s.disk.Uncovered / 16
	}
	if t := s.log.Totals(); t.Records > 0 && t.Bytes >= shares.LongRecord*t.Records {
		return 2 * s.disk.Uncovered
	}
	return s.disk.Uncovered
}

// Versions lists the versions that can be restored, oldest first, each with its cookie and where it lies (Info.Place): in
// the directory, on the remote, or on both, as far as the remote was seen. What is listed may be purged by any later commit,
// once there are more than Options.KeepVersions of them. OpenVersion keeps a version, here and on the remote: while its View
// is open, Restore finds the version. Cookies are shared with the store and must not be changed. ErrClosed on a closed store.
func (s *Store) Versions() ([]checkpoint.Info, error) {
	if err := s.ready(context.Background()); err != nil {
		return nil, err
	}
	if s.copies.mirror != nil {
		return s.copies.mirror.Versions(), nil
	}
	return s.ledger.Versions(), nil
}

// changed reports whether anything was written since the newest cut.
func (s *Store) changed() bool { return s.ledger.Changed(s.log.Tail()) }
