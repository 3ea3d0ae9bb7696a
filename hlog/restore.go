package hlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Restore takes the live store back to version v; 0 is the current one, so that what was written since is
// undone. Other operations wait while it runs, as long as going back over what has changed takes; each takes effect
// either before it, and is undone, or after it. Sessions and tables go on working. When Restore returns nil the rollback
// is durable. No version is lost by it: what was current stays restorable until it is purged, and the next version
// becomes another child of v. A version that only the remote still has is fetched first. With a remote, other machines open
// at v, too, when Restore has returned nil.
//
// A unit (see Session.Unit) is undone whole, or takes effect after the restore as a whole: those under way are waited for.
//
// ErrVersionNotFound when there is no such version, ErrCorrupt when what it needs is damaged; ErrOptions when its log has
// a record that is larger than the pages of this opening, with what it takes to go back; ErrUnitBusy when a unit has not
// ended after a second; ErrReadOnly; ErrClosed; the error of ctx when that ends before the rollback is durable. After an
// error the store is as it was, with one exception: ErrRemote, which comes with the Info, says that the store was rolled back
// here, but not on the remote, where that is tried again before anything else is copied.
func (s *Store) Restore(ctx context.Context, v checkpoint.Version) (checkpoint.Info, error) {
	if err := s.ready(ctx); err != nil {
		return checkpoint.Info{}, err
	}
	if !s.writable {
		return checkpoint.Info{}, ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return checkpoint.Info{}, err
	}
	info, err := s.restoreHere(ctx, v)
	if err != nil {
		return checkpoint.Info{}, err
	}
	if err := s.copies.follow(ctx, info.Version); err != nil {
		return info, fmt.Errorf("%w: rollback to version %d: %w", ErrRemote, info.Version, err)
	}
	return info, nil
}

// restoreHere takes the store and its directory back.
func (s *Store) restoreHere(ctx context.Context, v checkpoint.Version) (checkpoint.Info, error) {
	if v != 0 { // fetched here, so that nobody waits for the remote
		m, err := s.restoreTarget(ctx, v)
		if err != nil {
			return checkpoint.Info{}, fmt.Errorf("hlog: restore version %d: %w", v, err)
		}
		defer s.ledger.Unpin(m.Version)
	}
	lost := s.units.lost.Load()
	defer s.compactor.haste.begin()()
	s.compactor.running.Lock() // a compaction would move records of a log that is no longer current
	defer s.compactor.running.Unlock()
	s.drainCommits() // most of them here, where BeginCheckpoint does not wait for the disk
	s.cutMu.Lock()
	defer s.cutMu.Unlock()
	if err := s.check(); err != nil {
		return checkpoint.Info{}, err
	}
	began := time.Now()
	s.awaitCut()
	s.drainCommits()
	info, err := s.restoreLocked(ctx, v, lost)
	if err != nil {
		return checkpoint.Info{}, fmt.Errorf("hlog: restore version %d: %w", v, err)
	}
	s.events.restored(info, time.Since(began))
	return info, nil
}

// restoreLocked does the work: whatever can fail comes first, then the one durable step, then what cannot fail. The
// caller holds cutMu; no checkpoint is under way.
func (s *Store) restoreLocked(ctx context.Context, v checkpoint.Version, lost int64) (checkpoint.Info, error) {
	m, err := s.restoreTarget(ctx, v)
	if err != nil {
		return checkpoint.Info{}, err
	}
	defer s.ledger.Unpin(m.Version)
	if err := s.checkPages(m); err != nil {
		return checkpoint.Info{}, err
	}
	hold := s.ledger.Hold(m.LiveFuzzy(), "a restore") // a rewind goes through log of the versions since m, which may be purged
	defer hold.Release()
	if err := s.shutUnits(ctx, lost); err != nil {
		return checkpoint.Info{}, err
	}
	s.setControl(pausedBit, 0)
	defer s.setControl(0, pausedBit)
	s.units.Open()         // the first operation of each waits like any other
	s.epochs.Synchronize() // no operation is inside; those that enter wait for the gate
	tail, _ := s.log.AlignTail(0)
	s.log.ShiftReadOnly(tail)

	var apply, discard func()
	var logged []index.Logged                                                                 // the log of m that no run stands for
	rebuild := !s.isAncestor(m) || s.compactor.forgotten(s.log.Begin()) > uint64(logBegin(m)) // K3
	if rebuild {
		apply, discard, err = s.planRebuild(ctx, m, &logged)
	} else {
		if apply, err = s.planRewind(ctx, m, tail); err == nil && s.disk.Tells(m) {
			logged, err = s.loggedBehindRuns(ctx, m)
		}
		discard = func() {} // it is all on the heap
	}
	if err != nil {
		return checkpoint.Info{}, err
	}
	info, err := s.ledger.Info(m.Version)
	if err == nil {
		err = s.ledger.SetHead(m.Version)
	}
	if err != nil {
		discard()
		return checkpoint.Info{}, err
	}
	s.counters.restores.Add(1) // before anything that a scan could trip over
	apply()
	s.goOnFrom(m, tail, rebuild, logged)
	return info, nil
}

