package hlog

import (
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// patientSync syncs files that nobody waits for.
type patientSync struct {
	mu    lock.Mutex[lock.SyncAside] // one at a time
	queue *fsx.Queue
	done  []*fsx.Request // of mu
}

// syncAside syncs an image or a run. A sync of the file itself would keep a processor from operations as long as the disk
// takes.
func (s *Store) syncAside(f fsx.File) error {
	if s.life.Phase().Ends() {
		return f.Sync() // there are no operations
	}
	p := &s.disk.patient
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &fsx.Request{File: f, Sync: true}
	p.queue.Submit([]*fsx.Request{r})
	p.done = p.queue.Wait(p.done[:0], 0)
	for pause := minSyncPause; len(p.done) == 0; pause = min(2*pause, maxSyncPause) {
		time.Sleep(pause) // not in the kernel, which would keep the processor
		p.done = p.queue.Wait(p.done, 0)
	}
	return r.Err
}

// How long syncAside sleeps before it looks again.
const (
	minSyncPause = 200 * time.Microsecond
	maxSyncPause = time.Millisecond // a commit may wait for a run
)
