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

// collect removes the files that no version and nobody else needs. One collection runs at a time, and none during a
// restore.
func (s *Store) collect() error {
	s.purgeMu.Lock()
	defer s.purgeMu.Unlock()
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	live := s.inUse()
	orphans, err := s.versions.Orphans(live)
	if err != nil || len(orphans) == 0 {
		return err
	}
	segments := map[string]uint64{}
	numbers, err := s.segmentNumbers()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		segments[s.versions.SegmentPath(n)] = n
	}
	for _, o := range orphans {
		if n, ok := segments[o.Path]; ok {
			s.segments.forget(n)
		}
	}
	gone, err := s.versions.Collect(live)
	var files int // segments; the others are images
	var bytes int64
	for _, o := range gone {
		s.counters.reclaimedBytes.Add(o.Bytes)
		if _, ok := segments[o.Path]; ok {
			files, bytes = files+1, bytes+o.Bytes
		}
	}
	s.events.segmentsFreed(files, bytes)
	return err
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
