package checkpoint

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

const (
	markName  = "REMOTE"
	magicMark = "HLMARK\n\n"
	markBytes = 24
)

// mark is what a directory knows of the head of its remote: REMOTE holds it.
type mark struct {
	root   uint64 // nonce of the remote's sequence
	synced uint64 // nonce of the entry that had moved the head to a version of this directory
	next   uint64 // nonce of the entry with which this directory was about to move it
}

func (d *Dir) markPath() string { return filepath.Join(d.path, markName) }

// readMark returns the mark; a zero one when there is none, or a damaged one: then manifests have to tell.
func (d *Dir) readMark() (k mark, err error) {
	d.writing.Lock()
	aside := d.aside
	if aside != nil {
		k = *aside
	}
	d.writing.Unlock()
	if aside != nil {
		return k, nil
	}
	b, err := fsx.ReadFile(d.fs, d.markPath(), markBytes+envelopeBytes)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fsx.ErrTooLong) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, err
	}
	payload, _, err := unwrap(d.markPath(), magicMark, 1, b)
	if errors.Is(err, ErrCorrupt) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, err
	}
	r := newReader(d.markPath(), payload)
	k = mark{r.uint64(), r.uint64(), r.uint64()}
	if r.done() != nil {
		return mark{}, nil
	}
	return k, nil
}

// writeMark makes k the mark, durably.
func (d *Dir) writeMark(k mark) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.aside != nil {
		*d.aside = k
		return nil
	}
	if err := d.settle(); err != nil {
		return err
	}
	return fsx.WriteFileAtomic(d.fs, d.markPath(), wrap(magicMark, 1, appendUint64s(nil, k.root, k.synced, k.next)))
}
