package hlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/step"
)

// With a remote, each version is copied there after it has been committed, in order, by one goroutine. A failure is
// reported by the version's Wait, and the copy is made good later: with the next version, or after catchUp.
const (
	catchUp = 30 * time.Second
	// lastCopies bounds how long Close waits for the copies that are under way.
	lastCopies = 30 * time.Second
)

// copier copies versions to the remote. Without a remote mirror is nil, and nothing is done.
type copier struct {
	mirror  *checkpoint.Mirror
	ctx     context.Context // ends some time after the store is closed
	cancel  context.CancelFunc
	mu      lock.Mutex[lock.Leaf]
	waiting []*ledger.Pending // of mu: committed, to be finished once they are copied
	err     error             // of mu: why the remote was of no use the last time
	job     *step.Job
	bound   time.Duration // lastCopies
}

// openRemote prepares the directory for the remote's head: see checkpoint.Mirror.Pull for which of the two
// counts. A directory that has versions opens without a remote that cannot be reached; an empty one does not, and stays
// empty: what identity its store has is the remote's to say.
func (s *Store) openRemote(ctx context.Context) (*checkpoint.Dir, error) {
	remote, ctx, stop := watch(ctx, s.opts.Remote, s.opts.OpenTimeout)
	defer stop()
	if d, err := s.openToFill(ctx, remote); d != nil || err != nil {
		return d, err
	}
	there, remoteErr := checkpoint.RemoteIdentity(ctx, remote)
	found := remoteErr == nil
	if errors.Is(remoteErr, fs.ErrNotExist) {
		remoteErr = nil
	}
	d, err := s.dirToFill(ctx, there, found, remoteErr)
	if err != nil {
		return nil, err
	}
	if s.copies.mirror, err = s.newMirror(d, remote); err != nil {
		return nil, err
	}
	if remoteErr == nil {
		remoteErr = s.pull(ctx)
	}
	if cause := context.Cause(ctx); remoteErr != nil && cause != nil && s.life.Context().Err() == nil {
		remoteErr = fmt.Errorf("%w: %w", cause, remoteErr)
	}
	switch {
	case remoteErr == nil && d.Current() == nil:
		return d, d.MarkEmpty()
	case remoteErr == nil:
	case errors.Is(remoteErr, checkpoint.ErrStoreMismatch), d.Current() == nil, errors.Is(remoteErr, ErrDiverged), errors.Is(remoteErr, ErrFenced):
		return nil, notOpened(remoteErr)
	default:
		s.copies.note(remoteErr)
		s.logger.Warn("the remote cannot be reached; the store opens at its own newest version", "err", remoteErr)
	}
	return d, nil
}

// notOpened makes the error of Open out of one of the remote: ErrRemote, unless it says what the remote holds.
func notOpened(err error) error {
	for _, holds := range []error{checkpoint.ErrStoreMismatch, checkpoint.ErrCorrupt, checkpoint.ErrFormat, checkpoint.ErrNotFound} {
		if errors.Is(err, holds) {
			return fmt.Errorf("remote: %w", err)
		}
	}
	if errors.Is(err, ErrFenced) || errors.Is(err, ErrDiverged) {
		return fmt.Errorf("%w: %w", ErrRemote, err)
	}
	return remoteReadError{err}
}

// newMirror returns the mirror of the directory, which tells of what comes and goes.
func (s *Store) newMirror(d *checkpoint.Dir, remote checkpoint.Remote) (*checkpoint.Mirror, error) {
	return checkpoint.NewMirror(d, remote, checkpoint.MirrorOptions{Epoch: s.opts.RemoteEpoch, Progress: func(name string, bytes int64) {
		s.logger.Debug("remote", "object", name, "bytes", bytes)
		s.fetched(bytes)
	}})
}

// pull claims the remote, and brings the directory to its head. The claim comes first: what the remote has after it is the
// last that a store with an older epoch has put there.
func (s *Store) pull(ctx context.Context) error {
	unclaimed, err := s.claim(ctx)
	if err != nil {
		return err
	}
	fetched, err := s.copies.mirror.Pull(ctx)
	if fetched > 0 {
		s.logger.Info("fetched from the remote", "bytes", fetched)
	}
	if err == nil {
		s.noteUnclaimed(unclaimed)
	}
	return err
}

// claim claims the remote, if there is an epoch to claim it with. unclaimed is why it could not be if it may be read all the same.
func (s *Store) claim(ctx context.Context) (unclaimed, err error) {
	if s.opts.RemoteEpoch == 0 {
		return nil, nil
	}
	err = s.copies.mirror.Claim(ctx)
	if errors.Is(err, ErrFenced) || ctx.Err() != nil {
		return nil, err
	}
	return err, nil
}

