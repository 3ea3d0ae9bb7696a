package hlog

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// maintain does one round, unless the store is closing.
func (s *Store) maintain() {
	if s.check() != nil {
		return
	}
	s.clearEntries()
	s.writeImageIfDue()
	if err := s.nameIndex(); err != nil { // a commit that was under way when an image was finished does not name it
		s.logger.Warn("the current version does not name the newest index image", "err", err)
	}
	if err := s.retain(); err != nil {
		s.logger.Error("retention", "err", err)
	}
	if !s.opts.NoCompaction {
		if err := s.compactIfDue(s.life.Context()); err != nil && s.check() == nil {
			s.logger.Error("compaction", "err", err)
		}
	}
	s.collectOrLog()
}

func (s *Store) collectOrLog() {
	if err := s.collect(); err != nil {
		s.logger.Error("collection of files", "err", err)
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
	gone, err := s.collectLocked()
	var files int // segments; the others are images and runs
	var bytes int64
	for _, o := range gone {
		s.counters.reclaimedBytes.Add(o.Bytes)
		if filepath.Dir(o.Path) == s.versions.LogPath() {
			files, bytes = files+1, bytes+o.Bytes
		}
	}
	if len(gone) > 0 {
		s.events.segmentsFreed(files, bytes)
	}
	return err
}

// collectLocked does that. One collection runs at a time, and none during a restore. What is in use is found out before
// what the versions refer to; who begins to use what a version ceases to refer to does so outside (purgeMu, filesMu).
func (s *Store) collectLocked() ([]checkpoint.Orphan, error) {
	s.purgeMu.Lock()
	defer s.purgeMu.Unlock()
	s.filesMu.Lock()
	defer s.filesMu.Unlock()
	return s.versions.Collect(func() (checkpoint.Picture, error) { return s.versions.Picture(s.inUse()) }, s.segments.Forget)
}

// inUse returns what the running store needs although no version refers to it: the log since the newest version, the
// log that scans are reading, and the newest image with its runs.
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
