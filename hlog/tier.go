package hlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/cold"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// tier is what a store, or a version, has below the begin of its log (package cold), with its files open. Whoever reads it
// outside the epoch holds it: its files stay until the last one has released it (T22).
type tier struct {
	*cold.Tier
	of      *coldTier
	files   []*coldFile
	holders atomic.Int64 // that it stands counts as one
}

// coldFile is a file that is open for the tiers that have it.
type coldFile struct {
	fsx.File
	share *cold.Share
	tiers int // of coldTier.mu: that have the file
}

// coldTier is the tier that stands, and those that somebody still reads: those before it, and those of views.
type coldTier struct {
	s        *Store
	standing atomic.Pointer[tier] // nil: there is nothing below the log. Loaded once for each stay in the epoch (T27)
	filters  *cold.Filters
	whole    atomic.Bool  // there is room for all filters of the tier that stands
	reads    atomic.Int64 // blocks that operations have read
	demoted  atomic.Int64 // bytes of records that demotions have written
	merged   atomic.Int64 // bytes of files that merges have written

	merging    lock.Mutex[lock.Merging] // held over a merge
	changing   lock.Mutex[lock.Tier]    // held by whoever puts another tier in the place of the one that stands
	generation uint64                   // of changing: the highest that there was (T28)
	sized      int64                    // of changing: what size has taken

	mu     lock.Mutex[lock.Leaf]
	tiers  map[*tier]struct{}           // of mu: those with holders
	open   map[index.ShareRef]*coldFile // of mu
	scans  int                          // of mu: no demotion switches the tier while there are any (T33)
	closed bool                         // of mu: the last tier takes the filters with it
}

func (c *coldTier) init(s *Store) {
	c.s = s
	c.filters = cold.NewFilters(0)
	c.tiers, c.open = map[*tier]struct{}{}, map[index.ShareRef]*coldFile{}
}

// below returns the tier that stands, nil if there is none, and where chains end above it. The session is inside the epoch.
func (s *Session) below() (t *tier, begin uint64) { return s.store.below() }

// below is Session.below for those who have a guard of their own. Where there is no tier, the log has begun where it does now
// in every stay in the epoch that has found none: what lies above the first tier is committed in a later one.
func (s *Store) below() (t *tier, begin uint64) {
	if t = s.cold.standing.Load(); t != nil {
		return t, uint64(t.Begin())
	}
	return nil, s.log.Begin()
}

// belowMoved reports whether a search outside the epoch that has found nothing says nothing: the tier was another one, or the
// log began elsewhere, when it began.
func (s *Store) belowMoved(t *tier, begin uint64) bool {
	now := s.cold.standing.Load()
	if t == nil && now == nil {
		return s.log.Begin() != begin
	}
	return t.generation() != now.generation()
}

// generation returns the generation of a tier, 0 if there is none.
func (t *tier) generation() uint64 {
	if t == nil {
		return 0
	}
	return t.Generation()
}

// end returns where the log begins that the tier does not stand for, 0 if there is no tier.
func (t *tier) end() uint64 {
	if t == nil {
		return 0
	}
	return uint64(t.Begin())
}

// hold keeps the files of a tier. The caller is in the stay in the epoch in which it has found it standing, or holds it.
func (t *tier) hold() {
	if t != nil {
		t.holders.Add(1)
	}
}

// release undoes hold, or the making of the tier.
func (t *tier) release() {
	if t == nil || t.holders.Add(-1) > 0 {
		return
	}
	c := t.of
	var gone []*coldFile
	c.mu.Lock()
	delete(c.tiers, t)
	for _, f := range t.files {
		if f.tiers--; f.tiers == 0 {
			delete(c.open, f.share.Ref())
			gone = append(gone, f)
		}
	}
	last := c.closed && len(c.tiers) == 0
	c.mu.Unlock()
	for _, f := range gone {
		c.filters.Forget(f.share)
		f.Close()
	}
	if last {
		c.filters.Close()
	}
}

