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
// counts. A directory that has versions opens without a remote that cannot be reached; an empty one does not.
func (s *Store) openRemote(ctx context.Context) (*checkpoint.Dir, error) {
	fsys, path, remote := s.root, s.path, s.opts.Remote
	id := newIdentity(s.opts)
	there, remoteErr := checkpoint.RemoteIdentity(ctx, remote)
	switch {
	case remoteErr == nil:
		id = there
	case errors.Is(remoteErr, fs.ErrNotExist):
		remoteErr = nil
	}
	d, err := checkpoint.OpenDir(fsys, path, id, false)
	if errors.Is(err, checkpoint.ErrCorrupt) && there != (checkpoint.Identity{}) {
		s.logger.Warn("the directory is damaged and is filled from the remote", "err", err)
		if err := checkpoint.SetAside(fsys, path, there); err != nil {
			return nil, err
		}
		d, err = checkpoint.OpenDir(fsys, path, there, false)
	}
	if err != nil {
		return nil, err
	}
	s.copies.mirror, err = checkpoint.NewMirror(d, remote, checkpoint.MirrorOptions{Progress: func(name string, bytes int64) {
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
	case remoteErr == nil:
	case errors.Is(remoteErr, checkpoint.ErrDiverged), errors.Is(remoteErr, checkpoint.ErrStoreMismatch), d.Current() == nil:
		return nil, fmt.Errorf("remote: %w", remoteErr)
	default:
		s.logger.Warn("the remote cannot be reached; the store opens at its own newest version", "err", remoteErr)
	}
	return d, nil
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
	_, err := s.copies.mirror.Fetch(ctx, v, checkpoint.FetchOptions{Live: s.ledger.Live(), Pin: true})
	return err
}
