package hlog

import (
	"runtime"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// patientWait returns how many requests of a queue to wait for at the least, in a loop that waits for one: none at first,
// then none after others have had the processor, which a wait in the kernel would keep from them, and then one, since
// nobody wants it.
func patientWait(tries int) (least int) {
	switch tries {
	case 0:
		return 0
	case 1:
		runtime.Gosched()
		return 0
	}
	return 1
}

// patientSync syncs files that nobody waits for.
type patientSync struct {
	mu    sync.Mutex // one at a time
	queue *fsx.Queue
	done  []*fsx.Request // of mu
}

// syncAside syncs an image or a run. A sync of the file itself would keep a processor from operations as long as the disk
// takes.
func (s *Store) syncAside(f fsx.File) error {
	if s.log.gone.Load() {
		return f.Sync() // the store closes: there are no operations
	}
	p := &s.patient
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
	maxSyncPause = 5 * time.Millisecond
)
