package hlog

import (
	"context"
	"fmt"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/internal/step"
)

// CheckpointOption is an option of Checkpoint and BeginCheckpoint.
type CheckpointOption func(*checkpointOptions)

type checkpointOptions struct {
	version checkpoint.Version
	cookie  []byte
}

// WithVersion gives the version its id, which must be higher than every id so far, those of failed and purged versions
// included; gaps are allowed. Without it, and with 0, the id is the next one.
func WithVersion(v checkpoint.Version) CheckpointOption {
	return func(o *checkpointOptions) { o.version = v }
}

// WithCookie stores a copy of b, at most 16 MiB, with the version: the offsets of the application's sources, say. It
// comes back in Info.Cookie.
func WithCookie(b []byte) CheckpointOption {
	return func(o *checkpointOptions) { o.cookie = append([]byte(nil), b...) }
}

// PendingCheckpoint is a version whose cut has been taken and which is being made durable. Its methods may be called
// from any goroutine, more than once.
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
	answering := p.version.Answering()
	p.store.background.work().Until(closed(answering))
	select {
	case <-answering:
		return p.version.Answer()
	default:
	}
	select {
	case <-answering:
		return p.version.Answer()
	case <-ctx.Done():
		return checkpoint.Info{}, ctx.Err()
	}
}

// Checkpoint commits a version: BeginCheckpoint and Wait, with the errors of both. No operation waits for it.
func (s *Store) Checkpoint(ctx context.Context, opts ...CheckpointOption) (checkpoint.Info, error) {
	p, err := s.BeginCheckpoint(opts...)
	if err != nil {
		return checkpoint.Info{}, err
	}
	return p.Wait(ctx)
}

// BeginCheckpoint takes the cut of a new version, which holds every operation that returned before the call, none that
// starts after it has returned, and is causally closed in between. No operation waits for it. The caller waits at most
// for the cut of the checkpoint before and for a restore, not for the disk: the Wait of what is returned does that.
//
// ErrVersionOrder when the id given by WithVersion is not above every id so far; ErrTooLarge when the cookie is too
// large; ErrReadOnly; ErrClosed.
func (s *Store) BeginCheckpoint(opts ...CheckpointOption) (*PendingCheckpoint, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.readOnly {
		return nil, ErrReadOnly
	}
	var o checkpointOptions
	for _, f := range opts {
		f(&o)
	}
	if len(o.cookie) > checkpoint.MaxCookie {
		return nil, fmt.Errorf("%w: cookie of %d bytes, at most %d", ErrTooLarge, len(o.cookie), checkpoint.MaxCookie)
	}
	s.cutMu.Lock()
	defer s.cutMu.Unlock()
	if err := s.check(); err != nil {
		return nil, err
	}
	p, err := s.beginLocked(o)
	if err != nil {
		return nil, err
	}
	return &PendingCheckpoint{store: s, version: p}, nil
}

// beginLocked moves the store to the next log version (C1). The caller holds cutMu.
func (s *Store) beginLocked(o checkpointOptions) (*ledger.Pending, error) {
	s.settleCut()
	p, err := s.ledger.Begin(ledger.Request{
		Version: o.version, Cookie: o.cookie, Moved: s.counters.compactedBytes.Load(),
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

// settleCut waits for the cut of the checkpoint before: operations of three versions at once would not know each
// other's records (C3). That is the time of the longest operation, without any I/O.
func (s *Store) settleCut() {
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
	s.kickMaintenance()
}

// commit flushes the version's log and writes its manifest, last.
func (s *Store) commit(p *ledger.Pending) (checkpoint.Info, error) {
	s.log.ShiftReadOnly(p.Cut)
	if err := s.log.SyncTo(p.Cut); err != nil {
		s.ledger.Fail(p, err)
		return checkpoint.Info{}, err
	}
	info, err := s.ledger.Commit(p, makeAux(p.IndexBits, s.log.Totals()), s.opts.PageBytes)
	if err == nil {
		s.log.RaiseBegin(p.Emptied)
	}
	return info, err
}

// Versions lists the versions that can be restored, oldest first. Those that only a remote still has are not among
// them. Cookies are shared with the store and must not be changed. ErrClosed on a closed store.
func (s *Store) Versions() ([]checkpoint.Info, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.ledger.Versions(), nil
}

// changed reports whether anything was written since the newest cut.
func (s *Store) changed() bool { return s.ledger.Changed(s.log.Tail()) }
