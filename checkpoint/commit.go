package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
)

// Commit makes m a version and the current one. Everything that m refers to must be durable already (V1). Its parent
// must be the current version and its id above MaxID, else ErrOrder; its delta starts at MaxEnd or above. StoreID,
// ParentSum, Nonce, HashSeed and SegmentBytes are filled in; m itself is not kept and not changed.
//
// When Commit returns nil the version is durable. After an error it does not exist, and a failure to remove what is
// left of it makes later calls that change the directory fail until that succeeds.
func (d *Dir) Commit(m *Manifest) error { return d.CommitBeside(m, nil) }

// CommitBeside is Commit of a version of which not everything is durable yet: durable makes it so, and returns nil when it
// is. It is called once at the most, while the bytes of the manifest become durable; m gets its name afterwards (V14). The
// error may be that of durable, or ErrReplaced if the directory has become another's meanwhile (V11).
func (d *Dir) CommitBeside(m *Manifest, durable func() error) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.settle(); err != nil {
		return fmt.Errorf("checkpoint: commit version %d: %w", m.Version, err)
	}
	m, err := d.childOfCurrent(m)
	if err != nil {
		return err
	}
	data, err := EncodeManifest(m)
	if err != nil {
		return err
	}
	if err := d.install(data, durable); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.versions[m.Version].committed = true
	d.strays = nil // V12
	return nil
}

// childOfCurrent returns m with what Commit fills in, or why it cannot be the next version.
func (d *Dir) childOfCurrent(m *Manifest) (*Manifest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	parent := d.currentID()
	switch {
	case m.Version <= d.maxID:
		return nil, fmt.Errorf("%w: version %d, the newest so far is %d", ErrOrder, m.Version, d.maxID)
	case m.Parent != parent:
		return nil, fmt.Errorf("%w: version %d is a child of %d, the current version is %d", ErrOrder, m.Version, m.Parent, parent)
	case m.DeltaStart < d.maxEnd:
		return nil, fmt.Errorf("checkpoint: version %d: delta from %d on overwrites committed log, which ends at %d",
			m.Version, m.DeltaStart, d.maxEnd)
	}
	child := *m
	child.StoreID, child.ParentSum, child.Nonce = d.id.StoreID, 0, rand.Uint64()
	child.HashSeed, child.SegmentBytes = d.id.HashSeed, d.id.SegmentBytes
	if e := d.versions[parent]; e != nil {
		child.ParentSum = e.sum
	}
	return &child, nil
}

// install writes a manifest file and lists its version. durable makes durable what it refers to, nil if all of that is. The
// caller holds writing and has settled.
func (d *Dir) install(data []byte, durable func() error) error {
	// What is kept is what was written, read back: nobody else holds it, and it is known to decode.
	m, err := DecodeManifest("manifest to be written", data)
	if err != nil {
		return err
	}
	e := newEntry(m, envelopeSum(data), nil)
	staged, err := fsx.Stage(d.fs, d.ManifestPath(m.Version), data)
	if err == nil && durable != nil {
		staged.BeginSync()
		if err = d.becomeDurable(durable); err != nil {
			dropped := staged.Drop()
			if dropped == nil {
				return err // the version never had a name
			}
			err, staged = errors.Join(err, dropped), nil
		}
	}
	if err == nil {
		err = staged.Publish()
	}
	if err != nil {
		d.mu.Lock()
		e.become(doomed)
		d.versions[m.Version] = e
		d.doomed++
		d.mu.Unlock()
		return fmt.Errorf("checkpoint: commit version %d: %w", m.Version, errors.Join(err, d.settle()))
	}
	_ = d.removeNone() // settle tries again
	d.mu.Lock()
	defer d.mu.Unlock()
	d.versions[m.Version] = e
	d.maxID, d.maxEnd = max(d.maxID, m.Version), max(d.maxEnd, m.Cut)
	return nil
}

// becomeDurable calls durable, and makes sure afterwards that the directory is still this Dir's (V11): what is waited for may
// take long. The caller holds writing.
func (d *Dir) becomeDurable(durable func() error) error {
	if err := durable(); err != nil {
		return err
	}
	return d.checkOurs()
}