// noteUnclaimed notes why a remote that can be read cannot be written to, unless that is nil.
func (s *Store) noteUnclaimed(err error) {
	if err != nil {
		s.copies.note(err)
		s.logger.Warn("the remote cannot be claimed; nothing is copied to it", "err", err)
	}
}

// dirToFill opens the directory. What is damaged in it is set aside if the remote has the store.
func (s *Store) dirToFill(ctx context.Context, there checkpoint.Identity, found bool, remoteErr error) (*checkpoint.Dir, error) {
	o := checkpoint.OpenOptions{Identity: newIdentity(s.opts), Version: s.opts.Version, Fill: found, NoCreate: remoteErr != nil}
	if found {
		o.Identity = there
	}
	d, err := checkpoint.OpenDirWith(s.root, s.path, o)
	switch {
	case errors.Is(err, fs.ErrNotExist) && remoteErr != nil:
		return nil, notOpened(remoteErr)
	case errors.Is(err, checkpoint.ErrFilling) && remoteErr != nil:
		return nil, fmt.Errorf("%w: %w: %w", ErrRemote, remoteErr, err)
	case errors.Is(err, checkpoint.ErrNotFound) && found:
		o.Version = 0 // the remote may have it
		return checkpoint.OpenDirWith(s.root, s.path, o)
	case errors.Is(err, checkpoint.ErrCorrupt) && found:
		if some, e := checkpoint.RemoteHasVersions(ctx, s.opts.Remote, there); e != nil || !some {
			return nil, errors.Join(err, e)
		}
		s.logger.Warn("the directory is damaged and is filled from the remote", "err", err)
		if err := checkpoint.SetAside(s.root, s.path, there); err != nil {
			return nil, err
		}
		return checkpoint.OpenDirWith(s.root, s.path, o)
	}
	return d, err
}

// init makes the copier, whose rounds job does.
func (c *copier) init(job *step.Job) {
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.job, c.bound = job, lastCopies
}

// add hands over a version that has been committed; its Wait returns when it is copied.
func (c *copier) add(p *ledger.Pending) {
	c.mu.Lock()
	c.waiting = append(c.waiting, p)
	c.mu.Unlock()
	c.job.Wake()
}

// note keeps why the remote was of no use, nil when it was.
func (c *copier) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// trouble returns what was noted last.
func (c *copier) trouble() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return ""
	}
	return c.err.Error()
}

// round brings a rollback to the remote that it lacks, copies what it is to have, oldest first, and finishes the versions
// that wait for it.
func (c *copier) round(s *Store) {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	errs := map[checkpoint.Version]error{}
	_, err := c.mirror.MoveHead(c.ctx)
	if err != nil {
		s.logger.Error("rollback on the remote", "err", err)
	}
	for _, v := range c.due(s, waiting) {
		if err == nil {
			_, err = c.mirror.Upload(c.ctx, v)
		}
		if errors.Is(err, checkpoint.ErrNotFound) {
			err = nil // purged meanwhile
		}
		if err != nil {
			errs[v] = err
			s.logger.Error("copy to the remote", "version", v, "err", err)
			break // in order: later ones go with the next round
		}
	}
	if err == nil && !c.mirror.HeadIsCurrent() {
		_, err = c.mirror.MoveHead(c.ctx)
	}
	c.note(err)
	c.answer(s, waiting, errs, err)
	if err == nil && c.ctx.Err() == nil {
		if _, err := c.mirror.Retain(c.ctx, s.opts.KeepVersions); err != nil {
			s.logger.Warn("retention on the remote", "err", err)
		}
		if err := c.mirror.PutHint(c.ctx); err != nil {
			s.logger.Debug("hint on the remote", "err", err)
		}
	}
}

// due returns the versions to copy, oldest first: those that the remote is to keep, and those that somebody waits for.
func (c *copier) due(s *Store, waiting []*ledger.Pending) []checkpoint.Version {
	due := c.mirror.Due(s.opts.KeepVersions)
	for _, v := range c.mirror.Missing() {
		if slices.ContainsFunc(waiting, func(p *ledger.Pending) bool { return p.Version == v }) {
			due = append(due, v)
		}
	}
	slices.Sort(due)
	return slices.Compact(due)
}

