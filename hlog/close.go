package hlog

import "errors"

// Close commits a last version if anything has changed since the newest one, and releases everything. Operations
// that are under way finish or return ErrClosed; nobody is waited for who is not inside one. Closing twice returns
// ErrClosed.
//
// When the last version cannot be committed Close says so and releases everything all the same: the directory then
// opens at the version before.
func (s *Store) Close() error {
	s.cutMu.Lock()
	defer s.cutMu.Unlock()
	if err := s.check(); err != nil {
		return err
	}
	s.settleCut()
	s.gate(closedBit, 0)
	s.epochs.Synchronize() // no operation changes anything from here on
	err := s.lastVersion()
	s.cancel()
	s.commits.close()
	s.log.stopPager()
	s.workers.Wait()
	s.copies.finish()
	s.closeViews()
	openedIndex{s.index(), s.imageFile}.Close()
	s.epochs.Close()
	return errors.Join(err, s.log.free(), s.segments.close(), s.unlock())
}

// lastVersion waits for the checkpoints that are under way and commits what they do not hold. The caller holds
// cutMu, and no operation runs.
func (s *Store) lastVersion() error {
	s.commits.drain()
	if s.readOnly {
		return nil
	}
	if s.changed() {
		p, err := s.beginLocked(checkpointOptions{})
		if err != nil {
			return err
		}
		s.commits.drain()
		if p.err != nil {
			return p.err
		}
	}
	s.images.wait()
	s.writeImageIfDue()
	return nil
}
