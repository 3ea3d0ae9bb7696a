package reclog

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// gather does the single reads of many goroutines together: those that ask at about the same time go to the kernel in
// one call, and one goroutine waits for all. A thread for each, which is what a blocking read takes, costs more than the
// read, and keeps the other goroutines from running for as long as the scheduler does not notice.
//
//	reader       queues its read ---> parks ...................... goes on
//	the first    lets others run, submits what they have queued
//	reaper                            waits for the kernel, wakes those whose reads have ended
//
// The reaper exists while reads are under way. A read that is alone or one of plainReads, one of a file that does not gain,
// and one that the kernel would not take is a plain call.
type gather struct {
	queue   *fsx.Queue
	reading atomic.Int64 // reads of either kind under way

	submitMu lock.Mutex[lock.Submit]
	batch    []*fsx.Request // of submitMu
	mu       lock.Mutex[lock.Leaf]
	change   sync.Cond
	queued   []*fsx.Request // of mu: not yet submitted
	leading  bool           // of mu: somebody is going to submit them
	reaping  bool           // of mu
	waiting  int            // of mu: reads that were queued and have not ended
	done     []*fsx.Request // of the reaper
	life     *life.Life     // of the store
}

const (
	// plainReads is up to how many reads at a time are plain calls: two threads that block are as good as the queue, and need
	// nobody to submit their reads and to wake them, which takes as long as half a read of a fast disk.
	plainReads = 2
	// gatherDepth is how many reads the kernel has at a time.
	gatherDepth = 256
)

func newGather(of *life.Life, queues fsx.Queues) *gather {
	g := &gather{queue: queues.New(gatherDepth), life: of}
	g.change.L = &g.mu
	return g
}

// readAt is f.ReadAt for the goroutine that r belongs to.
func (g *gather) readAt(r *Reader, f fsx.File, b []byte, off int64) (int, error) {
	n := g.reading.Add(1)
	defer g.reading.Add(-1)
	if n <= plainReads || !fsx.Queued(f) || !f.Direct() || !g.queue.Takes() {
		return f.ReadAt(b, off)
	}
	if r.ended == nil {
		r.ended = make(chan struct{}, 1)
	}
	r.request = fsx.Request{File: f, P: b, Off: off, Owner: r}
	g.mu.Lock()
	if g.life.Phase().Over() {
		g.mu.Unlock()
		return f.ReadAt(b, off)
	}
	g.queued = append(g.queued, &r.request)
	g.waiting++
	lead := !g.leading
	g.leading = true
	g.mu.Unlock()
	if lead {
		runtime.Gosched() // others who are about to ask come along
		g.submit()
	}
	<-r.ended
	return r.request.N, r.request.Err
}

// submit hands what is queued to the kernel, and sees to it that somebody waits for it.
func (g *gather) submit() {
	g.submitMu.Lock()
	defer g.submitMu.Unlock()
	g.mu.Lock()
	g.queued, g.batch = g.batch[:0], g.queued
	g.leading = false
	g.mu.Unlock()
	g.queue.Submit(g.batch)
	clear(g.batch)
	g.mu.Lock()
	reap := !g.reaping
	g.reaping = true
	g.mu.Unlock()
	if reap {
		go g.reap()
	}
}

// reap wakes those whose reads have ended, until none is under way.
func (g *gather) reap() {
	for {
		g.done = g.queue.Wait(g.done[:0], 1)
		for _, q := range g.done {
			q.Owner.(*Reader).ended <- struct{}{}
		}
		g.mu.Lock()
		g.waiting -= len(g.done)
		if len(g.done) == 0 && g.queue.Idle() {
			g.reaping = false
			g.change.Broadcast()
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		if len(g.done) == 0 {
			runtime.Gosched() // the kernel is just being given a read
		}
	}
}

// close waits for the reads that are under way. The life of the store is over, so that later ones are plain calls.
func (g *gather) close() {
	g.mu.Lock()
	for g.waiting > 0 || g.reaping {
		g.change.Wait()
	}
	g.mu.Unlock()
	g.queue.Close()
}
