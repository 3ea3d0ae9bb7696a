package hlog

import (
	"path/filepath"
)

// maintain does one round, unless the store is closing.
func (s *Store) maintain() {
	if s.check() != nil {
		return
	}
	s.giveWay()
	s.clearEntries()
	if err := s.ledger.RetainWhile(s.opts.KeepVersions, func() bool { return s.check() == nil }); err != nil {
		s.logger.Error("retention", "err", err)
	}
	if err := s.demoteIfDue(s.life.Context()); err != nil && s.check() == nil {
		s.logger.Error("demotion", "err", err)
	}
	if !s.opts.NoCompaction {
		more, err := s.compactIfDue(s.life.Context())
		if err != nil && s.check() == nil && s.compactor.tells(err) {
			s.logger.Error("compaction", "err", err)
		}
		if more {
			s.kickMaintenance()
		}
	}
	s.collectOrLog()
}

func (s *Store) collectOrLog() {
	if err := s.collect(); err != nil {
		s.logger.Error("collection of files", "err", err)
	}
}

// collect removes the files that no version and nobody else needs.
func (s *Store) collect() error {
	gone, err := s.ledger.Collect(s.segments.Forget)
	var files int // segments; the others are of the index
	var bytes int64
	for _, o := range gone {
		s.counters.reclaimedBytes.Add(o.Bytes)
		if filepath.Dir(o.Path) == s.ledger.LogPath() {
			files, bytes = files+1, bytes+o.Bytes
		}
	}
	if len(gone) > 0 {
		s.events.segmentsFreed(files, bytes)
	}
	return err
}

// mergeShares does the merges that are worth while. Those of the index go before each one of cold files: a load that demotes has
// cold files to merge without end, and an opening reads a block of all the index shares that are left.
func (s *Store) mergeShares() {
	damaged := map[uint64]bool{} // cold files that take no part
	merged := false
	for more := true; more && s.check() == nil; {
		s.disk.Merge()
		var err error
		if more, err = s.mergeColdOnce(damaged, false); err != nil && s.check() == nil {
			s.logger.Warn("cold files not merged", "err", err)
		}
		merged = merged || more && err == nil
	}
	if merged {
		s.kickMaintenance() // for the files that nothing needs any more
	}
}
