package index

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Logged is a triple, and the version that its record was written in.
type Logged struct {
	Triple
	Version word.RecordVersion
	// Own says that a record is of the same key if it has the same hash, and Own is true of it as well (I21).
	Own bool
}

// DiskConfig says how the index on disk is made.
type DiskConfig struct {
	// CutBytes is how much log makes a run due. When there is little log, a 32nd of it does, but not less than
	// LeastBytes; 0 is CutBytes.
	CutBytes, LeastBytes int64
	// MergeBytes is about how long a share becomes by merging.
	MergeBytes int64
	// MergePace is how many bytes merges may write for each byte of log. For each version they may write another
	// 1/versionMerges of MergeBytes; what is not made use of adds up to MergeBytes.
	MergePace int64
	// Newest returns the newest log version that records may be of. nil: the versions of what is logged are those under way
	// or older, by less than half of all that a record can tell apart.
	Newest func() uint64
}

const versionMerges = 8

// tripleMemory is what a triple takes in memory, in bytes: two words.
const tripleMemory = 2 * mem.WordBytes

// Disk is the index on disk of a store: its shares, the triples of what was logged since, and what is being made of
// them. It touches no file: whoever uses it writes what [Disk.TakeRun] and [Disk.TakeMerge] hand out, and tells what came
// of it. Its methods are safe for concurrent use; but for [Disk.Await] they wait for nothing but each other.
type Disk struct {
	cfg DiskConfig

	memory atomic.Int64 // what the triples take, see weigh

	mu      sync.Mutex
	changed chan struct{} // of mu: closed when a run has come back, and replaced
	era     int           // of mu: counts Adopt: what was handed out before is of no use after it
	oldest  uint64        // of mu: the oldest log version that may yet be committed

	shares  Shares       // of mu: of records that every version to come will have
	young   []*NewRun    // of mu: written, but later versions alone have some of it; oldest first
	written word.Address // of mu: where the log ends that shares and young stand for

	writing  *NewRun // of mu: handed out, or to be handed out again
	out      bool    // of mu: writing is handed out
	from, to word.Address
	groups   []Group      // of mu: of the log [from, to), by version
	wanted   word.Address // of mu: up to here shares are about to be needed

	merging   bool            // of mu: a merge is handed out
	mergeEnds chan struct{}   // of mu: closed when it comes back
	credit    int64           // of mu: bytes that merges may write
	damaged   map[uint64]bool // of mu: ids of shares that cannot be merged
	// of mu: what NextMerge says of shares and damaged, and what it is being asked for; nil: it has to be asked
	next, planning *plan

	counted map[uint64]counted // of mu, by id: what shares hold, as far as it is known
	begin   word.Address       // of mu: where the log begins
}

type plan struct {
	Merge
	ok bool
}

// NewRun is a run that is to be written: a share for each group, or several that divide the hashes.
type NewRun struct {
	From, To word.Address
	Groups   []Group
	era      int
}

// Group is the part of a run that belongs to the versions from one on.
type Group struct {
	Since   uint64    // log version
	Mixed   bool      // there may be records of which Logged.Own is not true
	Triples []Triple  // in the order of the log, as long as they are not handed out
	Shares  []Written // what they were written to
}

// NewDisk returns the index on disk of an empty store.
func NewDisk(cfg DiskConfig) *Disk {
	d := &Disk{cfg: cfg, changed: make(chan struct{})}
	d.Adopt(nil, 0, 0)
	return d
}

// Adopt makes the shares of a version what there is; end is where the log ends that they stand for, and oldest the log
// version that is under way. What was handed out is discarded when it comes back.
func (d *Disk) Adopt(shares Shares, end word.Address, oldest uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.era++
	d.oldest = oldest
	d.shares, d.young, d.written = shares, nil, end
	d.writing, d.out, d.from, d.to, d.groups, d.wanted = nil, false, end, end, nil, 0
	d.takeBack()
	d.credit, d.damaged = 0, map[uint64]bool{}
	d.replan()
	d.counted, d.begin = map[uint64]counted{}, 0
	d.weigh()
	d.wake()
}

