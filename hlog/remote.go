package hlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	job     *step.Job
}

// openRemote prepares the directory for the remote's newest version: see checkpoint.Mirror.Pull for which of the two
// counts. A directory that has versions opens without a remote that cannot be reached; an empty one does not, and stays
// empty: what identity its store has is the remote's to say.
func (s *Store) openRemote(ctx context.Context) (*checkpoint.Dir, error) {
	there, remoteErr := checkpoint.RemoteIdentity(ctx, s.opts.Remote)
	found := remoteErr == nil
	if errors.Is(remoteErr, fs.ErrNotExist) {
		remoteErr = nil
	}
	d, err := s.dirToFill(there, found, remoteErr)
	if err != nil {
		return nil, err
	}
	s.copies.mirror, err = checkpoint.NewMirror(d, s.opts.Remote, checkpoint.MirrorOptions{Progress: func(name string, bytes int64) {
		s.logger.Debug("remote", "object", name, "bytes", bytes)
	}})
	if err != nil {
		return nil, err
	}
	if remoteErr == nil {
		var fetched int64
		fetched, remoteErr = s.copies.mirror.Pull(ctx)
		if fetched > 0 {
			s.logger.Info("fetched from the remote", "bytes", fetched)
		}
	}
	switch {
	case remoteErr == nil && d.Current() == nil:
		return d, d.MarkEmpty()
	case remoteErr == nil:
	case errors.Is(remoteErr, checkpoint.ErrDiverged), errors.Is(remoteErr, checkpoint.ErrStoreMismatch), d.Current() == nil:
		return nil, fmt.Errorf("remote: %w", remoteErr)
	default:
		s.logger.Warn("the remote cannot be reached; the store opens at its own newest version", "err", remoteErr)
	}
	return d, nil
}

// dirToFill opens the directory. What is damaged in it is set aside if the remote has the store.
func (s *Store) dirToFill(there checkpoint.Identity, found bool, remoteErr error) (*checkpoint.Dir, error) {
	o := checkpoint.OpenOptions{Identity: newIdentity(s.opts), Version: s.opts.Version, Fill: found, NoCreate: remoteErr != nil}
	if found {
		o.Identity = there
	}
	d, err := checkpoint.OpenDirWith(s.root, s.path, o)
	switch {
	case errors.Is(err, fs.ErrNotExist) && remoteErr != nil:
		return nil, fmt.Errorf("remote: %w", remoteErr)
	case errors.Is(err, checkpoint.ErrNotFound) && found:
		o.Version = 0 // the remote may have it
		return checkpoint.OpenDirWith(s.root, s.path, o)
	case errors.Is(err, checkpoint.ErrCorrupt) && found:
		if some, e := checkpoint.RemoteHasVersions(s.life.Context(), s.opts.Remote, there); e != nil || !some {
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
	c.job = job
}

// add hands over a version that has been committed; its Wait returns when it is copied.
func (c *copier) add(p *ledger.Pending) {
	c.mu.Lock()
	c.waiting = append(c.waiting, p)
	c.mu.Unlock()
	c.job.Wake()
}

// round copies what the remote lacks, oldest first, and finishes the versions that wait for it.
func (c *copier) round(s *Store) {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	errs := map[checkpoint.Version]error{}
	for _, v := range c.mirror.Missing() {
		if _, err := c.mirror.Upload(c.ctx, v); err != nil && !errors.Is(err, checkpoint.ErrNotFound) {
			errs[v] = err
			s.logger.Error("copy to the remote", "version", v, "err", err)
			break // in order: later ones go with the next round
		}
	}
	lacking := map[checkpoint.Version]bool{}
	for _, v := range c.mirror.Missing() {
		lacking[v] = true
	}
	for _, p := range waiting {
		var err error
		if lacking[p.Version] {
			if err = errs[p.Version]; err == nil {
				err = errors.New("an older version could not be copied")
			}
			err = fmt.Errorf("%w: version %d: %w", ErrRemote, p.Version, err)
		}
		s.ledger.Finish(p, err)
	}
	if len(lacking) == 0 && c.ctx.Err() == nil {
		if _, err := c.mirror.Retain(c.ctx, s.opts.KeepVersions); err != nil {
			s.logger.Warn("retention on the remote", "err", err)
		}
	}
}

// finish does a last round, and ends all copying after lastCopies.
func (c *copier) finish() {
	if c.job == nil {
		return // the store is read-only
	}
	t := time.AfterFunc(lastCopies, c.cancel)
	c.job.Wake() // what could not be copied before is tried again
	c.job.Finish()
	t.Stop()
	c.cancel()
}

// lag returns how many versions the remote lacks.
func (c *copier) lag() int {
	if c.mirror == nil {
		return 0
	}
	return len(c.mirror.Missing())
}

// fetch brings a version that only the remote has into the directory, and pins it.
func (s *Store) fetch(ctx context.Context, v checkpoint.Version) error {
	if s.copies.mirror == nil {
		return fmt.Errorf("%w: %d", ErrVersionNotFound, v)
	}
	live := s.ledger.Live()
	live.Log.Add(s.gap.Start, s.gap.End) // it may be part of memory (warm)
	_, err := s.copies.mirror.Fetch(ctx, v, checkpoint.FetchOptions{Live: live, Pin: true})
	return err
}