// openTier opens the tier whose files are refs, nil if there are none. The caller releases it.
func (c *coldTier) openTier(refs index.Shares, generation uint64) (*tier, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	t := &tier{of: c}
	t.holders.Store(1)
	c.mu.Lock()
	c.tiers[t] = struct{}{}
	c.mu.Unlock()
	begin := word.None
	var shares []*cold.Share
	for _, r := range refs {
		f, err := c.openFile(r)
		if err != nil {
			t.release()
			return nil, err
		}
		c.mu.Lock()
		t.files = append(t.files, f)
		c.mu.Unlock()
		shares = append(shares, f.share)
		begin = max(begin, r.To)
	}
	var err error
	if t.Tier, err = cold.NewTier(begin, generation, refs, shares); err != nil {
		t.release()
		return nil, &CorruptionError{File: c.s.ledger.ImagePath(refs[0].ID), Reason: err.Error()}
	}
	return t, nil
}

// openFile returns the file of r, which counts as one tier's.
func (c *coldTier) openFile(r index.ShareRef) (*coldFile, error) {
	if f := c.opened(r); f != nil {
		return f, nil
	}
	name := c.s.ledger.ImagePath(r.ID)
	f, err := c.s.root.Open(name, fsx.Read|fsx.Direct) // many blocks of it are read at a time, which takes direct I/O
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptionError{File: name, Reason: "cold file is missing"}
	}
	if err != nil {
		return nil, err
	}
	var share *cold.Share
	if c.s.opts.viewsOnly {
		share = cold.NameShare(f, r) // opened when a read comes upon it: each takes an answer of the remote
	} else if share, err = cold.OpenShare(f, r); err != nil {
		f.Close()
		return nil, c.fault(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.open[r]; other != nil { // somebody was faster
		other.tiers++
		f.Close()
		return other, nil
	}
	c.open[r] = &coldFile{File: f, share: share, tiers: 1}
	return c.open[r], nil
}

// opened returns the file of r if it is open already.
func (c *coldTier) opened(r index.ShareRef) *coldFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.open[r]
	if f != nil {
		f.tiers++
	}
	return f
}

// fault names the file in an error of package cold.
func (c *coldTier) fault(err error) error {
	var e *cold.CorruptError
	switch {
	case errors.As(err, &e):
		return &CorruptionError{File: c.s.ledger.ImagePath(e.Share), Offset: e.Offset, Reason: e.Reason}
	case errors.Is(err, cold.ErrFormat):
		return fmt.Errorf("%w: %v", ErrFormat, err)
	}
	return err
}

// beginScan returns the tier that stands, held, and keeps demotions from switching it until endScan.
func (c *coldTier) beginScan() *tier {
	c.mu.Lock()
	c.scans++
	c.mu.Unlock()
	return c.held()
}

// held returns the tier that stands, held. It needs no stay in the epoch.
func (c *coldTier) held() *tier {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.standing.Load()
	t.hold() // it stands, and is let go of only after it does not
	return t
}

func (c *coldTier) endScan(t *tier) {
	c.mu.Lock()
	c.scans--
	c.mu.Unlock()
	t.release()
}

// scanned reports whether a scan is under way.
func (c *coldTier) scanned() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.scans > 0
}

// install makes t, which may be nil, the tier that stands, unless that is for a demotion and a scan is under way. It returns the
// one before, which the caller releases when everybody has left the epoch. The caller holds changing, but in Open.
func (c *coldTier) install(t *tier, demotes bool) (old *tier, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if demotes && c.scans > 0 {
		return nil, false
	}
	c.generation = max(c.generation, t.generation())
	return c.standing.Swap(t), true
}

// newest returns the highest generation that there was. Nobody demotes meanwhile.
func (c *coldTier) newest() uint64 {
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.generation
}

// replace makes t, which may be nil, the tier that stands, for a store that goes back to a version.
func (c *coldTier) replace(t *tier) {
	c.changing.Lock()
	old, _ := c.install(t, false)
	c.size()
	c.changing.Unlock()
	c.s.epochs.Synchronize()
	old.release()
}

// awaitMerge returns when no merge is under way. The store closes: who gets the lock next finds that, and begins none.
func (c *coldTier) awaitMerge() {
	c.merging.Lock()
	defer c.merging.Unlock()
}

// depth returns how many files of the tier that stands are over one hash, at the most.
func (c *coldTier) depth() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.standing.Load(); t != nil {
		return t.Depth()
	}
	return 0
}

// refs returns the files of the tier that stands.
func (c *coldTier) refs() index.Shares {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.standing.Load(); t != nil {
		return t.Refs()
	}
	return nil
}

// ids returns the ids of the files of all tiers that stand or are held.
func (c *coldTier) ids() (ids []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.open {
		ids = append(ids, r.ID)
	}
	return ids
}

