package checkpoint

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Versions returns the versions that can be restored, oldest first. The manifest of one that is damaged is not among
// them; see Damaged.
func (d *Dir) Versions() []Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	exclusive := exclusiveBytes(d.retained())
	current := d.currentID()
	var infos []Info
	for _, v := range d.ids() {
		info := d.versions[v].m.Info()
		info.ExclusiveBytes, info.Current, info.Place = exclusive[v], v == current, Here
		infos = append(infos, info)
	}
	return infos
}

// OldBytes returns the bytes of log, image, runs and shares that only versions other than the current one use: what purging
// all of them would free.
func (d *Dir) OldBytes() (n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	current := d.currentID()
	var old, now ExtentSet
	files := map[uint64]int64{}
	var kept []uint64
	for v, e := range d.versions {
		switch {
		case e.m == nil:
		case v == current:
			now, kept = Log(e.m.Extents), e.m.Index.IDs()
		default:
			old.AddSet(Log(e.m.Extents))
			for _, f := range e.m.Index.files() {
				files[f.id] = f.bytes
			}
		}
	}
	old.SubtractSet(now)
	for _, id := range kept {
		delete(files, id)
	}
	for _, bytes := range files {
		n += bytes
	}
	return n + old.Bytes()
}

// Info returns what m says of its version: all but what depends on the directory.
func (m *Manifest) Info() Info {
	info := Info{
		Version: m.Version, Parent: m.Parent, Created: m.Created, Cookie: m.Cookie, DeltaBytes: m.DeltaBytes, LogBytes: m.LogBytes(),
	}
	for _, f := range m.Index.files() {
		info.ImageBytes += f.bytes
	}
	return info
}

// Info returns what Versions says about v. ErrNotFound when there is no such version, a *CorruptionError when its
// manifest is damaged.
//
// For the version that was committed last it takes a time that does not follow the number of versions.
func (d *Dir) Info(v Version) (Info, error) {
	if info, ok := d.newestInfo(v); ok {
		return info, nil
	}
	for _, info := range d.Versions() {
		if info.Version == v {
			return info, nil
		}
	}
	_, err := d.Manifest(v) // why not
	return Info{}, err
}

// newestInfo returns what Versions says about v if that is the version that was committed last, and the one before it on its
// branch is there. Nobody else has what it has added to that one: its log begins above all that there was.
func (d *Dir) newestInfo(v Version) (info Info, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.versions[v]
	if !e.readable() || !e.committed || v != d.maxID || v != d.currentID() {
		return Info{}, false
	}
	parent := d.versions[e.m.Parent]
	if parent == nil || parent.m == nil {
		return Info{}, false
	}
	info = e.m.Info()
	info.Current, info.Place = true, Here
	for _, x := range e.m.Extents {
		info.ExclusiveBytes += int64(x.End - min(max(x.Start, e.m.DeltaStart), x.End))
	}
	inherited := parent.m.Index.IDs()
	for _, f := range e.m.Index.files() {
		if !slices.Contains(inherited, f.id) {
			info.ExclusiveBytes += f.bytes
		}
	}
	return info, true
}

// ids returns the readable versions in ascending order. The caller holds mu.
func (d *Dir) ids() []Version {
	var all []Version
	for v, e := range d.versions {
		if e.readable() {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return all
}

// retained returns every manifest whose file may exist and which may therefore come back, the doomed ones included.
// The caller holds mu.
func (d *Dir) retained() []*Manifest {
	var all []*Manifest
	for _, v := range slices.Sorted(maps.Keys(d.versions)) {
		if m := d.versions[v].m; m != nil {
			all = append(all, m)
		}
	}
	return all
}

// Pin returns a version and keeps it from being purged until Unpin was called as often: for views, restores and
// uploads. What the manifest that it returns refers to stays until then, even if Amend replaces that manifest (V8):
// whoever opens files by a manifest has got it from here.
func (d *Dir) Pin(v Version) (*Manifest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pin(v)
}

// PinCurrent is Pin for the current version; ErrNotFound when there is none.
func (d *Dir) PinCurrent() (*Manifest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pin(d.currentID())
}

// pin is Pin. The caller holds mu.
func (d *Dir) pin(v Version) (*Manifest, error) {
	e, err := d.lookup(v)
	if err != nil {
		return nil, err
	}
	e.pins++
	return e.m, nil
}

// Unpin undoes one Pin.
func (d *Dir) Unpin(v Version) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.versions[v]; e != nil && e.pins > 0 {
		if e.pins--; e.pins == 0 {
			e.read = nil
		}
	}
}

// Retain returns the versions to purge so that keep of them, and at least one, stay: those with the lowest ids, on
// whatever branch, but never the current version nor a pinned one. It purges nothing itself.
func (d *Dir) Retain(keep int) []Version {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.versions) <= keep {
		return []Version{}
	}
	ids := d.ids()
	current := d.currentID()
	return slices.DeleteFunc(ids[:max(0, len(ids)-max(keep, 1))], func(v Version) bool {
		return v == current || d.versions[v].pins > 0
	})
}

// Garbage is what nothing refers to any more after a purge.
type Garbage struct {
	Log    ExtentSet
	Images []uint64
}

