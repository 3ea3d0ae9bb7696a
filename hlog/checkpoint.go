package hlog

import (
	"context"
	"fmt"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/invariant"
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
	store      *Store
	version    checkpoint.Version
	cookie     []byte
	began      time.Time
	from       uint64 // tail when it began: log above it may hold records of the next version
	fuzzy      uint64 // of cutDone: from, or cut if there is no such log
	logVersion uint64 // the newest that belongs to it
	begin      uint64 // what compaction has emptied the log up to
	moved      int64  // bytes that compaction had moved in all
	bits       uint   // of the index at the cut
	cut        uint64 // of cutDone
	cutDone    chan struct{}
	done       chan struct{}
	info       checkpoint.Info // of done
	err        error           // of done
	local      error           // of the commit queue: what the commit came to, whatever becomes of the copy
}

// Version returns the id that the version will have.
func (p *PendingCheckpoint) Version() checkpoint.Version { return p.version }

// Wait returns when the version is durable (and on the remote, if there is one), or could not be made so. After an error
// there is no such version, with two exceptions: ErrRemote says that the version is durable in the directory, and comes
// with its Info; and when ctx ends first, its error is returned and the checkpoint goes on.
func (p *PendingCheckpoint) Wait(ctx context.Context) (checkpoint.Info, error) {
	p.store.steps.Until(closed(p.done))
	select {
	case <-p.done:
		return p.info, p.err
	default:
	}
	select {
	case <-p.done:
		return p.info, p.err
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
	return s.beginLocked(o)
}

// beginLocked moves the store to the next log version (C1). The caller holds cutMu.
func (s *Store) beginLocked(o checkpointOptions) (*PendingCheckpoint, error) {
	if o.version == 0 {
		o.version = s.lastID + 1
	}
	if o.version <= s.lastID {
		return nil, fmt.Errorf("%w: %d, the newest so far is %d", ErrVersionOrder, o.version, s.lastID)
	}
	s.settleCut()
	p := &PendingCheckpoint{
		store: s, version: o.version, cookie: o.cookie, began: time.Now(),
		begin: s.compactor.begin.Load(), moved: s.counters.compactedBytes.Load(), cutDone: make(chan struct{}), done: make(chan struct{}),
	}
	s.lastID = o.version
	s.newest = p
	s.commits.push(p, func() {
		p.from = s.log.Tail()
		p.logVersion = control(s.control.Load()).logVersion()
		s.control.Add(1)
	})
	s.events.checkpointBegun(p.version)
	s.background.jobs.Once("cut", step.Cut, func() { s.takeCut(p) })
	s.background.commit.Wake()
	return p, nil
}

// settleCut waits for the cut of the checkpoint before: operations of three versions at once would not know each
// other's records (C3). That is the time of the longest operation, without any I/O.
func (s *Store) settleCut() {
	if p := s.newest; p != nil {
		s.waitCut(p)
	}
}

func (s *Store) waitCut(p *PendingCheckpoint) {
	s.steps.Until(closed(p.cutDone), step.Cut)
	<-p.cutDone
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
	s.steps.Until(s.commits.idle, step.Cut, step.Commit, step.Pager)
	s.commits.drain()
}

// takeCut waits until the last operation of the old version has left, and ends the version's log there, on a block
// boundary (C4, H8).
func (s *Store) takeCut(p *PendingCheckpoint) {
	s.epochs.Synchronize()
	p.bits = s.index().Bits()
	var moved bool
	p.cut, moved = s.log.AlignTail(p.from)
	if p.fuzzy = p.from; !moved {
		p.fuzzy = p.cut
	}
	close(p.cutDone)
}

// commitRound makes the checkpoints that have begun durable, in the order in which they began.
func (s *Store) commitRound() {
	for p := s.commits.pop(); p != nil; p = s.commits.pop() {
		s.commitNext(p)
	}
}

// commitNext makes p durable and tells everybody what came of it.
func (s *Store) commitNext(p *PendingCheckpoint) {
	s.waitCut(p)
	info, err := s.commit(p)
	p.info, p.err, p.local = info, err, err
	elapsed := time.Since(p.began)
	if err != nil {
		s.counters.checkpointErrors.Add(1)
		s.logger.Error("checkpoint failed", "version", p.version, "err", err)
		s.events.checkpointFailed(p.version, err)
	} else {
		s.counters.checkpoints.Add(1)
		s.counters.checkpointNanos.add(int64(elapsed))
		s.events.checkpointDurable(info, elapsed)
	}
	if err == nil && s.copies.mirror != nil {
		s.copies.add(p) // which closes p.done
	} else {
		close(p.done)
	}
	if err == nil {
		s.kickMaintenance()
	}
}

// commit flushes the version's log and writes its manifest, last.
func (s *Store) commit(p *PendingCheckpoint) (checkpoint.Info, error) {
	s.log.ShiftReadOnly(p.cut)
	if err := s.log.SyncTo(p.cut); err != nil {
		return checkpoint.Info{}, err
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	m := s.manifest(p)
	if err := s.versions.Commit(m); err != nil {
		return checkpoint.Info{}, err
	}
	s.goOn(lineage{parent: m, live: true, start: p.cut, dirty: p.fuzzy < p.cut, moved: p.moved})
	s.log.RaiseBegin(p.begin)
	return s.versions.Info(p.version)
}

// manifest describes p as a child of the newest committed version. What compaction has moved is not counted as its
// delta: nothing in it has changed. The caller holds commitMu.
func (s *Store) manifest(p *PendingCheckpoint) *checkpoint.Manifest {
	c := &s.committed
	delta := checkpoint.Extent{Start: c.start, End: p.cut, Fuzzy: max(p.fuzzy, c.start), LogVersion: p.logVersion}
	extents := checkpoint.Extend(c.parent, delta, c.live)
	if p.begin > 0 {
		extents = checkpoint.Trim(extents, p.begin)
	}
	image, runs := s.images.latest()
	if invariant.Enabled && len(runs) > 0 {
		to := runs[len(runs)-1].To
		invariant.Check(to <= p.fuzzy, "R4: a run ends at %#x, version %d has its fuzzy end at %#x", to, p.version, p.fuzzy)
	}
	m := &checkpoint.Manifest{
		Version: p.version, Created: p.began.UTC(), Cookie: p.cookie, Extents: extents,
		DeltaStart: c.start, Cut: p.cut, DeltaBytes: max(int64(p.cut-c.start)-(p.moved-c.moved), 0), LogVersion: p.logVersion,
		PageBytes: s.opts.PageBytes, Image: image, Runs: runs, Aux: makeAux(p.bits, s.log.Totals()),
	}
	if c.parent != nil {
		m.Parent = c.parent.Version
		m.PageBytes = max(m.PageBytes, c.parent.PageBytes)
	}
	return m
}

// Versions lists the versions that can be restored, oldest first. Those that only a remote still has are not among
// them. Cookies are shared with the store and must not be changed. ErrClosed on a closed store.
func (s *Store) Versions() ([]checkpoint.Info, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.versions.Versions(), nil
}

// changed reports whether anything was written since the newest cut.
func (s *Store) changed() bool {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	return s.committed.dirty || s.log.Tail() != s.committed.start
}
