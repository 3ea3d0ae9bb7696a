package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// A remote whose Put is not atomic, or that was copied to one, may be left with a part of STORE. It is the first object that a
// store puts, and put once more when its sequence begins, so that nothing else may be there, or all that the store has. Whoever
// reads finds ErrUnfinished. A mirror completes it where nobody else can be meant: its own sequence is there, or nothing at all.

// unfinished returns err, of decoding b, as ErrUnfinished if b is a part of what STORE of any store may be.
func unfinished(b []byte, err error) error {
	whole := encodeIdentity(Identity{})
	if n := min(len(b), magicBytes); len(b) >= len(whole) || !bytes.Equal(b[:n], whole[:n]) {
		return err
	}
	return fmt.Errorf("%w: %d of %d bytes: %w", ErrUnfinished, len(b), len(whole), err)
}

// onlyStore reports whether nothing lies on a remote but STORE, as far as a listing shows.
func onlyStore(ctx context.Context, r Remote) (bool, error) {
	objects, err := r.List(ctx, "")
	for _, o := range objects {
		if o.Name != storeName {
			return false, err
		}
	}
	return err == nil, err
}

// complete puts STORE again, of which a part is there, if it is that of this store, or that of a store that has put nothing
// else; err is what says so, and is returned otherwise.
func (m *Mirror) complete(ctx context.Context, unfinished error) error {
	part, err := getAll(ctx, m.remote, storeName, identityBytes+envelopeBytes)
	if err != nil {
		return errors.Join(unfinished, err)
	}
	root, err := m.readRoot(ctx)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return errors.Join(unfinished, err)
	}
	mine, identity := root != nil || err != nil, encodeIdentity(m.dir.id)
	if mine {
		identity = encodeRemoteIdentity(m.dir.id)
	}
	end := min(len(part), len(identity)-sumBytes)
	if mine && !bytes.HasPrefix(identity[headerBytes:], part[min(end, headerBytes):end]) {
		return unfinished // of another store, which must have gone another way
	}
	if !mine {
		if alone, err := onlyStore(ctx, m.remote); !alone || err != nil {
			return errors.Join(unfinished, err)
		}
	}
	return m.put(ctx, storeName, identity)
}

// isUnclaimed makes fs.ErrNotExist of ErrUnfinished where nothing but a part of STORE is on a remote: it has no store, and the
// first mirror that comes makes it its own.
func isUnclaimed(ctx context.Context, r Remote, err error) error {
	if !errors.Is(err, ErrUnfinished) {
		return err
	}
	if alone, bad := onlyStore(ctx, r); !alone || bad != nil {
		return errors.Join(err, bad)
	}
	return fmt.Errorf("checkpoint: identity of the remote: %w: only a part of it was ever put", fs.ErrNotExist)
}
