package hlog

import "github.com/hybridlog/hybridlog/checkpoint"

// Current describes the version that the store has gone on from: the newest one committed, or the one that Restore went
// back to. ok is false before the first.
func (s *Store) Current() (info checkpoint.Info, ok bool) {
	m := s.current()
	if m == nil {
		return checkpoint.Info{}, false
	}
	info, err := s.info(m.Version)
	return info, err == nil
}
