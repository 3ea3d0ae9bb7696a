package checkpoint

import (
	"context"
	"fmt"
)

// Related returns nil if the versions of d and o stand on their remote now, and are versions of one store with one history: what
// both name by one address, or one id, is the same then. It takes an answer or two of the remote.
//
// Readers of one remote know that. Of two readers one has to list the versions of the other, by the checksums of their manifests:
// no two commits make equal manifests, so that a copy of the remote that another store has gone on with since is told from it.
//
// ErrNotFound when a version does not stand any more; ErrStoreMismatch when they are not related; the errors of the remote, and
// that of an Interrupt.
func (d *RemoteDirectory) Related(ctx context.Context, o *RemoteDirectory) error {
	if d.r.Identity() != o.r.Identity() {
		return fmt.Errorf("%w: %x and %x", ErrStoreMismatch, d.r.Identity().StoreID, o.r.Identity().StoreID)
	}
	ctx, interrupted, done := interruptible(ctx, d, o) // what ends one ends what is asked for the other
	defer done()
	if err := d.Stand(ctx); err != nil {
		return interrupted(err)
	}
	if d.r == o.r {
		return o.stand()
	}
	if err := o.Stand(ctx); err != nil {
		return interrupted(err)
	}
	if d.r.sequence().lacks(o.stands) != 0 && o.r.sequence().lacks(d.stands) != 0 {
		return fmt.Errorf("%w: two remotes of store %x that have no history in common", ErrStoreMismatch, d.r.Identity().StoreID)
	}
	return nil
}

// Stand returns nil if all versions of the directory stand on the remote now. ErrNotFound when one was purged; the errors of the
// remote, and that of an Interrupt.
func (d *RemoteDirectory) Stand(ctx context.Context) error {
	ctx, interrupted, done := interruptible(ctx, d)
	defer done()
	if err := d.r.CatchUp(ctx); err != nil {
		return interrupted(err)
	}
	return d.stand()
}

// interruptible returns a context that ends with ctx, and with an Interrupt of one of some directories; interrupted replaces the error
// of what was asked with it by that of the Interrupt, if there was one.
func interruptible(ctx context.Context, ds ...*RemoteDirectory) (_ context.Context, interrupted func(error) error, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	stops := make([]func() bool, len(ds))
	for i, d := range ds {
		stops[i] = context.AfterFunc(d.ctx, cancel)
	}
	interrupted = func(err error) error {
		for _, d := range ds {
			if d.ctx.Err() != nil {
				return context.Cause(d.ctx)
			}
		}
		return err
	}
	return ctx, interrupted, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// stand is Stand as far as the reader knows.
func (d *RemoteDirectory) stand() error {
	if v := d.r.sequence().lacks(d.stands); v != 0 {
		return fmt.Errorf("%w: %d was purged from the remote", ErrNotFound, v)
	}
	return nil
}

// lacks returns one of some versions that does not stand, 0 if all do. A version that was put anew has its manifest still.
func (s *remoteState) lacks(stands []stand) Version {
	for _, st := range stands {
		if now, ok := s.versions[st.version]; !ok || now.sum != st.sum {
			return st.version
		}
	}
	return 0
}