// answer tells the versions that wait what came of their copies; first is the error that has ended the round, if one has.
func (c *copier) answer(s *Store, waiting []*ledger.Pending, errs map[checkpoint.Version]error, first error) {
	lacking := c.mirror.Missing()
	stopped := c.mirror.Stopped()
	for _, p := range waiting {
		var err error
		if slices.Contains(lacking, p.Version) {
			switch err = errs[p.Version]; {
			case err != nil:
			case stopped != nil:
				err = stopped
			case first != nil:
				err = fmt.Errorf("an older version could not be copied: %w", first)
			default:
				err = errors.New("it was purged before")
			}
			err = fmt.Errorf("%w: version %d: %w", ErrRemote, p.Version, err)
		}
		s.ledger.Finish(p, err)
	}
}

// follow brings a rollback to version v to the remote, and v itself, if it is not there.
func (c *copier) follow(ctx context.Context, v checkpoint.Version) error {
	if c.mirror == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)() // when the store has closed
	_, err := c.mirror.Upload(ctx, v)
	if err == nil {
		_, err = c.mirror.MoveHead(ctx)
	}
	c.note(err)
	return err
}

// finish does a last round, and ends all copying after lastCopies, or at once if nobody is to wait. ErrRemote when the remote is
// not known to be where the directory is then, unless nobody waits for that.
func (c *copier) finish(s *Store, wait bool) error {
	if c.job == nil {
		return nil // the store is read-only
	}
	bound := c.bound
	if !wait {
		bound = 0
	}
	t := time.AfterFunc(bound, c.cancel)
	c.job.Wake() // what could not be copied before is tried again
	c.job.Finish()
	t.Stop()
	c.cancel()
	if c.mirror == nil || !wait || c.mirror.HeadIsCurrent() {
		return nil
	}
	err := c.mirror.Stopped()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = c.err
	}
	if err == nil {
		err = errors.New("it has not been reached")
	}
	return fmt.Errorf("%w: the last version is not known to be there: %w", ErrRemote, err)
}

// lag returns how many versions the remote lacks.
func (c *copier) lag(s *Store) int {
	if c.mirror == nil {
		return 0
	}
	return len(c.mirror.Due(s.opts.KeepVersions))
}

// fetch brings a version that only the remote has into the directory, and pins it.
func (s *Store) fetch(ctx context.Context, v checkpoint.Version) error {
	if s.copies.mirror == nil {
		return fmt.Errorf("%w: %d", ErrVersionNotFound, v)
	}
	if v > s.ledger.MaxID() {
		there, err := s.copies.mirror.Stands(ctx, v)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%w: %d", ErrVersionNotFound, v)
		}
		s.ledger.Reserve(v) // versions that are begun from here on have higher ids
		s.drainCommits()    // and those with lower ones are committed before
	}
	live := s.ledger.Live()
	live.Log.Add(s.gap.Start, s.gap.End) // it may be part of memory (warm)
	_, err := s.copies.mirror.Fetch(ctx, v, checkpoint.FetchOptions{Live: live, Pin: true})
	return err
}

// watched is a remote that is being waited for.
type watched struct {
	checkpoint.Remote
	answered func()
}

// watch returns a remote, and a context that ends when the remote has not answered any call for a time, unless that is
// negative, until stop is called. What the remote sends for long is no reason to give it up.
func watch(ctx context.Context, r checkpoint.Remote, limit time.Duration) (_ checkpoint.Remote, _ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if limit < 0 {
		return r, ctx, func() { cancel(nil) }
	}
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("no answer within %v", limit)) })
	var over atomic.Bool
	answered := func() {
		if !over.Load() {
			timer.Reset(limit)
		}
	}
	return watched{r, answered}, ctx, func() {
		over.Store(true)
		cancel(nil)
		timer.Stop()
	}
}

func (w watched) Put(ctx context.Context, name string, data []byte) error {
	defer w.answered()
	return w.Remote.Put(ctx, name, data)
}

func (w watched) PutIfAbsent(ctx context.Context, name string, data []byte) (bool, error) {
	defer w.answered()
	return w.Remote.PutIfAbsent(ctx, name, data)
}

func (w watched) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	defer w.answered()
	body, err := w.Remote.Get(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	return watchedBody{body, w.answered}, nil
}

// watchedBody is what Get returns: each part of it is an answer.
type watchedBody struct {
	io.ReadCloser
	answered func()
}

func (b watchedBody) Read(p []byte) (int, error) {
	defer b.answered()
	return b.ReadCloser.Read(p)
}

func (w watched) List(ctx context.Context, prefix string) ([]checkpoint.Object, error) {
	defer w.answered()
	return w.Remote.List(ctx, prefix)
}

func (w watched) Delete(ctx context.Context, name string) error {
	defer w.answered()
	return w.Remote.Delete(ctx, name)
}
