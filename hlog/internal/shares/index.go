package shares

import (
	"cmp"
	"log/slog"
	"slices"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// MaxUncovered is how much log no run may stand for when a version is committed: the first read after an opening waits
	// until so much has been read and replayed. It may be twice as much if records take LongRecord bytes or more on the
	// average, since a replay takes its time for records. With little memory, a 16th of it replaces that: what was flushed
	// since the last run is in memory. Three quarters of it make a run due, so that commits go on while the run is being
	// written. With little log, less of it makes a run due, down to leastLog: what is dead is known only of what runs stand for.
	MaxUncovered = 4 << 20
	LongRecord   = 96
	leastLog     = 512 << 10
	// maxBehind is how much log may be flushed beyond what runs stand for, in units of MaxUncovered, before the flusher waits.
	maxBehind = 4
	// shareLength is about how long shares become by merging, and mergePace how many bytes of them may be written for
	// each byte of log: what a version uploads follows from both.
	shareLength = 5 << 20
	mergePace   = 2
	// MaxBytes is the length at which a share ends whatever was expected.
	MaxBytes = 8 << 20
)

// Index is the index on disk of a store, and the standing index of its ledger. Its methods are safe for concurrent use.
type Index struct {
	*index.Disk
	*Files
	Uncovered uint64 // MaxUncovered, or what replaces it

	c      Config
	mu     lock.Mutex[lock.Leaf]
	old    checkpoint.Index // of mu: image and runs of a version that was written before there were shares
	end    uint64           // of mu: where the log ends that old stands for, 0 if there is none
	behind bool             // of mu: log behind old has not been told, so that versions name old and no shares
}

// Config is what an Index has of its store.
type Config struct {
	MemoryBytes int64
	Pace        Pace
	Version     func() uint64           // the log version that operations belong to
	Own         func(keyBytes int) bool // reports whether keys that are so long have a hash each; nil: none have
	ColdRefs    func() index.Shares     // the files of the cold tier that stands,
	ColdIDs     func() []uint64         // and the ids of those that stand or are held
	Distant     bool                    // versions go to a remote, where each share that is read is a request (R7)
	Logger      *slog.Logger

	GiveWay func() // lets a commit go first (R6)
	RunDue  func() // wakes who calls WriteRuns
	RunMade func() // wakes who calls Merge
	Merged  func() // there may be files that nothing needs any more
}

// Pace replaces, where it is not 0, what is said of lengths above. Tests use it.
type Pace struct {
	Uncovered, ShareLength int64
}

// New returns the index of a store that has none yet. The caller closes f.
func New(c Config, f *Files) *Index {
	f.aside.queue = f.Queues.New(1)
	cut := cmp.Or(c.Pace.Uncovered, min(MaxUncovered, c.MemoryBytes/16))
	return &Index{
		Disk: index.NewDisk(index.DiskConfig{
			CutBytes: cut / 4 * 3, LeastBytes: min(cut/4*3, leastLog), MergeBytes: cmp.Or(c.Pace.ShareLength, shareLength), MergePace: mergePace,
			Newest: c.Version,
		}),
		Files: f, Uncovered: uint64(cut), c: c,
	}
}

// Name returns the index files for a version.
func (d *Index) Name(logVersion, cut uint64) checkpoint.Index {
	shares, replay := d.Disk.Name(logVersion, word.Address(cut))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(shares) == 0 || d.behind {
		return d.old
	}
	x := checkpoint.Index{Image: d.old.Image, Runs: d.old.Runs, ReplayFrom: uint64(replay)}
	x.Shares = refsOf(shares)
	return x
}

// refsOf returns shares as a manifest has them.
func refsOf(shares index.Shares) (refs []checkpoint.ShareRef) {
	for _, s := range shares {
		refs = append(refs, checkpoint.ShareRef{
			ID: s.ID, Bytes: s.Bytes, First: s.First, Last: s.Last, From: uint64(s.From), To: uint64(s.To),
			Level: s.Level, Triples: s.Triples, Live: s.Live,
		})
	}
	return refs
}

// Cold returns the files of the tier that stands.
func (d *Index) Cold() []checkpoint.ShareRef { return refsOf(d.c.ColdRefs()) }

// IDs returns the ids of all files that Name may return from now on.
func (d *Index) IDs() []uint64 {
	d.mu.Lock()
	old := d.old.IDs()
	d.mu.Unlock()
	return slices.Concat(d.Disk.IDs(), old, d.c.ColdIDs())
}

// GoOn makes the index files of m the standing ones. The log behind them has to be told again.
func (d *Index) GoOn(m *checkpoint.Manifest) {
	var x checkpoint.Index
	begin := uint64(0)
	if m != nil {
		x, begin = m.Index, ledger.LogBegin(m)
	}
	d.mu.Lock()
	d.old = checkpoint.Index{Image: x.Image, Runs: x.Runs}
	d.end = d.old.Replay()
	d.behind = m != nil && !d.Tells(m)
	d.mu.Unlock()
	d.Adopt(Of(x.Shares), word.Address(x.Replay()), d.c.Version())
	d.Disk.Begin(word.Address(begin))
}

// Begin tells that the log of all versions to come begins at a: of what lies below, nothing is told any more.
func (d *Index) Begin(a uint64) {
	d.Disk.Begin(word.Address(a))
	d.mu.Lock()
	defer d.mu.Unlock()
	if a >= d.end {
		d.old = checkpoint.Index{}
	}
}

// standsFor returns the log that the shares stand for.
func (d *Index) standsFor() (from, to uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.behind {
		return d.end, d.end
	}
	return d.end, uint64(d.Written())
}

// Tells reports whether the log of m that has to be replayed is told to the index on disk in one piece. It is not when an
// earlier release has left so much of it that it would not fit into memory: then the store tells it in pieces.
func (d *Index) Tells(m *checkpoint.Manifest) bool {
	return len(m.Shares) > 0 || m.Cut <= max(m.Index.Replay(), ledger.LogBegin(m))+2*maxBehind*d.Uncovered
}

// CaughtUp says that all log behind the image and the runs of old has been told.
func (d *Index) CaughtUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = false
}

// Of returns files of a version, of its index or of its cold tier, as package index has them.
func Of(refs []checkpoint.ShareRef) (shares index.Shares) {
	for _, s := range refs {
		shares = append(shares, index.ShareRef{
			ID: s.ID, Bytes: s.Bytes, First: s.First, Last: s.Last, From: word.Address(s.From), To: word.Address(s.To),
			Level: s.Level, Triples: s.Triples, Live: s.Live,
		})
	}
	return shares
}
