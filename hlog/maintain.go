package hlog

import (
	"errors"
	"fmt"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// kickMaintenance asks for a round of housekeeping.
func (s *Store) kickMaintenance() {
	select {
	case s.chores <- struct{}{}:
	default:
	}
}

// maintenanceLoop does, one round at a time, what is not urgent: an index image when one is due, retention,
// compaction, and the removal of files that nothing needs.
func (s *Store) maintenanceLoop() {
	for {
		select {
		case <-s.background.Done():
			return
		case <-s.chores:
		}
		s.clearEntries()
		s.writeImageIfDue()
		if err := s.retain(); err != nil {
			s.logger.Error("retention", "err", err)
		}
		if !s.opts.NoCompaction {
			if err := s.compactIfDue(s.background); err != nil && s.background.Err() == nil {
				s.logger.Error("compaction", "err", err)
			}
		}
		if err := s.collect(); err != nil {
			s.logger.Error("collection of files", "err", err)
		}
	}
}

// retain purges the versions beyond Options.KeepVersions.
func (s *Store) retain() error {
	for _, v := range s.versions.Retain(s.opts.KeepVersions) {
		_, err := s.versions.Purge(v)
		if errors.Is(err, ErrVersionInUse) || errors.Is(err, ErrVersionNotFound) {
			continue // somebody was faster to open it, or to purge it
		}
		if err != nil {
			return fmt.Errorf("purge version %d: %w", v, err)
		}
	}
	return nil
}

// collect removes the files that no version and nobody else needs.
func (s *Store) collect() error {
	gone, err := s.removeOrphans()
	if gone == nil {
		return err
	}
	var bytes int64
	for _, o := range gone {
		bytes += o.Bytes
	}
	s.counters.reclaimedBytes.Add(bytes)
	s.opts.Events.segmentsFreed(len(gone), bytes)
	return err
}

// removeOrphans returns the files that it has removed, nil if there was none to remove. One collection runs at a time.
func (s *Store) removeOrphans() ([]checkpoint.Orphan, error) {
	s.purgeMu.Lock()
	defer s.purgeMu.Unlock()
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	live := s.inUse()
	orphans, err := s.versions.Orphans(live)
	if err != nil || len(orphans) == 0 {
		return nil, err
	}
	segments := map[string]uint64{}
	numbers, err := s.segmentNumbers()
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		segments[s.versions.SegmentPath(n)] = n
	}
	for _, o := range orphans {
		if n, ok := segments[o.Path]; ok {
			s.segments.forget(n)
		}
	}
	return s.versions.Collect(live)
}

// inUse returns what the running store needs although no version refers to it: the log since the newest version, the
// log that scans are reading, and the newest image.
func (s *Store) inUse() checkpoint.Live {
	live := checkpoint.Live{Images: s.images.live()}
	s.commitMu.Lock()
	live.LogFrom = s.committed.start
	if m := s.committed.parent; m != nil {
		live.Log = checkpoint.Log(m.Extents)
	}
	s.commitMu.Unlock()
	s.holdMu.Lock()
	defer s.holdMu.Unlock()
	for from := range s.holds {
		live.Log.Add(from, live.LogFrom)
	}
	return live
}
