package checkpoint

import (
	"errors"
	"fmt"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Amend gives the current version v an image that was finished only after it was committed, and reports whether it
// did: it does not when v is no longer current or has children, which know its manifest by checksum. The manifest is
// replaced as a whole; before and after, it describes the same state. The image must be durable already (V1).
func (d *Dir) Amend(v Version, image ImageRef) (amended bool, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.settle(); err != nil {
		return false, fmt.Errorf("checkpoint: amend version %d: %w", v, err)
	}
	m := d.amendable(v)
	if m == nil {
		return false, nil
	}
	m.Image = &image
	data, err := EncodeManifest(m)
	if err != nil {
		return false, err
	}
	if err := fsx.WriteFileAtomic(d.fs, d.ManifestPath(v), data); err != nil {
		// Which of the two stands there is what the next child has to refer to.
		stands, readErr := d.readManifest(v)
		if readErr == nil {
			d.replace(v, stands)
		}
		return false, fmt.Errorf("checkpoint: amend version %d: %w", v, errors.Join(err, readErr))
	}
	d.replace(v, &entry{m: m, sum: sealSum(data)})
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
	for _, other := range d.versions {
		if other.m != nil && other.m.Parent == v {
			return nil
		}
	}
	return e.m.Clone()
}

// replace puts another reading of version v's manifest in the place of the one that is known. Whoever has pinned the
// version goes by that one's image, which stays as long as they do (V8).
func (d *Dir) replace(v Version, e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.versions[v]
	if e.pins = old.pins; e.pins > 0 {
		e.images = old.images
		if old.m != nil && old.m.Image != nil {
			e.images = append(e.images, old.m.Image.ID)
		}
	}
	d.versions[v] = e
}
