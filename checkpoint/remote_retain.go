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
// those that are gone. The head stays always, and so does the local current version and any that is pinned locally. The
// rule is that of Dir.Retain and of Dir.Purge: while the object of any version is damaged, nothing is deleted (M5).
// Versions that others have put are deleted only by a mirror that has gone on from them (J4).
func (m *Mirror) Retain(ctx context.Context, keep int) (gone []Version, err error) {
	end, err := m.begin(ctx)
	if err == nil {
		defer end()
		err = again(ctx, func() error {
			gone, err = m.retain(ctx, keep)
			return err
		})
	}
	if err != nil {
		err = fmt.Errorf("checkpoint: retain %d versions on the remote: %w", keep, err)
	}
	return gone, err
}

func (m *Mirror) retain(ctx context.Context, keep int) (gone []Version, err error) {
	if err := m.Stopped(); err != nil {
		return nil, err
	}
	ids := slices.Sorted(maps.Keys(m.state.versions))
	leaving := slices.DeleteFunc(ids[:max(0, len(ids)-max(keep, 1))], func(v Version) bool {
		return m.dir.isPinned(v) || m.dir.isCurrent(v) || v == m.state.head
	})
	if len(leaving) == 0 {
		return nil, nil
	}
	return leaving, m.delete(ctx, leaving)
}

// Purge deletes one version of the remote and what only it needed, like Retain. A version whose object is damaged can
// be purged, and must be before anything else is deleted, unless an Upload of it mends it; Sweep finds what it leaves.
// ErrNotFound when the remote has no such version, ErrInUse when it is the remote's head or is pinned locally.
func (m *Mirror) Purge(ctx context.Context, v Version) (err error) {
	end, err := m.begin(ctx)
	if err == nil {
		defer end()
		err = again(ctx, func() error { return m.purgeOne(ctx, v) })
	}
	if err != nil {
		return fmt.Errorf("checkpoint: purge version %d on the remote: %w", v, err)
	}
	return nil
}

func (m *Mirror) purgeOne(ctx context.Context, v Version) error {
	st, ok := m.state.versions[v]
	switch {
	case m.dir.isPinned(v):
		return ErrInUse
	case !ok:
		return ErrNotFound
	case v == m.state.head:
		return fmt.Errorf("%w: it is the remote's head", ErrInUse)
	}
	if _, err := m.load(ctx, v); !errors.Is(err, ErrCorrupt) {
		if err != nil {
			return err
		}
		return m.delete(ctx, []Version{v})
	}
	if err := m.mayWrite(ctx); err != nil {
		return err
	}
	if err := m.purge(ctx, []Version{v}); err != nil {
		return err
	}
	return m.deleteObject(ctx, m.names.version(v, st.generation))
}

func (d *Dir) isPinned(v Version) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.versions[v]
	return e != nil && e.pins > 0
}

// isCurrent reports whether v is the local current version.
func (d *Dir) isCurrent(v Version) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return v == d.currentID()
}

// delete deletes versions: their purge entry first, so that no crash leaves one that is not whole (M1, J6), then what no
// other version names. What a crash keeps from being deleted is found by Sweep.
func (m *Mirror) delete(ctx context.Context, leaving []Version) error {
	all, err := m.versions(ctx)
	if err == nil {
		err = m.readable()
	}
	if err == nil {
		err = m.mayWrite(ctx)
	}
	if err != nil {
		return err
	}
	var others, gone []*replica
	for _, r := range all {
		if slices.Contains(leaving, r.m.Version) {
			gone = append(gone, r)
		} else {
			others = append(others, r)
		}
	}
	var names []string
	for _, r := range gone {
		more, err := m.aloneIn(ctx, r, others)
		if err != nil {
			return err
		}
		names = append(names, more...)
	}
	if err := m.purge(ctx, leaving); err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := m.deleteObject(ctx, name); err != nil {
			return err
		}
	}
	_ = m.tidySequence(ctx)
	return nil
}

// aloneIn returns the names of the objects of a version that no other one names.
func (m *Mirror) aloneIn(ctx context.Context, r *replica, others []*replica) (names []string, err error) {
	names = []string{m.names.version(r.m.Version, m.state.versions[r.m.Version].generation)}
	pieces, err := m.pieces(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		named, err := m.named(ctx, others, p)
		if err != nil {
			return nil, err
		}
		if !named {
			names = append(names, m.names.extent(p))
		}
	}
	for _, l := range r.lists {
		if !slices.ContainsFunc(others, func(o *replica) bool { return slices.Contains(o.lists, l) }) {
			names = append(names, m.names.list(l))
		}
	}
	for _, f := range r.files() {
		for _, p := range f.pieces {
			if !slices.ContainsFunc(others, func(o *replica) bool { return o.hasFilePiece(f.id, p) }) {
				names = append(names, m.names.imagePiece(f.id, p))
			}
		}
	}
	return names, nil
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

// readable returns an error while the object of some version is damaged. Those were read just now.
func (m *Mirror) readable() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range slices.Sorted(maps.Keys(m.damaged)) {
		return fmt.Errorf("nothing is deleted: %w", m.damaged[v])
	}
	return nil
}

// used returns the names of all objects that the versions name.
func (m *Mirror) used(ctx context.Context) (map[string]bool, error) {
	used := make(map[string]bool)
	all, err := m.versions(ctx)
	if err == nil {
		err = m.readable()
	}
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		used[m.names.version(r.m.Version, m.state.versions[r.m.Version].generation)] = true
		for _, l := range r.lists {
			name := m.names.list(l)
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
// returns how many. Objects of other stores, and objects that are no store's, stay. It may run beside other mirrors: what
// they have put since the purge entry that it begins with stays, and what they had put before, without an entry, they put
// again (J6).
func (m *Mirror) Sweep(ctx context.Context) (deleted int, err error) {
	end, err := m.begin(ctx)
	if err == nil {
		defer end()
		err = again(ctx, func() error {
			deleted, err = m.sweep(ctx)
			return err
		})
	}
	if err != nil {
		err = fmt.Errorf("checkpoint: sweep the remote: %w", err)
	}
	return deleted, err
}

func (m *Mirror) sweep(ctx context.Context) (deleted int, err error) {
	used, err := m.used(ctx)
	if err == nil {
		err = m.mayWrite(ctx)
	}
	if err != nil {
		return 0, err
	}
	if err := m.purge(ctx, nil); err != nil {
		return 0, err
	}
	clear(m.loose)
	for _, prefix := range []string{m.names.versions(), m.names.extents(), m.names.images(), m.names.lists()} {
		objects, err := m.listObjects(ctx, prefix)
		if err != nil {
			return deleted, err
		}
		for _, o := range objects {
			if used[o.Name] || generationOf(o.Name) >= m.generation {
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

// generationOf returns the generation in the name of an object, 0 when there is none.
func generationOf(name string) uint64 {
	elements := strings.Split(name, "/")
	if len(elements) < 4 {
		return 0 // <id>/extents/<piece>
	}
	g, _ := parseName(elements[len(elements)-2], "", versionDigits)
	if len(elements) == 4 && elements[1] == imagesDir {
		return 0 // <id>/images/<image>/<piece>
	}
	return g
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
	for _, prefix := range []string{m.names.root(), m.names.versions(), m.names.prefix} {
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
	if err := m.deleteObject(ctx, hintName); err != nil {
		return err
	}
	return m.deleteObject(ctx, storeName)
}
