package hlog

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/cold"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/hlog/internal/view"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Demotion empties the oldest part of the log as compaction does, but its live records go into the cold tier, where they take
// a byte or two of memory instead of an entry of the index. A round copies what fits into a 32nd of the memory, or an 8th:
//
//	walk the log from the begin --> sort by hash --> write files, sync --> switch the tier --> drain --> clear entries
//
// The tier is switched in one step (T26), together with what the next version is told of the log (Ledger.Emptied). Versions that
// have begun by then name the tier before, and the log that was demoted (T30). Of the entries that have led to the log,
// those are cleared that still do (T29): the newest record of each of their chains was among those that were copied. Restore
// knows from then on that the index has forgotten keys (K3, T31).
//
// Where there is a tier, compaction is demotion: tombstones hide what lies in the tier, and go into it.
//
// A round adds a file over all hashes, so a log that is demoted faster than files are merged would pile them up. A round
// therefore takes its part in the merges when there are many (T39), as an LSM tree stalls its writes by the number of its files.

const (
	// demotionShare is the part of the memory that the records of a round take, from minDemotion to maxDemotion bytes, and
	// hurriedShare that when entries are made fast: long rounds are faster, and leave less to merge.
	demotionShare = 32
	hurriedShare  = 8
	minDemotion   = 128 << 10
	maxDemotion   = 16 << 20
	// recordOverhead is what a record takes in memory besides its bytes before it is written.
	recordOverhead = 88
	// coldPace is how many bytes merges may write for each byte of a round's files (T40).
	coldPace = 2
	// coldLength is about how long cold files become by merging.
	coldLength = 4 << 20
)

// demotion is a round.
type demotion struct {
	picker
	tier    *tier // that stands; nil: none
	limit   int64
	bytes   int64 // of records that were taken, with what they take besides
	live    int64 // of those that were taken
	arena   []byte
	records []cold.Record
	hashes  []uint64 // of the chains whose entries may have to be cleared
}

// demoteIfDue demotes the oldest part of the log when the index is full (relief.go), and when there is more of it than
// Options.ColdAfter. It stops between two rounds when somebody wants to restore the store, and when that closes.
func (s *Store) demoteIfDue(ctx context.Context) error {
	defer s.relief.rest()
	for rounds := 0; s.check() == nil; rounds++ {
		target, due := s.demotionTarget()
		if !due {
			return nil
		}
		if rounds == maxRounds {
			s.kickMaintenance() // there is other work to do
			return nil
		}
		s.mergeDeepTier(ctx)
		more, err := s.demoteOnce(ctx, target)
		if err != nil {
			s.relief.failed()
		}
		if err != nil || !more {
			return err
		}
		s.relief.turned()
	}
	return nil
}

// demotionTarget returns up to where the log is to be demoted now, if it is.
func (s *Store) demotionTarget() (target uint64, due bool) {
	l := s.ledger.Lineage()
	if !demotable(l.Parent) {
		return 0, false
	}
	begin := max(l.Begin(), s.ledger.EmptyBelow())
	if target, due = s.keepTarget(l, begin); due {
		return target, true
	}
	return s.reliefTarget(begin)
}

// keepTarget is demotionTarget for Options.ColdAfter.
func (s *Store) keepTarget(l *ledger.Lineage, begin uint64) (target uint64, due bool) {
	keep := s.opts.ColdAfter
	if keep <= 0 {
		return 0, false
	}
	extents := l.Extents(s.log.Tail())
	log := int64(0)
	for _, e := range extents {
		log += int64(max(e.End, begin) - max(e.Start, begin))
	}
	// An eighth more than that is to be kept, so that there is something to do.
	if log <= keep+keep/8 {
		return 0, false
	}
	for i := len(extents) - 1; i >= 0 && keep >= 0; i-- {
		e := extents[i]
		if n := int64(e.End - e.Start); n <= keep {
			keep -= n
			target = e.Start
			continue
		}
		target, keep = e.End-uint64(keep), -1
	}
	target = min(target, s.log.SafeReadOnly()) // above it records change
	return target, target > begin
}