// restoreTarget returns version v, 0 for the newest one, pinned. It is fetched if only the remote has it.
func (s *Store) restoreTarget(ctx context.Context, v checkpoint.Version) (*checkpoint.Manifest, error) {
	m, err := s.ledger.Pin(v)
	if !errors.Is(err, ErrVersionNotFound) || s.copies.mirror == nil {
		return m, err
	}
	if err := s.fetch(ctx, v); err != nil {
		return nil, err
	}
	return s.ledger.Manifest(v)
}

// goOnFrom makes m what the next version is made from. What was written after the last commit is abandoned: it never
// has to reach the disk.
func (s *Store) goOnFrom(m *checkpoint.Manifest, tail uint64, rebuilt bool, logged []index.Logged) {
	s.log.Abandon()
	s.log.ForgetTallies()
	s.log.SetBegin(uint64(logBegin(m)))
	s.log.AddLarge(largeRecords(m, tail))
	s.control.Add(1) // an update that read before the restore does not write after it
	s.ledger.GoOn(m, tail, s.counters.compactedBytes.Load())
	if s.disk.Tells(m) {
		s.disk.Log(word.Address(m.Index.Replay()), word.Address(m.Cut), logged)
	}
	s.catchUp(m)
	if rebuilt {
		s.opened.Store(&m.Index)
	}
	s.compactor.reset(uint64(logBegin(m)), rebuilt)
}

// isAncestor reports whether the store has gone on from m, directly or by versions in between, without leaving it.
func (s *Store) isAncestor(m *checkpoint.Manifest) bool {
	c := s.current()
	for c != nil && c.Version > m.Version {
		parent, err := s.ledger.Manifest(c.Parent)
		if err != nil {
			return false // purged: it cannot be told
		}
		c = parent
	}
	return c != nil && c.Version == m.Version
}

// loggedBehindRuns returns what the flusher has told of the log of m that no run of m stands for. m is an ancestor of the
// next version, so that the index on disk still has it in memory if no run was begun since m was committed; only the fuzzy
// end, where records of later versions lie, is read.
func (s *Store) loggedBehindRuns(ctx context.Context, m *checkpoint.Manifest) (logged []index.Logged, err error) {
	collect := func(_, _ uint64, records []index.Logged) error {
		logged = append(logged, records...)
		return nil
	}
	from, fuzzy := max(m.Index.Replay(), uint64(logBegin(m))), m.LiveFuzzy()
	if from < fuzzy {
		if triples, ok := s.disk.Told(word.Address(from), word.Address(fuzzy)); ok {
			logged = make([]index.Logged, 0, len(triples))
			for _, t := range triples {
				logged = append(logged, index.Logged{Triple: t, Version: word.MakeRecordVersion(m.LogVersion)})
			}
			if invariant.Enabled {
				s.checkTold(ctx, m, from, fuzzy, triples)
			}
			from = fuzzy
		}
	}
	if from < m.Cut {
		err = s.readLogged(ctx, m, from, collect)
	}
	return logged, err
}

// checkTold demands that triples are what the log of m has from from to to, if that can be read.
func (s *Store) checkTold(ctx context.Context, m *checkpoint.Manifest, from, to uint64, triples []index.Triple) {
	n := 0
	err := s.readLogged(ctx, m, from, func(_, _ uint64, records []index.Logged) error {
		for _, r := range records {
			if uint64(r.Address()) < to {
				invariant.Check(n < len(triples) && triples[n] == r.Triple, "R4: %d triples of [%#x, %#x), of which number %d is not that of %#x", len(triples), from, to, n, r.Address())
				n++
			}
		}
		return nil
	})
	invariant.Check(err != nil || n == len(triples), "R4: %d triples of [%#x, %#x), %d records", len(triples), from, to, n)
}