// Purge removes a version, durably, and returns what it alone referred to (nothing while a manifest is damaged).
// The files stay: Orphans tells which can go. ErrNotFound; ErrInUse when the version is current or pinned. A damaged
// version that is not current can be purged too. After an error the version is still there, or it is gone and the
// next call that changes the directory finishes the work.
func (d *Dir) Purge(v Version) (Garbage, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	e, err := d.purge(v)
	if err != nil {
		return Garbage{}, err
	}
	return d.garbage(e.m), nil
}

// Drop is Purge for somebody who does not ask what is garbage now, which takes a look at all versions.
func (d *Dir) Drop(v Version) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	_, err := d.purge(v)
	return err
}

// purge removes a version and returns its entry. The caller holds writing.
func (d *Dir) purge(v Version) (*entry, error) {
	if err := d.settle(); err != nil {
		return nil, fmt.Errorf("checkpoint: purge version %d: %w", v, err)
	}
	e, err := d.doom(v)
	if err != nil {
		return nil, err
	}
	if err = d.removeManifest(v); err != nil && d.stillThere(v) {
		d.mu.Lock()
		e.become(e.there())
		d.doomed--
		d.mu.Unlock()
	} else {
		err = d.settle()
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: purge version %d: %w", v, err)
	}
	return e, nil
}

// removeManifest removes the file of a doomed version. The caller holds writing.
func (d *Dir) removeManifest(v Version) error {
	if err := d.keepEnd(); err != nil {
		return err
	}
	return d.fs.Remove(d.ManifestPath(v))
}

// stillThere reports whether the file of a version certainly exists. An error of Remove does not tell.
func (d *Dir) stillThere(v Version) bool {
	f, err := d.fs.Open(d.ManifestPath(v), fsx.Read)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// doom takes a version off the list, if it may be purged.
func (d *Dir) doom(v Version) (*entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.versions[v]
	switch {
	case e == nil || e.phase == doomed:
		return nil, fmt.Errorf("%w: %d", ErrNotFound, v)
	case v == d.currentID():
		return nil, fmt.Errorf("%w: %d is the current version", ErrInUse, v)
	case e.pins > 0:
		return nil, fmt.Errorf("%w: %d is pinned", ErrInUse, v)
	}
	e.become(doomed)
	d.doomed++
	return e, nil
}

// keepEnd writes the highest log end to HEAD when no version that stays shows it (V5). The highest id needs no such
// care: a version that is not current is never the highest above the floor. The caller holds writing.
func (d *Dir) keepEnd() error {
	d.mu.Lock()
	h, end := d.head, d.head.maxEnd
	if e := d.current(); e.readable() && e.m.Cut == d.maxEnd {
		d.mu.Unlock()
		return nil // it shows it, and stays
	}
	for _, e := range d.versions {
		if e.readable() {
			end = max(end, e.m.Cut)
		}
	}
	h.maxEnd = d.maxEnd
	d.mu.Unlock()
	if end == h.maxEnd {
		return nil
	}
	return d.writeHead(h)
}

// garbage returns what only m, which is purged, referred to.
func (d *Dir) garbage(m *Manifest) (g Garbage) {
	log, images, err := d.References()
	if err != nil || m == nil {
		return g // cannot tell, so nothing is
	}
	g.Log = Log(m.Extents)
	g.Log.SubtractSet(log)
	for _, id := range m.IDs() {
		if !slices.Contains(images, id) {
			g.Images = append(g.Images, id)
		}
	}
	return g
}

// exclusiveBytes returns for each version the bytes of log, images and runs that no other of them refers to.
func exclusiveBytes(manifests []*Manifest) map[Version]int64 {
	type edge struct {
		at    uint64
		step  int // +1 where an extent begins, -1 where it ends
		owner int // index of its manifest
	}
	var edges []edge
	type users struct {
		count int
		last  Version
		bytes int64
	}
	images := make(map[uint64]*users)
	for i, m := range manifests {
		for _, e := range m.Extents {
			edges = append(edges, edge{e.Start, +1, i}, edge{e.End, -1, i})
		}
		for _, f := range m.Index.files() {
			if images[f.id] == nil {
				images[f.id] = new(users)
			}
			u := images[f.id]
			u.count, u.last, u.bytes = u.count+1, m.Version, f.bytes
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })

	exclusive := make(map[Version]int64)
	// open is how many extents hold the stretch before the edge, owners the sum of their owners' indices: with one
	// open extent, its owner.
	var last uint64
	open, owners := 0, 0
	for _, e := range edges {
		if open == 1 {
			exclusive[manifests[owners].Version] += int64(e.at - last)
		}
		last, open, owners = e.at, open+e.step, owners+e.step*e.owner
	}
	for _, u := range images {
		if u.count == 1 {
			exclusive[u.last] += u.bytes
		}
	}
	return exclusive
}

// NextImageID returns an id for a new image or run, made of the store as of log address at. It is above that of every image
// that a version here refers to (the current version need not have the newest), and it is not below at: addresses are
// never used twice, so that an image that only a remote still has keeps its id for itself.
func (d *Dir) NextImageID(at uint64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := at
	for _, e := range d.versions {
		for _, taken := range e.images() {
			id = max(id, taken+1)
		}
	}
	for d.strays[d.ImagePath(id)] {
		id++
	}
	return id
}

// ImageIDs returns the ids of the images and runs whose files are there, whether a version refers to them or not.
func (d *Dir) ImageIDs() ([]uint64, error) {
	return d.numbers(d.ImagesPath(), imageSuffix, imageDigits)
}
