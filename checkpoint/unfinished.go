package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// A Put that fails may leave a part of STORE, which is put a second time when the sequence of a store begins; so may a copy of a
// remote. Whoever reads finds ErrUnfinished. A mirror completes it where nobody else can be meant: its own sequence is there, or
// its own identity in the part. Nobody else does, though nothing else may seem to be there: a listing may be late, and of two
// stores that came at a time, one would take the remote away from the other, which a put-if-absent of STORE prevents.

// unfinished returns err, of decoding b, as ErrUnfinished if b is a part of what STORE of any store may be.
func unfinished(b []byte, err error) error {
	whole := encodeIdentity(Identity{})
	if n := min(len(b), magicBytes); len(b) >= len(whole) || !bytes.Equal(b[:n], whole[:n]) {
		return err
	}
	return fmt.Errorf("%w: %d of %d bytes: %w", ErrUnfinished, len(b), len(whole), err)
}

// complete puts STORE again, of which a part is there, if it is that of this store; unfinished is what says so, and is returned
// otherwise.
func (m *Mirror) complete(ctx context.Context, unfinished error) error {
	part, err := getAll(ctx, m.remote, storeName, identityBytes+envelopeBytes)
	if err != nil {
		return errors.Join(unfinished, err)
	}
	root, err := m.readRoot(ctx)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return errors.Join(unfinished, err)
	}
	begun := root != nil || err != nil
	for _, whole := range [][]byte{encodeRemoteIdentity(m.dir.id), encodeIdentity(m.dir.id)} {
		if bytes.HasPrefix(whole, part) && (begun || len(part) >= headerBytes+len(m.dir.id.StoreID)) {
			if begun {
				whole = encodeRemoteIdentity(m.dir.id)
			}
			return m.put(ctx, storeName, whole)
		}
	}
	return unfinished
}
