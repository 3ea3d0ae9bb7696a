package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Retain deletes the oldest versions of the remote, so that keep of them stay, and what only they needed. It returns
// those that are gone. The newest stays always, and so does any that is pinned locally. The rule is that of
// Dir.Retain and of Dir.Purge: while the object of any version is damaged, nothing is deleted (M5).
func (m *Mirror) Retain(ctx context.Context, keep int) (gone []Version, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint: retain %d versions on the remote: %w", keep, err)
		}
	}()
	end, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	all := m.versions()
	for _, r := range all[:max(0, len(all)-max(keep, 1))] {
		if m.dir.isPinned(r.m.Version) {
			continue
		}
		if err := m.delete(ctx, r); err != nil {
			return gone, err
		}
		gone = append(gone, r.m.Version)
	}
	return gone, nil
}

// Purge deletes one version of the remote and what only it needed, like Retain. A version whose object is damaged can
// be purged, and must be before anything else is deleted, unless an Upload of it mends it; Sweep finds what it leaves.
// ErrNotFound when the remote has no such version, ErrInUse when it is pinned locally.
func (m *Mirror) Purge(ctx context.Context, v Version) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint: purge version %d on the remote: %w", v, err)
		}
	}()
	end, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	m.mu.Lock()
	r, damaged := m.known[v], m.damaged[v]
	m.mu.Unlock()
	switch {
	case m.dir.isPinned(v):
		return ErrInUse
	case r == nil && damaged == nil:
		return ErrNotFound
	case r != nil:
		if err := m.delete(ctx, r); !errors.Is(err, ErrCorrupt) {
			return err
		}
	}
	if err := m.deleteObject(ctx, m.names.version(v)); err != nil {
		return err
	}
	m.forget(v)
	return nil
}

func (d *Dir) isPinned(v Version) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.versions[v]
	return e != nil && e.pins > 0
}

// delete deletes a version: its object first, so that no crash leaves one that is not whole (M1), then what no other
// version names. What a crash keeps from being deleted is found by Sweep.
func (m *Mirror) delete(ctx context.Context, r *replica) error {
	if err := m.readable(ctx); err != nil {
		return err
	}
	pieces, err := m.pieces(ctx, r)
	if err != nil {
		return err
	}
	if err := m.deleteObject(ctx, m.names.version(r.m.Version)); err != nil {
		return err
	}
	m.forget(r.m.Version)
	others := m.versions()
	for _, p := range pieces {
		named, err := m.named(ctx, others, p)
		if err == nil && !named {
			err = m.deleteObject(ctx, m.names.extent(p))
		}
		if err != nil {
			return err
		}
	}
	for _, l := range r.lists {
		if !slices.ContainsFunc(others, func(o *replica) bool { return slices.Contains(o.lists, l) }) {
			delete(m.lists, l.sum)
			if err := m.deleteObject(ctx, m.names.list(l.sum)); err != nil {
				return err
			}
		}
	}
	for _, f := range r.files() {
		for _, p := range f.pieces {
			if slices.ContainsFunc(others, func(o *replica) bool { return o.hasFilePiece(f.id, p) }) {
				continue
			}
			if err := m.deleteObject(ctx, m.names.imagePiece(f.id, p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// named reports whether any of the versions names a piece of log.
func (m *Mirror) named(ctx context.Context, versions []*replica, p piece) (bool, error) {
	for _, r := range versions {
		if contains(r.log, p) {
			return true, nil
		}
		for _, l := range r.lists {
			if p.start < l.start || p.end > l.end {
				continue
			}
			list, err := m.list(ctx, l)
			if err != nil || contains(list, p) {
				return true, err
			}
		}
	}
	return false, nil
}

func (m *Mirror) deleteObject(ctx context.Context, name string) error {
	delete(m.loose, name)
	return m.retry(ctx, func() error { return m.remote.Delete(ctx, name) })
}

// readable returns an error while the object of some version is damaged. It reads them again: the damage may have
// happened on the way, or have been mended.
func (m *Mirror) readable(ctx context.Context) error {
	m.mu.Lock()
	damaged := slices.Sorted(maps.Keys(m.damaged))
	m.mu.Unlock()
	for _, v := range damaged {
		if _, err := m.load(ctx, v); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("nothing is deleted: %w", err)
		}
	}
	return nil
}

// used returns the names of all objects that the known versions name.
func (m *Mirror) used(ctx context.Context) (map[string]bool, error) {
	used := make(map[string]bool)
	for _, r := range m.versions() {
		used[m.names.version(r.m.Version)] = true
		for _, l := range r.lists {
			name := m.names.list(l.sum)
			if used[name] {
				continue
			}
			used[name] = true
			list, err := m.list(ctx, l)
			if err != nil {
				return nil, err
			}
			for _, p := range list {
				used[m.names.extent(p)] = true
			}
		}
		for _, p := range r.log {
			used[m.names.extent(p)] = true
		}
		for _, f := range r.files() {
			for _, p := range f.pieces {
				used[m.names.imagePiece(f.id, p)] = true
			}
		}
	}
	return used, nil
}

// Sweep deletes the objects of the store that no version names: what interrupted uploads and deletions left. It
// returns how many. Objects of other stores, and objects that are no store's, stay. A listing that is late by more
// than the time since another process put its last version could hide that version; call Sweep when none is at work.
func (m *Mirror) Sweep(ctx context.Context) (deleted int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint: sweep the remote: %w", err)
		}
	}()
	end, err := m.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	if err := m.refresh(ctx); err != nil {
		return 0, err
	}
	if err := m.readable(ctx); err != nil {
		return 0, err
	}
	used, err := m.used(ctx)
	if err != nil {
		return 0, err
	}
	for _, prefix := range []string{m.names.extents(), m.names.images(), m.names.lists()} {
		objects, err := m.listObjects(ctx, prefix)
		if err != nil {
			return deleted, err
		}
		for _, o := range objects {
			if used[o.Name] {
				continue
			}
			if err := m.deleteObject(ctx, o.Name); err != nil {
				return deleted, err
			}
			deleted++
		}
	}
	return deleted, nil
}

func (m *Mirror) listObjects(ctx context.Context, prefix string) (objects []Object, err error) {
	err = m.retry(ctx, func() error {
		objects, err = m.remote.List(ctx, prefix)
		return err
	})
	return objects, err
}

// Destroy deletes everything that the store has on the remote, and nothing else. The versions go first, so that what an
// interruption leaves is no version; call it again to finish. The remote can then be claimed by another store. A Mirror
// of the store must not be used any more.
func Destroy(ctx context.Context, id Identity, remote Remote) error {
	opts, err := MirrorOptions{}.withDefaults()
	if err != nil {
		return err
	}
	m := &Mirror{remote: remote, opts: opts, names: namesOf(id)}
	if err := m.destroy(ctx, id); err != nil {
		return fmt.Errorf("checkpoint: destroy store %x on the remote: %w", id.StoreID, err)
	}
	return nil
}

func (m *Mirror) destroy(ctx context.Context, id Identity) error {
	there, err := RemoteIdentity(ctx, m.remote)
	if err == nil && there.StoreID != id.StoreID {
		return ErrStoreMismatch
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCorrupt) {
		return err
	}
	for _, prefix := range []string{m.names.versions(), m.names.prefix} {
		objects, err := m.listObjects(ctx, prefix)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if !strings.HasPrefix(o.Name, prefix) {
				continue
			}
			if err := m.deleteObject(ctx, o.Name); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return nil // STORE is not there, or not known to be ours
	}
	return m.deleteObject(ctx, storeName)
}