// wake tells those who wait for a run that was handed out.
func (d *Disk) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Log tells of the log from from to to, which is being written, and of its records in ascending order. What was told of
// it before is replaced, except by what is being made of it: that is the same. due reports that a run may be taken.
func (d *Disk) Log(from, to word.Address, records []Logged) (due bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if from < d.to {
		d.forget(from)
	} else {
		d.earn(d.cfg.MergePace * int64(to-from))
	}
	d.to = max(to, d.from)
	var g *Group
	var of word.RecordVersion // what g is for
	for i := range records {
		if r := &records[i]; r.Address() >= d.from {
			if g == nil || of != r.Version {
				g, of = d.group(r.Version), r.Version
			}
			if len(g.Triples) == cap(g.Triples) {
				g.Triples = slices.Grow(g.Triples, d.room(len(g.Triples), len(records), from, to))
			}
			g.Triples = append(g.Triples, r.Triple)
			g.Mixed = g.Mixed || !r.Own
		}
	}
	d.weigh()
	return d.isDue() || d.writing != nil && !d.out
}

// Told returns the triples of the log from from to to, in ascending order, whatever their versions. ok is false if some of it
// has not been told, is in a run already, or lies below where the log begins: after a restore nothing was told of that, though
// versions that are older yet have records there.
func (d *Disk) Told(from, to word.Address) (triples []Triple, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if from < d.from || from < d.begin || to > d.to {
		return nil, false
	}
	for _, g := range d.groups {
		first := sort.Search(len(g.Triples), func(i int) bool { return g.Triples[i].Address() >= from })
		end := sort.Search(len(g.Triples), func(i int) bool { return g.Triples[i].Address() >= to })
		triples = append(triples, g.Triples[first:end]...)
	}
	if len(d.groups) > 1 {
		slices.SortFunc(triples, func(a, b Triple) int { return cmp.Compare(a.Address(), b.Address()) })
	}
	return triples, true
}

// weigh finds out what the triples take. Whoever sorts those of a run takes as much again.
func (d *Disk) weigh() {
	n := 0
	for i := range d.groups {
		n += cap(d.groups[i].Triples)
	}
	if d.writing != nil {
		for i := range d.writing.Groups {
			n += 2 * cap(d.writing.Groups[i].Triples)
		}
	}
	d.memory.Store(int64(n) * tripleMemory)
}

// Memory returns how many bytes of memory the triples take that are in no share yet.
func (d *Disk) Memory() int64 { return d.memory.Load() }

// room returns for how many triples to make room besides have, when so many records lie in the log from from to to: as many
// again, so that none is moved often, but no more than those of the log until a run is due. Memory that was just taken is slow,
// and a commit waits for this.
func (d *Disk) room(have, records int, from, to word.Address) int {
	ahead := min(max(d.cfg.CutBytes-int64(from-min(d.from, from)), 0), d.cfg.CutBytes)
	return max(records, min(have, int(ahead*int64(records)/int64(max(to-from, 1)))))
}

// due returns how much log makes a run due.
func (d *Disk) due() int64 {
	if d.cfg.LeastBytes == 0 {
		return d.cfg.CutBytes
	}
	return min(d.cfg.CutBytes, max(d.cfg.LeastBytes, int64(d.from-min(d.begin, d.from))/32))
}

// isDue reports whether a run may be taken of what was logged since the last one. One that is wanted up to an address that is
// near is not taken before that has been logged: what it does not stand for would take another, which whoever wants it would
// have to wait for after this one.
func (d *Disk) isDue() bool {
	if d.from < d.wanted && d.wanted <= d.from+2*word.Address(d.cfg.CutBytes) {
		return d.to >= d.wanted
	}
	return int64(d.to-d.from) >= d.due()
}

