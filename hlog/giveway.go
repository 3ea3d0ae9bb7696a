package hlog

import (
	"cmp"
	"runtime"
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Somebody waits for a commit, and nobody for most of what runs beside it: the run of the log that it has just written, merges
// of the index, the purge of an old version. With few processors these would keep it waiting several times, whenever it comes
// back from the disk, for the time slice of a goroutine each. So they let it go first.
//
//	R6  Background work that a commit does not wait for begins a piece only while no commit is under way, or after it has
//	    waited for one for maxRest. It holds nothing meanwhile: neither a lock nor a run that was handed out. A run that a
//	    commit wants (index.Disk.Wanted) is begun at once, and so is what operations wait for.

// giveWay returns when the commit that is under way has been decided, if one is, but after maxRest at the latest, and when the
// store closes (R6). Where background work is done step by step it returns at once.
func (s *Store) giveWay() {
	p := s.ledger.Next()
	if p == nil || s.background.work() != nil || s.hurried() {
		return
	}
	s.background.givingWay.Add(1)
	defer s.background.givingWay.Add(-1)
	t := time.NewTimer(cmp.Or(s.opts.giveWay, maxRest))
	defer t.Stop()
	select {
	case <-p.Decided():
	case <-t.C:
	case <-s.life.Context().Done():
	}
}

// hurried reports whether somebody waits for background work, or will if it rests.
func (s *Store) hurried() bool {
	return s.compactor.haste.reasons.Load() > 0 || s.relief.hurried.Load() || s.relief.behind.Load()
}

// politeFile is a file that is written in the background. Others have the processor between two writes: whoever comes back
// from the disk would wait for the end of a time slice else, and a commit comes back several times.
type politeFile struct{ fsx.File }

func (f politeFile) WriteAt(p []byte, off int64) (int, error) {
	runtime.Gosched()
	return f.File.WriteAt(p, off)
}
