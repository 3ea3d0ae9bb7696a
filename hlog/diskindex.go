package hlog

import (
	"cmp"
	"slices"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/view"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The index on disk is made of what the flusher tells of the records that it writes (R3): index.Disk collects it, runs are
// written of it, and merged, in the background. A version names, when it is committed, what has been written by then, and a
// recovery replays the log behind that, never more than maxUncovered (R4).
const (
	// maxUncovered is how much log no run may stand for when a version is committed: the first read after an opening waits
	// until so much has been read and replayed. With little memory, a 16th of it replaces that: what was flushed since the
	// last run is in memory. Three quarters of it make a run due, so that commits go on while the run is being written. With
	// little log, less of it makes a run due, down to leastLog: what is dead is known only of what runs stand for.
	maxUncovered = 4 << 20
	leastLog     = 512 << 10
	// maxBehind is how much log may be flushed beyond what runs stand for, in units of maxUncovered, before the flusher waits.
	maxBehind = 4
	// shareLength is about how long shares become by merging, and mergePace how many bytes of them may be written for
	// each byte of log: what a version uploads follows from both.
	shareLength = 5 << 20
	mergePace   = 2
	// maxShare is the length at which a share ends whatever was expected.
	maxShare = 8 << 20
)

// diskIndex is the index on disk of a store, and the standing index of the ledger.
type diskIndex struct {
	*index.Disk
	cut     uint64        // maxUncovered, or what replaces it
	version func() uint64 // the log version that operations belong to
	patient patientSync
	cold    *coldTier

	mu     lock.Mutex[lock.Leaf]
	old    checkpoint.Index // of mu: image and runs of a version that was written before there were shares
	end    uint64           // of mu: where the log ends that old stands for, 0 if there is none
	behind bool             // of mu: log behind old has not been told, so that versions name old and no shares
}

// indexPace replaces, where it is not 0, what is said above.
type indexPace struct {
	uncovered, shareLength int64
}

func newDiskIndex(o Options, c *coldTier, version func() uint64) *diskIndex {
	cut := cmp.Or(o.indexPace.uncovered, min(maxUncovered, o.MemoryBytes/16))
	return &diskIndex{
		Disk: index.NewDisk(index.DiskConfig{
			CutBytes: cut / 4 * 3, LeastBytes: min(cut/4*3, leastLog), MergeBytes: cmp.Or(o.indexPace.shareLength, shareLength), MergePace: mergePace,
			Newest: version,
		}),
		cut: uint64(cut), version: version, cold: c,
	}
}

// Name returns the index files for a version.
func (d *diskIndex) Name(logVersion, cut uint64) checkpoint.Index {
	shares, replay := d.Disk.Name(logVersion, word.Address(cut))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(shares) == 0 || d.behind {
		return d.old
	}
	x := checkpoint.Index{Image: d.old.Image, Runs: d.old.Runs, ReplayFrom: uint64(replay)}
	x.Shares = shareRefs(shares)
	return x
}

// shareRefs returns shares as a manifest has them.
func shareRefs(shares index.Shares) (refs []checkpoint.ShareRef) {
	for _, s := range shares {
		refs = append(refs, checkpoint.ShareRef{
			ID: s.ID, Bytes: s.Bytes, First: s.First, Last: s.Last, From: uint64(s.From), To: uint64(s.To),
			Level: s.Level, Triples: s.Triples, Live: s.Live,
		})
	}
	return refs
}

// Cold returns the files of the tier that stands.
func (d *diskIndex) Cold() []checkpoint.ShareRef { return shareRefs(d.cold.refs()) }

// IDs returns the ids of all files that Name may return from now on.
func (d *diskIndex) IDs() []uint64 {
	d.mu.Lock()
	old := d.old.IDs()
	d.mu.Unlock()
	return slices.Concat(d.Disk.IDs(), old, d.cold.ids())
}

// GoOn makes the index files of m the standing ones. The log behind them has to be told again.
func (d *diskIndex) GoOn(m *checkpoint.Manifest) {
	var x checkpoint.Index
	begin := uint64(0)
	if m != nil {
		x, begin = m.Index, ledger.LogBegin(m)
	}
	d.mu.Lock()
	d.old = checkpoint.Index{Image: x.Image, Runs: x.Runs}
	d.end = d.old.Replay()
	d.behind = m != nil && !d.tells(m)
	d.mu.Unlock()
	d.Adopt(view.Shares(x.Shares), word.Address(x.Replay()), d.version())
	d.Disk.Begin(word.Address(begin))
}

// Begin tells that the log of all versions to come begins at a: of what lies below, nothing is told any more.
func (d *diskIndex) Begin(a uint64) {
	d.Disk.Begin(word.Address(a))
	d.mu.Lock()
	defer d.mu.Unlock()
	if a >= d.end {
		d.old = checkpoint.Index{}
	}
}

// standsFor returns the log that the shares stand for.
func (d *diskIndex) standsFor() (from, to uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.behind {
		return d.end, d.end
	}
	return d.end, uint64(d.Written())
}

// tells reports whether the log of m that has to be replayed is told to the index on disk in one piece. It is not when an
// earlier release has left so much of it that it would not fit into memory: then Store.catchUp tells it.
func (d *diskIndex) tells(m *checkpoint.Manifest) bool {
	return len(m.Shares) > 0 || m.Cut <= max(m.Index.Replay(), ledger.LogBegin(m))+2*maxBehind*d.cut
}

// caughtUp says that all log behind the image and the runs of old has been told.
func (d *diskIndex) caughtUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = false
}
