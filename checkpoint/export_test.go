package checkpoint

import (
	"context"
	"io"
)

// OldLayout copies the versions of a remote to an empty one, as an older release would have put them there.
func OldLayout(ctx context.Context, d *Dir, from, to Remote) error {
	m, err := NewMirror(d, from, MirrorOptions{Attempts: 1})
	if err != nil {
		return err
	}
	if m.state, err = m.readSequence(ctx); err != nil {
		return err
	}
	if err := to.Put(ctx, storeName, encodeIdentity(d.id)); err != nil {
		return err
	}
	move := func(name func(piece) string, p piece) (piece, error) {
		old := p
		old.generation = 0
		body, err := from.Get(ctx, name(p), 0, -1)
		if err != nil {
			return old, err
		}
		defer body.Close()
		data, err := io.ReadAll(body)
		if err == nil {
			err = to.Put(ctx, name(old), data)
		}
		return old, err
	}
	all, err := m.versions(ctx)
	if err != nil {
		return err
	}
	for _, r := range all {
		b := append(appendUint64s(nil, uint64(len(r.manifest))), r.manifest...)
		b = appendUint64s(b, 0)
		sections := [][]piece{r.log}
		names := []func(piece) string{m.names.extent}
		if r.m.Image == nil {
			sections, names = append(sections, nil), append(names, nil)
		}
		for _, f := range r.files() {
			sections = append(sections, f.pieces)
			names = append(names, func(p piece) string { return m.names.imagePiece(f.id, p) })
		}
		for i, pieces := range sections {
			b = appendUint64s(b, uint64(len(pieces)))
			for _, p := range pieces {
				old, err := move(names[i], p)
				if err != nil {
					return err
				}
				b = appendUint64s(b, old.start, old.end, old.sum)
			}
		}
		if err := to.Put(ctx, m.names.version(r.m.Version, 0), wrap(magicRemote, r.m.format(), b)); err != nil {
			return err
		}
	}
	return nil
}

// PutEntries puts n entries that change nothing, each as a mirror puts its own.
func PutEntries(ctx context.Context, m *Mirror, n int) error {
	end, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := m.mayWrite(ctx); err != nil {
		return err
	}
	for range n {
		if err := m.put1(ctx, &remoteEntry{kind: headEntry, head: m.state.head}); err != nil {
			return err
		}
		if err := m.tidySequence(ctx); err != nil {
			return err
		}
	}
	return nil
}

// StandBesides has n versions stand, from 1 on, of which there is nothing but that a snapshot names them.
func StandBesides(ctx context.Context, m *Mirror, n int) error {
	end, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := m.mayWrite(ctx); err != nil {
		return err
	}
	s := m.state.clone()
	for v := range Version(n) {
		s.versions[v+1] = stand{version: v + 1, sum: uint64(v) + 1, object: uint64(v) + 1}
	}
	m.setState(s)
	return m.put1(ctx, &remoteEntry{kind: snapshotEntry})
}

// Last returns the number of the last entry that the reader knows.
func (r *RemoteReader) Last() uint64 { return r.sequence().last }