// SetHead makes target the current version: a rollback, durable when it returns nil. No version is lost by it.
// ErrNotFound when there is no such version. After an error the current version is the same as before.
func (d *Dir) SetHead(target Version) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	_, err := d.lookup(target)
	h := head{target: target, floor: d.maxID, maxEnd: d.maxEnd}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := d.settle(); err != nil {
		return fmt.Errorf("checkpoint: set head to version %d: %w", target, err)
	}
	if err := d.writeHead(h); err != nil {
		return fmt.Errorf("checkpoint: set head to version %d: %w", target, err)
	}
	return nil
}

// writeHead makes h the content of HEAD. After an error the old content counts, and is put back before anything else
// is changed. The caller holds writing.
func (d *Dir) writeHead(h head) error {
	if err := fsx.WriteFileAtomic(d.fs, d.headPath(), encodeHead(h)); err != nil {
		d.headInDoubt = true
		return err
	}
	d.headInDoubt = false
	d.mu.Lock()
	defer d.mu.Unlock()
	d.head = h
	return nil
}

// settle makes sure that the directory is still this Dir's (V11) and finishes what a failed call left in doubt (V7): it
// writes HEAD again and removes doomed manifests, durably. Every call that changes the directory begins with it, and
// fails with it. The caller holds writing.
func (d *Dir) settle() error {
	if err := d.takeOver(); err != nil {
		return err
	}
	if err := d.checkOurs(); err != nil {
		return err
	}
	if d.Current() != nil {
		if err := d.removeNone(); err != nil {
			return err
		}
	}
	if d.headInDoubt {
		if err := d.writeHead(d.head); err != nil { // nobody else writes head while we hold writing
			return err
		}
	}
	leaving := d.leaving()
	if len(leaving) == 0 {
		return nil
	}
	for _, v := range leaving {
		for _, name := range []string{d.ManifestPath(v), d.ManifestPath(v) + fsx.TempSuffix} {
			if err := d.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if err := d.fs.SyncDir(d.versionsPath()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range leaving {
		delete(d.versions, v)
	}
	d.doomed -= len(leaving)
	return nil
}

// leaving returns the versions that are doomed, in ascending order.
func (d *Dir) leaving() (all []Version) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.doomed == 0 && !invariant.Enabled {
		return nil
	}
	for v, e := range d.versions {
		if e.phase == doomed {
			all = append(all, v)
		}
	}
	if invariant.Enabled {
		invariant.Check(len(all) == d.doomed, "%d versions are doomed, not %d", len(all), d.doomed)
	}
	slices.Sort(all) // so that a run replays
	return all
}

// sum returns the checksum that ends the manifest file of a version, 0 when there is no such version.
func (d *Dir) sum(v Version) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.versions[v]; e.readable() {
		return e.sum
	}
	return 0
}

// adopt makes a version of this store that was committed elsewhere a version here, and pins it if pin is set. It
// becomes current if its id is the newest, unless aside is set and there is a current one. Everything it refers to must be
// durable already (V1).
func (d *Dir) adopt(data []byte, pin, aside bool) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.settle(); err != nil {
		return err
	}
	m, err := DecodeManifest("manifest to be adopted", data)
	if err != nil {
		return err
	}
	if m.StoreID != d.id.StoreID {
		return ErrStoreMismatch
	}
	d.mu.Lock()
	e := d.versions[m.Version]
	d.mu.Unlock()
	switch {
	case !e.readable():
		if aside {
			err = d.keepCurrent(m)
		}
		if err == nil {
			err = d.install(data, nil)
		}
	case e.sum != envelopeSum(data):
		err = fmt.Errorf("%w: version %d is another one here", ErrDiverged, m.Version)
	}
	if err == nil && pin {
		_, err = d.Pin(m.Version) // nobody purges it: that takes writing
	}
	return err
}

// keepCurrent makes sure that the current version, if there is one, stays that when m is installed, whose id may be above
// all others. The caller holds writing and has settled.
func (d *Dir) keepCurrent(m *Manifest) error {
	d.mu.Lock()
	h := head{target: d.currentID(), floor: max(d.maxID, m.Version), maxEnd: max(d.maxEnd, m.Cut)}
	above := m.Version > d.maxID
	d.mu.Unlock()
	if h.target == 0 || !above {
		return nil
	}
	if err := d.writeHead(h); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.maxID, d.maxEnd = h.floor, h.maxEnd // V5
	return nil
}
