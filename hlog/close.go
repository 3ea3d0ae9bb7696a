package hlog

import (
	"errors"

	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
)

// Close commits a last version if anything has changed since the newest one, and releases everything. Operations that
// are under way finish or return ErrClosed; sessions that are idle, blocked in a callback or forgotten are not waited
// for. Copies for a remote get another 30 seconds. Close must not be called by a callback of Events. A second Close
// returns ErrClosed.
//
// ErrRemote says that the last version is durable in the directory, but that the remote is not known to have it as the one
// that another machine would open at.
//
// When the directory is still being filled from the remote, and nothing was written, Close ends the fetch, and the next Open goes
// on with it. If something was written, Close waits until the directory is whole and commits it, which may take long: a version
// holds the state that is being fetched, too, and there is no other form in which writes are durable. When the remote fails, the
// error is ErrRemote and says that this is lost. Abort does not wait, and loses it.
//
// Units that are under way (see Session.Unit) get a second to end. When one does not, no last version is committed, since
// it would hold a part of the unit, and the error is ErrUnitBusy. No unit may therefore close the store.
//
// The last version has the cookie that Options.Cookie returns: no operation runs any more when it is asked. When the function
// does not return within a second, the error is ErrUnitBusy, too, and no last version is committed. Without the option the
// last version has no cookie, unless only compaction has moved records since the newest version, whose cookie it keeps then.
//
// When the last version cannot be committed, Close returns the error and releases everything all the same: the directory
// then opens at the version before.
func (s *Store) Close() error { return s.close(true) }

// Abort is Close without a last version: what is in no checkpoint that has begun is gone, as by a crash, and the directory
// opens at the version before. It is for a worker whose batch has failed halfway, or whose state belongs to another machine by
// now. It waits for checkpoints that have begun, but not for units, for copies to a remote, or for a directory to be filled.
// The errors are those of releasing what the store has; ErrClosed when it was closed before.
func (s *Store) Abort() error { return s.close(false) }

func (s *Store) close(commit bool) error {
	if closed, err := s.closeUnfilled(commit); closed {
		return err
	}
	closing, whole := s.beginClosing(commit)
	if !closing {
		return ErrClosed
	}
	var err error
	if commit {
		err = s.lostEarly()
	}
	if commit && err == nil {
		err = s.lastVersion(whole)
	} else {
		s.stopWriting()
	}
	if s.fill != nil {
		s.fill.early.drop()
	}
	err = errors.Join(err, s.copies.finish(s, commit))
	s.background.pager.Stop()
	s.background.sizing.Stop()
	s.background.prefetch.Stop()
	s.closeViews()
	s.moveTo(life.Closed)
	s.tableMu.Lock() // who uses the index outside the epoch has seen that the store closes, or is waited for here
	shares.Opened{Index: s.index(), Files: s.indexFiles}.Close()
	s.tableMu.Unlock()
	s.background.jobs.End()
	s.epochs.Close()
	s.cache.Resize(0, 0)
	s.cold.close()
	err = errors.Join(err, s.closeCompactor(), s.stagings.close(), s.prefetcher.close())
	s.log.CloseQueues()
	s.disk.Close()
	all := err == nil
	err = errors.Join(err, s.log.Free(), s.segments.Close())
	s.trimLog(all)
	err = errors.Join(err, s.unlock())
	s.memory.leave()
	s.background.events.Finish()
	return err
}

// trimLog gives back the space that the last segment has been given ahead, if all log is committed. What lies beyond the
// committed end is otherwise taken for what a crash left.
func (s *Store) trimLog(committed bool) {
	cut := s.log.Tail()
	if m := s.ledger.Lineage().Parent; !s.writable || !committed || m == nil || m.Cut != cut {
		return
	}
	if err := s.ledger.TrimLog(cut); err != nil {
		s.logger.Warn("the last segment keeps its space", "err", err)
	}
}

// beginClosing lets no operation begin any more; closing is false when the store was closed before. Whoever waits for a lock
// that is held here, the background included, finds the store closed. whole tells that no unit was under way; without a last
// version nobody needs to know.
func (s *Store) beginClosing(commit bool) (closing, whole bool) {
	s.units.closing.Store(true) // who waits for units under cutMu gives up
	lost := s.units.lost.Load()
	s.cutMu.Lock()
	defer s.cutMu.Unlock()
	if s.check() != nil {
		return false, false
	}
	s.awaitCut()
	whole = commit && s.shutUnitsToClose(lost) == nil
	s.moveTo(life.Closing)
	s.epochs.Synchronize() // no operation changes anything from here on
	s.units.End()
	return true, whole
}

// stopWriting stops what writes in the background, and commits the checkpoints that have begun.
func (s *Store) stopWriting() {
	b := &s.background
	b.interval.Stop()
	b.housekeeping.Stop()
	b.runs.Stop()
	b.merges.Stop()
	s.cold.awaitMerge() // of a caller of Compact, who is not waited for elsewhere
	b.commit.Finish()
}

// lastVersion commits the checkpoints that have begun, and then what they do not hold: if that is whole, without a part of a
// unit. No operation runs, and nobody begins a checkpoint or a restore.
func (s *Store) lastVersion(whole bool) error {
	s.stopWriting()
	if !s.writable {
		return nil
	}
	if s.changed() && !whole {
		return ErrUnitBusy
	}
	if s.changed() {
		p, err := s.beginLast()
		if err != nil {
			return err
		}
		s.commitRound()
		if err := p.Failure(); err != nil {
			return err
		}
	}
	if err := s.ledger.Amend(); err != nil { // there are no descendants that could name what was merged since
		s.logger.Warn("the last version does not name the newest index shares", "err", err)
	}
	return nil
}

// beginLast begins the checkpoint of what has changed.
func (s *Store) beginLast() (*ledger.Pending, error) {
	s.cutMu.Lock()
	defer s.cutMu.Unlock()
	return s.beginLocked(checkpointOptions{ask: true}, s.units.patience)
}
