package checkpoint

import (
	"slices"

	"github.com/hybridlog/hybridlog/internal/invariant"
)

// phase is how far a manifest file is on its way from being read or written to being gone.
//
//	written, read whole ----> listed  <---+
//	                                      +----> doomed ----> gone: there is no entry
//	read, not whole --------> damaged <---+        ^
//	written with an error -------------------------+
//
// The way back from doomed is for a purge whose removal has failed when the file is certainly still there.
type phase uint8

const (
	listed  phase = iota // a version: it may be pinned and restored
	damaged              // cannot be read: what it refers to is not known, so nothing is collected; it may be purged
	doomed               // is being removed, or was never properly there: not listed, but its file may exist (V7)
)

func (p phase) String() string { return [...]string{"listed", "damaged", "doomed"}[p] }

// entry is what is known of one manifest file.
type entry struct {
	m     *Manifest // nil when it could not be read
	sum   uint64    // checksum that ends the file
	err   error     // why it could not be read
	phase phase     // become moves it
	pins  int
	read  []uint64 // images of earlier manifests of this version, which somebody may have pinned it for
	doubt []uint64 // images of manifests that a crash may bring back in the place of this one
	// amended is the images that not all manifests name which this version has had since the directory was opened: a copy of
	// it that was made in between need not have them.
	amended []uint64
	// unread tells that the file was written again and neither that nor reading it back has succeeded, so that m may not
	// be what it holds.
	unread bool
	// committed tells that the version was made here, by Commit: when that was its log began above all others'.
	committed bool
}

// newEntry returns the entry of a file that holds m; or, if m is nil, of one that cannot be read for the reason err.
func newEntry(m *Manifest, sum uint64, err error) *entry {
	e := &entry{m: m, sum: sum, err: err}
	e.phase = e.there()
	return e
}

// there is the phase of e when its file is where it belongs.
func (e *entry) there() phase {
	if e.m == nil {
		return damaged
	}
	return listed
}

// become moves e to another phase. The caller holds Dir.mu, unless nobody else has e yet.
func (e *entry) become(p phase) {
	if invariant.Enabled {
		invariant.Check(p == doomed && e.phase != doomed && e.pins == 0 || e.phase == doomed && p == e.there(),
			"a manifest file with %d pins goes from %v to %v", e.pins, e.phase, p)
	}
	e.phase = p
}

// readable reports whether e is a version that may be listed, pinned and restored.
func (e *entry) readable() bool { return e != nil && e.phase == listed }

// images returns the images and runs that must stay as long as e is what it is.
func (e *entry) images() []uint64 {
	all := slices.Concat(e.read, e.doubt)
	if e.m != nil {
		all = append(all, e.m.Index.IDs()...)
	}
	return all
}

// sameFiles reports whether a and b name the same files.
func sameFiles(a, b Index) bool {
	if (a.Image == nil) != (b.Image == nil) || a.Image != nil && a.Image.ID != b.Image.ID {
		return false
	}
	same := func(x, y ShareRef) bool { return x.ID == y.ID }
	return slices.EqualFunc(a.Runs, b.Runs, func(x, y RunRef) bool { return x.ID == y.ID }) &&
		slices.EqualFunc(a.Shares, b.Shares, same) && slices.EqualFunc(a.Cold, b.Cold, same)
}
