package hlog

import (
	"errors"
	"sync"
)

// Close commits a last version if anything has changed since the newest one, and releases everything. Operations that
// are under way finish or return ErrClosed; sessions that are idle, blocked in a callback or forgotten are not waited
// for. Copies for a remote get another 30 seconds. Close must not be called by a callback of Events. A second Close
// returns ErrClosed.
//
// The last version has no cookie, and is committed even if only compaction has moved records since the newest one. An
// application that resumes from cookies therefore commits a version of its own before it closes, and resumes from the
// newest version that has a cookie.
//
// When the last version cannot be committed, Close returns the error and releases everything all the same: the directory
// then opens at the version before.
func (s *Store) Close() error {
	first, err := s.shut()
	if !first {
		return ErrClosed
	}
	s.cancel()
	s.commits.close()
	s.log.StopPager()
	s.tableMu.Lock()
	s.tableShut = true // loading it starts background work: not from here on
	s.tableMu.Unlock()
	s.steps.Rest()
	s.workers.Wait()
	s.copies.finish()
	s.closeViews()
	s.tableMu.Lock()
	openedIndex{s.index(), s.indexFiles}.Close()
	s.tableMu.Unlock()
	s.steps.Rest()
	s.epochs.Close()
	s.cache.Resize(0)
	err = errors.Join(err, together(s.closeCompactor, s.stagings.close, s.log.CloseQueues, s.patient.queue.Close))
	err = errors.Join(err, s.log.Free(), s.segments.Close(), s.unlock())
	s.memory.leave()
	s.events.close()
	return err
}

// together closes several things at a time: the kernel takes its time over each of the queues in them.
func together(closers ...func() error) error {
	errs := make([]error, len(closers))
	var wg sync.WaitGroup
	for i, f := range closers {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// shut lets no operation begin any more and commits the last version; first is false when the store was closed
// before. Whoever waits for a lock that is held here, the background included, finds the store closed.
func (s *Store) shut() (first bool, err error) {
	s.cutMu.Lock()
	defer s.cutMu.Unlock()
	if s.check() != nil {
		return false, nil
	}
	s.settleCut()
	s.log.Shut()
	s.gate(closedBit, 0)
	s.epochs.Synchronize() // no operation changes anything from here on
	return true, s.lastVersion()
}

// lastVersion waits for the checkpoints that are under way and commits what they do not hold. The caller holds
// cutMu, and no operation runs.
func (s *Store) lastVersion() error {
	s.drainCommits()
	if s.readOnly {
		return nil
	}
	if s.changed() {
		p, err := s.beginLocked(checkpointOptions{})
		if err != nil {
			return err
		}
		s.drainCommits()
		if p.local != nil {
			return p.local
		}
	}
	s.images.wait()
	if _, fresh := s.lineage(); s.amends(fresh) { // there are no descendants that could refer to an image or a run
		s.writeImageIfDue()
		s.writeRunsIfDue()
		s.images.wait() // housekeeping may have been faster to begin it, and is interrupted after this
		if err := s.nameIndex(); err != nil {
			s.logger.Warn("the last version does not name the newest index image", "err", err)
		}
	}
	return nil
}
