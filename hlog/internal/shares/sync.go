package shares

import (
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// asideSync syncs files that nobody waits for.
type asideSync struct {
	mu    lock.Mutex[lock.SyncAside] // one at a time
	queue *fsx.Queue
	done  []*fsx.Request // of mu
}

// syncAside syncs an image or a run. A sync of the file itself would keep a processor from operations as long as the disk
// takes.
func (f *Files) syncAside(file fsx.File) error {
	if f.Life.Phase().Ends() {
		return file.Sync() // there are no operations
	}
	p := &f.aside
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &fsx.Request{File: file, Sync: true}
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