// close lets go of the tier that stands. The store is closed.
func (c *coldTier) close() {
	c.mu.Lock()
	t := c.standing.Load()
	c.closed = true
	last := len(c.tiers) == 0
	c.mu.Unlock()
	if last {
		c.filters.Close()
	}
	t.release()
}

// size gives the filters what the tier that stands needs, as far as there is memory.
func (c *coldTier) size() {
	var filter, held int64
	if t := c.standing.Load(); t != nil {
		for _, r := range t.Refs() {
			filter += r.Triples
		}
		c.mu.Lock()
		for _, f := range t.files {
			held += f.share.MemoryBytes()
		}
		c.mu.Unlock()
	}
	filter = filter*cold.FilterBits/8 + filter/64 + 2*cold.BlockBytes*int64(len(c.refs()))
	most := c.s.memory.limit() / filterShare
	c.whole.Store(filter <= most)
	filter = min(filter, most)
	c.filters.Resize(filter)
	if n := filter + held - c.sized; n != 0 {
		c.s.memory.cold.Add(n)
		c.sized += n
		c.s.log.Kick() // there are fewer frames, or more
	}
}

// filterShare is the part of the memory that filters may take.
const filterShare = 4

// find appends the value of key, whose hash is h, to dst, if the tier has one. r is used to read, and says then what use was
// made of the record before. The caller holds the tier, and is outside the epoch.
func (t *tier) find(dst, key []byte, h uint64, r *tierReader, does access) (value []byte, found bool, err error) {
	t.of.s.prefetcher.await(searchedAt(t, h))
	if t.of.s.opts.viewsOnly {
		if err := t.Fetch(t.of.filters, index.Order(h)); err != nil {
			return dst, false, t.of.fault(err)
		}
	}
	l := t.Lookup(t.of.filters, index.Order(h), key, dst)
	for {
		read, ok := l.Next()
		if !ok {
			return l.Value, l.Found == cold.Live, nil
		}
		id := read.Share.Ref().ID
		if read.Records() {
			if value, ok := t.of.cached(r, id, key, h, does); ok {
				l.Known(value)
				continue
			}
		}
		if cap(r.block) < read.N {
			r.block = mem.AlignedBytes(read.N, cold.BlockBytes)
		}
		b := r.block[:read.N]
		t.countRead()
		if err = read.Fill(b); err == nil {
			err = l.Take(b)
		}
		if err != nil {
			return dst, false, t.of.fault(err)
		}
		if l.Found == cold.Live && does == reading {
			r.entry = t.of.keep(r.entry, id, key, h, l.Value[len(dst):])
		}
	}
}

// countRead counts an extent that was read for an operation.
func (t *tier) countRead() {
	t.of.reads.Add(1)
	t.of.s.counters.coldReads.Inc()
}

// over calls fn for every key that the tier has a value of, in the order of their hashes, until it returns false or an error.
func (t *tier) over(ctx context.Context, fn func(key, value []byte) (more bool, err error)) error {
	var shares []*cold.Share
	for _, f := range t.files {
		shares = append(shares, f.share)
	}
	if err := cold.OpenAll(shares); err != nil {
		return t.of.fault(err)
	}
	err := cold.Join(ctx, t.of.order, 0, ^uint64(0), shares, func(r *cold.Record, _ int64) error {
		if r.Tombstone {
			return nil
		}
		more, err := fn(r.Key, r.Value)
		if err == nil && !more {
			err = errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return t.of.fault(err)
}

// verify reads all files of the tier, and calls damaged for each damage, until it returns an error.
func (t *tier) verify(ctx context.Context, damaged func(error) error) error {
	if t == nil {
		return nil
	}
	for _, f := range t.files {
		err := f.share.Open()
		if err == nil {
			err = f.share.Verify(ctx, t.of.order)
		}
		if err != nil {
			if err := damaged(t.of.fault(err)); err != nil {
				return err
			}
		}
	}
	return nil
}

var errEnough = errors.New("hlog: enough")

// order returns the place of a key in cold files.
func (c *coldTier) order(key []byte) uint64 { return index.Order(c.s.hash(key)) }

// coldFilesOf returns the cold files of a version as package index has them.
func coldFilesOf(m *checkpoint.Manifest) index.Shares {
	if m == nil {
		return nil
	}
	return shares.Of(m.Cold)
}
