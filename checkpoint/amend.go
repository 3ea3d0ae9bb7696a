package checkpoint

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Amend gives the current version v an index that was finished only after it was committed, and reports whether it did:
// it does not when v is no longer current or has children, which know its manifest by checksum. The manifest is replaced
// as a whole; before and after, it describes the same state. The files must be durable already (V1).
func (d *Dir) Amend(v Version, x Index) (amended bool, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.settle(); err != nil {
		return false, fmt.Errorf("checkpoint: amend version %d: %w", v, err)
	}
	m := d.amendable(v)
	if m == nil {
		return false, nil
	}
	m.Index = x
	data, err := EncodeManifest(m)
	if err != nil {
		return false, err
	}
	if err := fsx.WriteFileAtomic(d.fs, d.ManifestPath(v), data); err != nil {
		// Which of the two stands there is what the next child has to refer to.
		stands, readErr := d.readManifest(v)
		d.replace(v, stands, m.IDs()...)
		return false, fmt.Errorf("checkpoint: amend version %d: %w", v, errors.Join(err, readErr))
	}
	d.replace(v, newEntry(m, envelopeSum(data), nil))
	return true, nil
}

// amendable returns a copy of version v's manifest if it may be replaced.
func (d *Dir) amendable(v Version) *Manifest {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.current()
	if v != d.currentID() || !e.readable() {
		return nil
	}
	if v == d.maxID { // children have higher ids
		return e.m.Clone()
	}
	for _, other := range d.versions {
		if other.m != nil && other.m.Parent == v {
			return nil
		}
	}
	return e.m.Clone()
}

// replace puts another reading of version v's manifest, nil if there is none, in the place of the one that is known.
// doubtful are images and runs that the manifest may turn out to refer to after a crash, or else to those that it has had.
func (d *Dir) replace(v Version, e *entry, doubtful ...uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.versions[v]
	if e == nil {
		e = newEntry(old.m, old.sum, nil)
		e.unread = true
	}
	if e.pins = old.pins; e.pins > 0 {
		e.read = old.images()
	}
	e.amended = old.amended
	if e.m != nil && old.m != nil {
		names := old.m.Index.files()
		for _, f := range e.m.Index.files() {
			if !slices.Contains(names, f) {
				e.amended = append(e.amended, f.id)
			}
		}
	}
	if len(doubtful) > 0 {
		e.doubt = append(old.images(), doubtful...)
	}
	d.versions[v] = e
}