// demoteTo demotes the log below target.
func (s *Store) demoteTo(ctx context.Context, target uint64) error {
	for {
		s.mergeDeepTier(ctx)
		if more, err := s.demoteOnce(ctx, target); err != nil || !more {
			return err
		}
	}
}

// mergeDeepTier merges cold files until fewer than maxColdDepth of them are over each hash, before a round of demotion puts
// another one over all hashes (T39). From manyColdFiles on it does one merge before each round, so that no round has to wait
// for many. When a merge fails, the round begins all the same: it finds out itself whether the disk takes its files.
func (s *Store) mergeDeepTier(ctx context.Context) {
	damaged := map[uint64]bool{}
	least := manyColdFiles
	for more := true; more && s.cold.depth() >= least && ctx.Err() == nil && s.check() == nil; least = maxColdDepth {
		var err error
		if more, err = s.mergeColdOnce(damaged, true); err != nil && s.check() == nil {
			s.logger.Warn("cold files not merged", "err", err)
		}
	}
}

// demoteOnce does a round. more tells that there is log below target left, and that a round now would get on.
func (s *Store) demoteOnce(ctx context.Context, target uint64) (more bool, err error) {
	s.compactor.running.Lock()
	defer s.compactor.running.Unlock()
	if err := s.check(); err != nil {
		return false, err
	}
	began := time.Now()
	hold, _ := s.hold("a demotion")
	defer hold.Release()
	if !demotable(hold.Parent) || s.cold.scanned() {
		return false, nil
	}
	// Above that records change, and there may be some that are not whole yet.
	target = min(target, s.log.SafeReadOnly())
	from := max(hold.Begin(), s.ledger.EmptyBelow())
	if from >= target {
		return false, nil
	}
	d := s.newDemotion()
	defer d.close()
	end, err := d.collect(ctx, hold.Extents(target), from, target)
	if err != nil {
		return false, err
	}
	switched, err := d.write(ctx, end)
	if err != nil || !switched {
		return false, err
	}
	s.cold.demoted.Add(d.live)
	s.events.compacted(end, d.live, time.Since(began))
	s.background.merges.Wake()
	return end < target, nil
}

func (s *Store) newDemotion() *demotion {
	d := &demotion{picker: s.newPicker(), tier: s.cold.held()} // a merge may replace it meanwhile, and nobody else keep its files
	d.take = d.copy
	if keep := s.opts.ColdAfter; keep > 0 && s.log.Tail()-d.s.log.Begin() > 2*uint64(keep) {
		d.pace.haste = func() bool { return true }
	}
	share := int64(demotionShare)
	if s.relief.hurried.Load() || s.cold.crowded() {
		share = hurriedShare
	}
	d.limit = min(max(s.memory.limit()/share, minDemotion), maxDemotion)
	d.probes.Limit = int(d.limit / 2) // the more that are answered together, the fewer reads it takes
	d.records = make([]cold.Record, 0, d.limit/(recordOverhead+word.Align))
	d.hashes = make([]uint64, 0, cap(d.records))
	s.memory.cold.Add(d.reserved())
	s.log.Kick()
	return d
}

func (d *demotion) close() {
	d.picker.close()
	d.tier.release()
	d.s.memory.cold.Add(-d.reserved())
}

// reserved returns what a round takes of the memory: a quarter more than its records, to write them.
func (d *demotion) reserved() int64 { return d.limit + d.limit/4 }

// collect takes the records of the log between from and to that are the newest of their keys, until it has enough. It returns
// the end of the log that it has gone over.
func (d *demotion) collect(ctx context.Context, extents []checkpoint.Extent, from, to uint64) (end uint64, err error) {
	w := d.walker()
	defer w.Close()
	for _, e := range extents {
		start := max(e.Start, from)
		if start >= to {
			break
		}
		if start >= e.End {
			continue
		}
		skip := view.Skip(e)
		stopped := false
		err := d.pace.walk(ctx, w, start, e.End, func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if stopped = uint64(a) >= to || d.bytes+d.held() >= d.limit; stopped {
				to = uint64(a) // the end of what is empty must be the start of a record
				return false, nil
			}
			if skip(a, rec) {
				return true, nil
			}
			return true, d.visit(ctx, a, rec, sh)
		})
		if err != nil {
			return 0, err
		}
		if !stopped && to < e.End {
			to = e.End // there was no record behind it
		}
	}
	return to, d.flush(ctx)
}