// Want says that shares are about to be needed for the log up to a: a run is due when it has been logged.
func (d *Disk) Want(a word.Address) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = max(d.wanted, a)
}

// Wanted reports whether shares are about to be needed for log that none stands for.
func (d *Disk) Wanted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written < d.wanted
}

// forget drops what is known of log from a on.
func (d *Disk) forget(a word.Address) {
	for i := range d.groups {
		g := &d.groups[i]
		g.Triples = g.Triples[:sort.Search(len(g.Triples), func(j int) bool { return g.Triples[j].Address() >= a })]
	}
}

// group returns the group of records of a version, which is under way or older.
func (d *Disk) group(v word.RecordVersion) *Group {
	since, newest := d.oldest, d.oldest+1<<(word.VersionBits-1)-1
	if d.cfg.Newest != nil {
		newest = d.cfg.Newest() // records much older look like ones to come: a record's version wraps
	}
	if after := (v - word.MakeRecordVersion(d.oldest)) & (1<<word.VersionBits - 1); d.oldest+uint64(after) <= newest {
		since += uint64(after)
	}
	for i := range d.groups { // those of versions that were committed meanwhile are what every version to come will have
		if max(d.groups[i].Since, d.oldest) == since {
			return &d.groups[i]
		}
	}
	d.groups = append(d.groups, Group{Since: since})
	return &d.groups[len(d.groups)-1]
}

// Committed tells that log versions up to n have been committed, or never will be.
func (d *Disk) Committed(n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.oldest = max(d.oldest, n+1)
	d.earn(d.cfg.MergeBytes / versionMerges)
	d.mature()
}

// earn allows merges to write more bytes.
func (d *Disk) earn(bytes int64) { d.credit = min(d.credit+bytes, d.cfg.MergeBytes) }

// Earn allows merges to write more bytes, as what is logged does.
func (d *Disk) Earn(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.earn(bytes)
}

// Afford reports whether a merge of others that writes so many bytes may begin: what merges may write is enough for it, or all that
// it ever comes to.
func (d *Disk) Afford(bytes int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.affords(bytes)
}

func (d *Disk) affords(bytes int64) bool { return bytes <= d.credit || d.credit >= d.cfg.MergeBytes }

// Spend tells that a merge of others has written so many bytes.
func (d *Disk) Spend(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.credit -= bytes
}

// mature makes runs shares whose records every version to come will have.
func (d *Disk) mature() {
	for len(d.young) > 0 && d.young[0].newest() <= d.oldest {
		for _, g := range d.young[0].Groups {
			d.shares = append(d.shares, refsOf(g.Shares)...)
		}
		d.replan()
		d.young = d.young[1:]
	}
}

// newest returns the log version from which on versions have all of the run.
func (r *NewRun) newest() (n uint64) {
	for _, g := range r.Groups {
		n = max(n, g.Since)
	}
	return n
}

// TakeRun hands out a run of what was logged, if one is due, or if there is anything at all and all is set. Only one is
// handed out at a time. FinishRun ends it.
func (d *Disk) TakeRun(all bool) (r *NewRun, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.out:
		return nil, false
	case d.writing != nil:
		d.out = true
		return d.writing, true
	case d.to == d.from || !all && !d.isDue():
		return nil, false
	}
	r = &NewRun{From: d.from, To: d.to, era: d.era}
	common := Group{Since: d.oldest} // with nothing in it, it stands for the log all the same
	for _, g := range d.groups {
		switch {
		case g.Since > d.oldest:
			r.Groups = append(r.Groups, g)
		case common.Triples == nil:
			common.Triples, common.Mixed = g.Triples, common.Mixed || g.Mixed
		default:
			common.Triples, common.Mixed = append(common.Triples, g.Triples...), common.Mixed || g.Mixed
		}
	}
	r.Groups = append(r.Groups, common)
	d.writing, d.out, d.from, d.groups = r, true, d.to, nil
	d.weigh()
	return r, true
}

