package ledger

import (
	"slices"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Index is the index files that a version names.
type Index = checkpoint.Index

// Standing is the index files that the versions to come will name. Its methods are called under the lock and must not
// wait.
type Standing interface {
	// Name returns the index files, without cold ones, for the version that a log version is the newest of, and that ends at cut.
	Name(logVersion, cut uint64) Index
	// Cold returns the cold files that a version names which is begun now.
	Cold() []checkpoint.ShareRef
	// IDs returns the ids of all files that Name or Cold may return from now on, and those of cold files that are read.
	IDs() []uint64
	// GoOn puts the index files of version m, which may be nil, in the place of what there was.
	GoOn(m *checkpoint.Manifest)
}

// IndexOf returns the index files of version m, which may be nil.
func IndexOf(m *checkpoint.Manifest) Index {
	if m == nil {
		return Index{}
	}
	return m.Index
}

// same reports whether x and y name the same files.
func same(x, y Index) bool {
	image := x.Image == y.Image || x.Image != nil && y.Image != nil && *x.Image == *y.Image
	return image && slices.Equal(x.Runs, y.Runs) && slices.Equal(x.Shares, y.Shares) && x.ReplayFrom == y.ReplayFrom && slices.Equal(x.Cold, y.Cold)
}

// Amend has the manifest of the current version name the standing index files, if it names others: shares that were
// merged since it was committed stand for the same.
func (l *Ledger) Amend() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	v, x, due := l.toAmend()
	if !due {
		return nil
	}
	_, err := l.dir.Amend(v, x)
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
	if c.Parent == nil || !l.amends() {
		return 0, x, false
	}
	m, err := l.dir.Manifest(c.Parent.Version) // c.Parent is what it was when it was committed
	if err != nil {
		return 0, x, false // it is current and whole: only a failed amendment leaves it unreadable
	}
	x = l.opts.Standing.Name(m.LogVersion, m.Cut)
	x.Cold = m.Cold
	if same(x, m.Index) || x.Replay() < m.Replay() {
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