// held returns what the records take that are held back.
func (d *demotion) held() int64 {
	return int64(d.probes.Held())
}

// copy takes a record. A tombstone that has nothing below it hides nothing.
func (d *demotion) copy(_, _ word.Address, rec record.Bytes, sh record.Shape) error {
	key, value := rec.Key(sh), rec.Value(sh)
	d.bytes += int64(len(key) + len(value) + recordOverhead)
	h := d.s.hash(key)
	d.hashes = append(d.hashes, h)
	tombstone := rec.State().Tombstone()
	if tombstone && d.tier == nil {
		return nil
	}
	r := cold.Record{Order: index.Order(h), Key: d.keep(key), Tombstone: tombstone}
	if !tombstone {
		r.Value = d.keep(value)
		d.live += int64(sh.Size)
	}
	d.records = append(d.records, r)
	return nil
}

const arenaChunk = 64 << 10

// keep returns a copy of b.
func (d *demotion) keep(b []byte) []byte {
	if len(b) > cap(d.arena)-len(d.arena) {
		d.arena = make([]byte, 0, max(arenaChunk, len(b)))
	}
	n := len(d.arena)
	d.arena = append(d.arena, b...)
	return d.arena[n:len(d.arena):len(d.arena)]
}

// write makes files of what was taken of the log below end, and switches the tier; switched is false when a scan, or a cut that
// is being taken, keeps it from that.
func (d *demotion) write(ctx context.Context, end uint64) (switched bool, err error) {
	s := d.s
	from := word.FirstAddress
	if d.tier != nil {
		from = d.tier.Begin()
	}
	cold.SortRecords(d.records)
	w := s.disk.NewWriter(ledger.Demotion, nil)
	refs, err := cold.Write(ctx, s.cold.config(w, d.pace), from, word.Address(end), d.records)
	if err == nil {
		err = w.Durable()
	}
	if err != nil {
		return false, errors.Join(s.cold.fault(err), w.Drop())
	}
	d.records = nil
	t, err := s.cold.openTier(d.tier.with(refs), d.tier.generation()+1)
	if err != nil {
		return false, errors.Join(err, w.Drop())
	}
	old, switched, err := d.switchTo(t, w, refs)
	if !switched {
		return false, err
	}
	s.disk.Earn(coldPace * index.Shares(refs).Bytes())
	s.epochs.Synchronize()      // whoever may have seen the tier before has left
	s.clearBelow(end, d.hashes) // (T29)
	old.release()
	return true, err
}

// with returns the files of the tier and others besides.
func (t *tier) with(refs []index.ShareRef) index.Shares {
	if t == nil {
		return refs
	}
	return t.Refs().Add(refs...)
}

// switchTo makes t the tier that stands, but for merges that have come in between (T26). If it does not, it lets go of t.
func (d *demotion) switchTo(t *tier, w *shares.Writer, refs []index.ShareRef) (old *tier, switched bool, err error) {
	s := d.s
	defer func() {
		if !switched {
			t.release()
		}
	}()
	if !s.lockBetweenCuts() {
		return nil, false, w.Drop()
	}
	defer s.cutMu.Unlock()
	c := &s.cold
	c.changing.Lock()
	defer c.changing.Unlock()
	if err := s.check(); err != nil {
		return nil, false, errors.Join(err, w.Drop())
	}
	if now := c.standing.Load(); now != d.tier { // merges came in between
		merged, err := c.openTier(now.with(refs), t.Generation())
		if err != nil {
			return nil, false, errors.Join(err, w.Drop())
		}
		t.release()
		t = merged
	}
	end := uint64(t.Begin())
	published, err := w.Claim.Publish(func() bool {
		var ok bool
		old, ok = c.install(t, true)
		return ok
	})
	if !published {
		return nil, false, err
	}
	s.ledger.Emptied(end)
	s.compactor.clears(end)
	c.size()
	return old, true, err
}

