package inspector

import (
	"errors"
	"fmt"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// copyToRemote copies versions to a remote, oldest first, as the store that has them would: only what is not there yet, and
// only to one that is empty or whose head is a version that the directory has, or has gone on from. All versions are copied and
// the remote opens at the current one then, after a rollback, too, unless it has gone on from there. What is interrupted leaves
// versions that stand whole, and the next time goes on with the piece that was under way. It claims the remote, so that a store
// that has been writing to it stops.
//
// A remote at a version that the directory does not have is refused without -over: whether the directory has purged it after a
// rollback, or somebody else has gone on there, is for the caller to know.
func (x *call) copyToRemote(to Opener) error {
	if x.since != 0 {
		return fmt.Errorf("copy to %s: a remote gets what it lacks without -since; %w", x.args[1], errUsage)
	}
	d, err := x.openAside(checkpoint.OpenOptions{Aside: true})
	if err != nil {
		return err
	}
	ids := []checkpoint.Version{checkpoint.Version(x.version)}
	if x.version == 0 {
		ids = nil
		for _, i := range d.Versions() {
			ids = append(ids, i.Version)
		}
	}
	remote, err := to.Write(x.ctx, x.args[1])
	if err != nil {
		return err
	}
	passed := &progress{x: x, what: "copied", told: time.Now()}
	m, err := checkpoint.NewMirror(d, remote, checkpoint.MirrorOptions{Over: x.over, Progress: func(_ string, n int64) { passed.add(n) }})
	if err != nil {
		return err
	}
	for _, v := range ids {
		n, err := m.Upload(x.ctx, v)
		switch {
		case errors.Is(err, hlog.ErrVersionNotFound) && x.version == 0:
			err = x.purged(v)
		case err == nil:
			err = x.say(moved{uint64(v), 0, n}, "version %d: %d bytes\n", v, n)
		}
		if err != nil {
			return x.diverged(err)
		}
	}
	if x.version == 0 {
		if err := m.Follow(x.ctx); err != nil {
			return x.diverged(err)
		}
	}
	_ = m.PutHint(x.ctx) // whoever reads finds the versions without it
	return nil
}

// diverged adds to an error of a remote that is elsewhere what can be done about it.
func (x *call) diverged(err error) error {
	if errors.Is(err, checkpoint.ErrDiverged) && !x.over {
		err = fmt.Errorf("%w; with -over %s opens where %s does all the same, and keeps what it has", err, x.args[1], x.args[0])
	}
	return err
}

// openAside opens what is read from as the directory of somebody else.
func (x *call) openAside(o checkpoint.OpenOptions) (d *checkpoint.Dir, err error) {
	err = x.retry(func() error {
		far, path, err := x.lies()
		if err != nil {
			return err
		}
		if far != nil {
			d, err = checkpoint.OpenDirWith(far, path, o)
			return err
		}
		root, err := looking{x.fs}.OpenRoot(path)
		if err != nil {
			return err
		}
		x.closeLater(func() { root.Close() }) // what was read is whole
		d, err = checkpoint.OpenDirWith(root, path, o)
		return x.explain(0, err)
	})
	return d, err
}