// FinishRun tells what came of r: its groups have their shares, or err says why they could not be written, and TakeRun
// hands it out again. used reports whether the shares are part of the index from now on.
func (d *Disk) FinishRun(r *NewRun, err error) (used bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.era != d.era {
		return false
	}
	d.out = false
	if err == nil {
		d.writing, d.written = nil, r.To
		d.young = append(d.young, r)
		for i := range r.Groups {
			r.Groups[i].Triples = nil
			d.count(r.Groups[i].Shares)
		}
		d.mature()
	}
	d.weigh()
	d.wake()
	return err == nil
}

// Await waits as long as a run is handed out and the shares do not stand for the log up to a, or until ctx ends. more
// reports that they do not, and that there is something to take.
func (d *Disk) Await(ctx context.Context, a word.Address) (more bool, err error) {
	for {
		d.mu.Lock()
		out, changed := d.out, d.changed
		more = d.written < a && (d.writing != nil || d.from != d.to)
		d.mu.Unlock()
		if !more || !out {
			return more, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return more, ctx.Err()
		}
	}
}

// Written returns where the log ends that the shares stand for.
func (d *Disk) Written() word.Address {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written
}

// Name returns the shares for the version of log version n that ends at cut, and where the log begins that has to be
// replayed over them (I18).
func (d *Disk) Name(n uint64, cut word.Address) (shares Shares, replay word.Address) {
	d.mu.Lock()
	defer d.mu.Unlock()
	shares = slices.Clone(d.shares)
	for _, r := range d.young {
		for _, g := range r.Groups {
			if g.Since <= n {
				shares = append(shares, refsOf(g.Shares)...)
			}
		}
	}
	shares = slices.DeleteFunc(shares, func(r ShareRef) bool { return r.From >= cut })
	for i := range shares {
		shares[i].To = min(shares[i].To, cut)
	}
	return shares, min(d.written, cut)
}

// IDs returns the ids of all shares that a version may yet name, but for those that are being written.
func (d *Disk) IDs() (ids []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.shares {
		ids = append(ids, r.ID)
	}
	for _, r := range d.young {
		for _, g := range r.Groups {
			for _, s := range g.Shares {
				ids = append(ids, s.ID)
			}
		}
	}
	return ids
}

// TakeMerge hands out the merge that is most worth while, if one is, and the log since the last one allows it. Only one
// is handed out at a time. FinishMerge ends it.
func (d *Disk) TakeMerge() (m Merge, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.merging || d.credit <= 0 || len(d.shares) < 2 {
		return m, false
	}
	for d.next == nil { // what is flushed meanwhile must not wait for this
		p, shares, damaged, known := &plan{}, d.shares, maps.Clone(d.damaged), d.known()
		d.planning = p
		d.mu.Unlock()
		p.Merge, p.ok = shares.NextMerge(d.cfg.MergeBytes, damaged, known)
		d.mu.Lock()
		if d.planning == p {
			d.next, d.planning = p, nil
		}
	}
	if m, ok = d.next.Merge, d.next.ok; d.merging || !ok || !d.affords(m.Bytes) {
		return m, false
	}
	m.era = d.era
	d.handOut()
	return m, true
}

// Merging reports whether a merge is handed out.
func (d *Disk) Merging() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.merging
}

// replan says that NextMerge has to be asked anew.
func (d *Disk) replan() { d.next, d.planning = nil, nil }

// FinishMerge tells what came of m. used reports whether the shares are part of the index from now on, and what m has
// merged is not, as far as they stand for the same.
func (d *Disk) FinishMerge(m Merge, shares []Written, err error) (used bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.era != d.era {
		return false
	}
	d.takeBack()
	if err != nil {
		var c *CorruptError
		if errors.As(err, &c) {
			d.damaged[c.Share] = true // whoever needs it will tell
			d.replan()
		}
		return false
	}
	refs := refsOf(shares)
	d.credit -= Shares(refs).Bytes()
	d.shares = d.shares.With(refs...)
	d.replan()
	d.count(shares)
	return true
}