// lockBetweenCuts takes cutMu at a moment when no cut is being taken. ok is false where it must not wait for one.
func (s *Store) lockBetweenCuts() (ok bool) {
	for {
		s.cutMu.Lock()
		p := s.ledger.Newest()
		if p == nil || closed(p.Cutting())() {
			return true
		}
		s.cutMu.Unlock()
		if s.background.work() != nil {
			return false
		}
		<-p.Cutting()
	}
}

// clears notes that entries that lead to log below begin are missing in the index.
func (c *compactState) clears(begin uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cleared = max(c.cleared, begin)
}

// config says how cold files are written.
func (c *coldTier) config(w *shares.Writer, p *pace) cold.MergeConfig {
	return cold.MergeConfig{Order: c.order, MaxBytes: shares.MaxBytes, Create: w.Create, Wait: p.turn}
}

// mergeColdOnce does the merge that is most worth while, if one is, and if it is urgent or what merges may write is enough for it
// (T40). Files in damaged take no part. The caller holds no lock: a merge that is under way is waited for.
func (s *Store) mergeColdOnce(damaged map[uint64]bool, urgent bool) (more bool, err error) {
	c := &s.cold
	c.merging.Lock()
	defer c.merging.Unlock()
	if err := s.check(); err != nil {
		return false, err
	}
	t := c.held()
	if t == nil {
		return false, nil
	}
	defer t.release()
	length := c.mergeLength(t)
	m, ok := t.Refs().NextMerge(length, damaged, index.Known{})
	if !ok || !urgent && !s.affords(m, length) {
		return false, nil
	}
	var reads []uint64
	var inputs []*cold.Share
	for _, r := range m.Inputs {
		reads = append(reads, r.ID)
		for _, f := range t.files {
			if f.share.Ref() == r {
				inputs = append(inputs, f.share)
			}
		}
	}
	w := s.disk.NewWriter(ledger.Merge, reads)
	cfg := c.config(w, s.newPace(c.crowded))
	cfg.DropTombstones = m.From == word.FirstAddress // T24
	refs, err := cold.Merge(s.life.Context(), cfg, m, inputs)
	if err == nil {
		err = w.Durable()
	}
	if err != nil {
		var e *cold.CorruptError
		if errors.As(err, &e) && !damaged[e.Share] {
			damaged[e.Share], more = true, true // whoever needs it will tell
		}
		return more, errors.Join(c.fault(err), w.Drop())
	}
	s.disk.Spend(index.Shares(refs).Bytes())
	return c.merge(w, m.Inputs, refs)
}

// affords reports whether a merge of cold files that nobody waits for may begin now (T40). length is what NextMerge takes for
// coldLength bytes.
func (s *Store) affords(m index.Merge, length int64) bool {
	if s.copies.mirror == nil || s.cold.crowded() {
		return true
	}
	return s.disk.Afford(m.Bytes * coldLength / max(length, 1))
}

// crowded reports whether lookups have so many files to ask that merges are urgent.
func (c *coldTier) crowded() bool { return c.depth() >= manyColdFiles }

// mergeLength returns what NextMerge takes for about coldLength bytes of records like those of t.
func (c *coldTier) mergeLength(t *tier) int64 {
	var records, bytes int64
	for _, r := range t.Refs() {
		records, bytes = records+r.Triples, bytes+r.Bytes
	}
	return index.MergeBytes(coldLength / max(bytes/max(records, 1), 1))
}

// merge puts what was merged in the place of what it was merged from, in the tier that stands by now.
func (c *coldTier) merge(w *shares.Writer, inputs, refs []index.ShareRef) (more bool, err error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	now := c.standing.Load()
	if now == nil || slices.ContainsFunc(inputs, func(r index.ShareRef) bool { return !slices.Contains(now.Refs(), r) }) {
		return now != nil, w.Drop() // the store was restored, to another tier
	}
	t, err := c.openTier(now.with(refs), now.Generation())
	if err != nil {
		return false, errors.Join(err, w.Drop())
	}
	published, err := w.Claim.Publish(func() bool {
		c.install(t, false)
		return true
	})
	if !published {
		t.release()
		return false, err
	}
	for _, r := range refs {
		c.merged.Add(r.Bytes)
	}
	c.size()
	c.s.epochs.Synchronize()
	now.release()
	return true, err
}
