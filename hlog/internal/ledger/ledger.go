package ledger

import (
	"fmt"
	"strings"
	"sync"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// Reader is what may be asked of the directory by everybody: nothing in it changes a file. It is a part of
// checkpoint.Dir.
type Reader interface {
	Identity() checkpoint.Identity
	LogPath() string
	ImagesPath() string
	SegmentPath(n uint64) string
	ImagePath(id uint64) string
	Current() *checkpoint.Manifest
	Manifest(v checkpoint.Version) (*checkpoint.Manifest, error)
	Versions() []checkpoint.Info
	OldBytes() int64
	Info(v checkpoint.Version) (checkpoint.Info, error)
	MaxID() checkpoint.Version
	MaxEnd() uint64
	LogEnd() uint64
	Strays() []string
	Damaged() []error
	References() (log checkpoint.ExtentSet, images []uint64, err error)
}

// Options are the settings of a Ledger.
type Options struct {
	FS fsx.FS // of the directory
	// Amend allows the manifest of the current version to be replaced by one that names newer index files. Not with a
	// remote: it knows a version's manifest by its checksum.
	Amend bool
	// Standing is what versions to come name.
	Standing Standing
}

// Ledger keeps the books of one store. Its methods may be called from any goroutine.
type Ledger struct {
	Reader
	dir  *checkpoint.Dir
	opts Options

	writing lock.Mutex[lock.LedgerWriting] // held by whoever changes manifests, over the I/O (B2); taken before mu

	mu      lock.Mutex[lock.Ledger] // of all that follows; never held over I/O (B1)
	dealt   sync.Cond               // of mu: a version was dealt with
	lineage *Lineage
	era     int    // counts restores (B9)
	emptied uint64 // the log below it is empty, and leaves the lineage with the next version; 0: none is

	lastID  checkpoint.Version // the highest that was given out here
	newest  *Pending           // the last one begun since the store was opened or restored; nil: none
	pending []*Pending         // in the order in which they were begun, those that have been dealt with left out (B6)

	naming []uint64 // index files that a manifest names which is being written (B4)
	holds  map[*Hold]struct{}
	claims []*Claim
	nextID uint64 // above every index file that there is
}

// New returns the ledger of a directory, for a store that is being opened; GoOn says what it goes on from.
func New(dir *checkpoint.Dir, o Options) (*Ledger, error) {
	l := &Ledger{Reader: dir, dir: dir, opts: o, lineage: &Lineage{}, holds: map[*Hold]struct{}{}}
	l.dealt.L = &l.mu
	ids, err := dir.ImageIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		l.nextID = max(l.nextID, id+1)
	}
	return l, nil
}

// Lineage is what the next version is made from. It is immutable.
type Lineage struct {
	Parent *checkpoint.Manifest // the version that the store has gone on from; nil before the first
	Live   bool                 // the store went on from Parent without a restore or a reopening in between
	Start  uint64               // where the log of the next version begins
	Moved  int64                // bytes that compaction had moved in all when Start was cut
	Dirty  bool                 // the log below Start holds records that Parent does not
}

// Begin returns where the log of the lineage begins.
func (l *Lineage) Begin() uint64 {
	if l.Parent == nil {
		return l.Start
	}
	return LogBegin(l.Parent)
}

// LogBegin returns where the log of version m begins, its end if it is empty.
func LogBegin(m *checkpoint.Manifest) uint64 {
	if len(m.Extents) > 0 {
		return m.Extents[0].Start
	}
	return m.Cut
}

// Log returns the stretches that the log of the lineage consists of at address from and above, up to tail.
func (l *Lineage) Log(from, tail uint64) []checkpoint.Range {
	var set checkpoint.ExtentSet
	if l.Parent != nil {
		for _, e := range l.Parent.Extents {
			set.Add(max(e.Start, from), max(e.End, from))
		}
	}
	set.Add(max(l.Start, from), max(tail, from))
	return set.Ranges()
}

// Extents returns the log of the lineage, as that of a version which ends at address end.
func (l *Lineage) Extents(end uint64) []checkpoint.Extent {
	end = max(end, l.Start)
	return checkpoint.Extend(l.Parent, checkpoint.Extent{Start: l.Start, End: end, Fuzzy: end}, l.Live)
}

// Lineage returns what the next version is made from.
func (l *Ledger) Lineage() *Lineage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lineage
}

// Changed reports whether a log that ends at tail has anything that the current version does not.
func (l *Ledger) Changed(tail uint64) bool {
	c := l.Lineage()
	return c.Dirty || tail != c.Start
}

// GoOn makes version m, nil for the empty store, what the next version is made from: the store has been opened at it, or
// restored to it (B8). New log begins at tail; moved is what compaction has moved in all. What was claimed before cannot
// be published any more (B9). No version is pending.
func (l *Ledger) GoOn(m *checkpoint.Manifest, tail uint64, moved int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lineage = &Lineage{Parent: m, Start: tail, Moved: moved}
	l.era++
	l.emptied, l.newest = 0, nil
	l.opts.Standing.GoOn(m)
}

// Emptied says that compaction has emptied the log below address begin: the next version that is begun leaves it out.
func (l *Ledger) Emptied(begin uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.emptied = begin
}

// EmptyBelow returns what Emptied was told, 0 when that has not been since the store was opened or restored.
func (l *Ledger) EmptyBelow() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.emptied
}

// String shows the books to people.
func (l *Ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	c := l.lineage
	fmt.Fprintf(&b, "lineage from %#x, new log from %#x, live %v, dirty %v, era %d\n", c.Begin(), c.Start, c.Live, c.Dirty, l.era)
	for _, p := range l.pending {
		fmt.Fprintf(&b, "version %d: %v, begun at %#x, cut %#x\n", p.Version, p.phase, p.From, p.Cut)
	}
	for h := range l.holds {
		fmt.Fprintf(&b, "hold from %#x: %s\n", h.from, h.reason)
	}
	for _, c := range l.claims {
		fmt.Fprintf(&b, "claim of %v: makes %x, reads %x and log from %#x\n", c.Kind, c.makes, c.Reads, c.From)
	}
	fmt.Fprintf(&b, "standing index files: %x\n", l.opts.Standing.IDs())
	return b.String()
}
