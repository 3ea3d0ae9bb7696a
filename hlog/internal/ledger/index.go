package ledger

import (
	"slices"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Index is the index files that a version names: an image, and the runs behind it as V10 has them. It is a value:
// nobody changes Runs.
type Index struct {
	Image *checkpoint.ImageRef // nil: there are no runs either
	Runs  []checkpoint.RunRef
}

// IndexOf returns the index files of version m, which may be nil.
func IndexOf(m *checkpoint.Manifest) Index {
	if m == nil || m.Image == nil {
		return Index{}
	}
	return Index{m.Image, m.Runs}
}

// IDs returns the ids of all files.
func (x Index) IDs() (ids []uint64) {
	if x.Image != nil {
		ids = append(ids, x.Image.ID)
	}
	for _, r := range x.Runs {
		ids = append(ids, r.ID)
	}
	return ids
}

// ReplayFrom returns where the log begins that the files do not hold; there is an image.
func (x Index) ReplayFrom() uint64 {
	if n := len(x.Runs); n > 0 {
		return x.Runs[n-1].To
	}
	return x.Image.ReplayFrom
}

// UpTo returns the files that a version may name whose log from address end on is not its own alone (R4).
func (x Index) UpTo(end uint64) Index {
	n := len(x.Runs)
	for n > 0 && x.Runs[n-1].To > end {
		n--
	}
	return Index{x.Image, x.Runs[:n]}
}

// same reports whether x and y name the same files.
func (x Index) same(y Index) bool {
	if x.Image == nil || y.Image == nil {
		return x.Image == y.Image
	}
	return *x.Image == *y.Image && slices.Equal(x.Runs, y.Runs)
}

// Index returns the standing index.
func (l *Ledger) Index() Index {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index
}

// Amend has the manifest of the current version name the standing index files, if it names others: files that were begun
// for one version, and finished when the store was at a later one, are of use to that as well (R2, R3).
func (l *Ledger) Amend() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	v, x, due := l.toAmend()
	if !due {
		return nil
	}
	_, err := l.dir.Amend(v, checkpoint.Index{Image: x.Image, Runs: x.Runs})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.naming = nil
	return err
}

// toAmend returns the version whose manifest is to be amended, and what it has to name. Nothing of that is garbage until
// naming is cleared. The caller holds writing.
func (l *Ledger) toAmend() (v checkpoint.Version, x Index, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.lineage
	if c.Parent == nil || l.index.Image == nil || !l.amends() {
		return 0, x, false
	}
	m, err := l.dir.Manifest(c.Parent.Version) // c.Parent is what it was when it was committed
	if err != nil {
		return 0, x, false // it is current and whole: only a failed amendment leaves it unreadable
	}
	named := IndexOf(m)
	x = l.index.UpTo(c.Parent.LiveFuzzy())
	if named.same(x) || named.Image != nil && x.ReplayFrom() < named.ReplayFrom() {
		return 0, x, false
	}
	l.naming = x.IDs()
	return m.Version, x, true
}

// Amends reports whether the manifest of the current version may be amended: it was committed since the store was opened
// or restored. An older one may be on a remote, even if the store has none now.
func (l *Ledger) Amends() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.amends()
}

func (l *Ledger) amends() bool { return l.opts.Amend && l.lineage.Live }
