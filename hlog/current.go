package hlog

import "github.com/hybridlog/hybridlog/checkpoint"

// Current describes the version that the store has gone on from: the one committed last, or the one that Restore went
// back to. ok is false before the first.
func (s *Store) Current() (info checkpoint.Info, ok bool) {
	if s.unfilled() {
		return s.fill.info, true
	}
	m := s.current()
	if m == nil {
		return checkpoint.Info{}, false
	}
	info, err := s.ledger.Info(m.Version)
	return info, err == nil
}