// planRebuild prepares to replace the index by that of a version on another branch, or older than what compaction has
// made the index forget, the way Open would. Until then there are two: one of apply and discard has to be called.
func (s *Store) planRebuild(ctx context.Context, m *checkpoint.Manifest, logged *[]index.Logged) (apply, discard func(), err error) {
	var tell func(from, to uint64, records []index.Logged)
	if s.disk.Tells(m) {
		tell = func(_, _ uint64, records []index.Logged) { *logged = append(*logged, records...) }
	}
	t, err := s.cold.openTier(coldFilesOf(m), s.cold.newest()+1)
	if err != nil {
		return nil, nil, err
	}
	x, err := s.openIndex(ctx, m, s.indexConfig(), tell)
	if err != nil {
		t.release()
		return nil, nil, err
	}
	apply = func() {
		s.cold.replace(t)
		s.interruptIndexWork()
		s.tableMu.Lock()
		old := shares.Opened{Index: s.table.Swap(x.Index), Files: s.indexFiles}
		s.indexFiles = x.Files
		s.tableMu.Unlock()
		old.Close()
		s.background.jobs.Once("warm", step.Other, s.loadRest)
	}
	return apply, func() {
		x.Close()
		t.release()
	}, nil
}

// rewinder finds where the index has to point for a version that the store has gone on from.
type rewinder struct {
	*follower
	s     *Store
	plan  []rewind
	index *index.Index
}

type rewind struct {
	hash uint64
	to   word.Address
}

// planRewind goes over the log written since m and notes for each chain that has changed where it was. It changes
// nothing; apply does. No operation runs meanwhile.
func (s *Store) planRewind(ctx context.Context, m *checkpoint.Manifest, tail uint64) (apply func(), err error) {
	r := &rewinder{follower: s.newFollower(m), s: s, index: s.index()}
	r.known = map[word.Address]older{}
	defer r.guard.Release()
	w := s.log.NewWalker()
	defer w.Close()
	for _, span := range s.ledger.Lineage().Log(r.of.fuzzy, tail) {
		if err := w.Walk(ctx, span.Start, span.End, r.visit); err != nil {
			return nil, err
		}
	}
	if err := r.planEntries(ctx); err != nil {
		return nil, err
	}
	return r.apply, nil
}

// visit notes the hash of a record that does not belong to the version.
func (r *rewinder) visit(a word.Address, rec record.Bytes, sh record.Shape, memory bool) (bool, error) {
	k := rec.Link()
	if r.of.has(a, k.Version()) {
		return true, nil
	}
	if !memory {
		r.known[a] = older{k.Prev(), k.Version()}
	}
	r.plan = append(r.plan, rewind{hash: r.s.hash(rec.Key(sh))})
	return true, nil
}

// planEntries turns the hashes into what their entries have to become.
func (r *rewinder) planEntries(ctx context.Context) error {
	kept := r.plan[:0]
	for i, w := range r.plan {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := r.entry(w.hash)
		if err != nil {
			return err
		}
		to, err := r.target(e.Address())
		if err != nil {
			return err
		}
		if to != e.Address() {
			kept = append(kept, rewind{w.hash, to})
		}
	}
	r.plan = kept
	return nil
}

func (r *rewinder) entry(h uint64) (word.Entry, error) {
	for {
		r.guard.Enter()
		_, e, status := r.index.Find(h)
		r.guard.Exit()
		if status != index.NeedLoad {
			return e, nil
		}
		if err := r.index.Load(h); err != nil {
			return 0, r.s.imageFault(err)
		}
	}
}

// apply points the entries where the plan says. Nobody else uses the index; growth may move entries meanwhile, which
// the retry is for.
func (r *rewinder) apply() {
	g := r.s.epochs.Register()
	defer g.Release()
	for _, w := range r.plan {
		for done := false; !done; {
			g.Enter()
			slot, e, status := r.index.Find(w.hash)
			// Growth leaves entries without a chain behind; one that has to lead somewhere cannot vanish.
			done = status == index.Absent && w.to == word.None || status == index.Found && (uint64(e.Address()) < r.of.fuzzy || e.Address() <= w.to || slot.CompareAndSwap(e, w.to))
			g.Exit()
		}
	}
}

// Purge removes version v from the directory for good, and the files that only it needs. Other versions, and what a
// remote has, are not touched. ErrVersionNotFound when there is no such version, ErrVersionInUse when the store has gone
// on from it or a view reads it; ErrReadOnly; ErrClosed. ctx is looked at only before it begins.
func (s *Store) Purge(ctx context.Context, v checkpoint.Version) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if !s.writable {
		return ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.ledger.Purge(v); err != nil {
		return fmt.Errorf("hlog: purge version %d: %w", v, err)
	}
	return s.collect()
}
