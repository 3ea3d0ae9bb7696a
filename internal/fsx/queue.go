package fsx

import (
	"errors"
	"sync"
)

// Request is one read, write or sync of a file, for a [Queue]. From Submit until Wait has returned it, it and its buffer
// belong to the queue.
type Request struct {
	File  File
	P     []byte // on the heap or off it, never on a stack; aligned as [File] says
	Off   int64
	Write bool
	Sync  bool // neither read nor write, and without P and Off: [File.Sync], of writes that have ended before Submit
	Tag   int  // the caller's

	Owner any // the caller's, too

	// The result, as [File.ReadAt], [File.WriteAt] or [File.Sync] would have returned it.
	N   int
	Err error

	os      *osFile // File, while its descriptor is in use
	changes uint64  // of a sync: what it makes durable
}

// Queue has many reads and writes of files under way at a time, and syncs, without a goroutine or a thread for each.
//
// Those of files of [OS] for which [File.Direct] holds, and syncs of all files of OS, are given to the kernel (Linux AIO),
// where there is one that takes them; for other files of OS there are a few goroutines. Those of any other File are done
// one after the other within Submit, each by one ReadAt, WriteAt or Sync: a double that counts, fails or holds calls sees
// them in the order of Submit. What is under way has no order.
//
//	F6  A file and a buffer stay in use until the kernel has said that it is done with them. A file that is closed
//	    meanwhile keeps its descriptor until then, so that no read ever reaches a file that got its number later.
//	F7  What a queue counts as under way has been taken by the kernel, or by a goroutine, and will end: Wait waits
//	    for nothing else.
//
// Submit may be called from any goroutine, and while another one waits; Wait by one goroutine at a time.
type Queue struct {
	depth     int
	submitMu  sync.Mutex // one batch at a time goes to the kernel
	kernel    kernelQueue
	noKernel  bool // of submitMu: the kernel has refused, once and for all
	submitted []*Request

	mu      sync.Mutex
	change  sync.Cond
	done    []*Request // of mu: ended, not yet returned by Wait
	backlog []*Request // of mu: for the kernel, as soon as it has room
	pending []*Request // of mu: for the goroutines
	workers int        // of mu: goroutines
	pooled  int        // of mu: requests that the goroutines have or will take
	inside  int        // of mu: requests that the kernel has, less those of a batch that it is just taking
}

// queueWorkers is how many goroutines read and write where the kernel has no queue.
const queueWorkers = 32

// NewQueue returns a queue that gives the kernel up to depth requests at a time. It takes nothing from the system before
// the first one that needs it.
func NewQueue(depth int) *Queue {
	q := &Queue{depth: depth}
	q.change.L = &q.mu
	return q
}

// Queued reports whether requests for f gain by a queue.
func Queued(f File) bool {
	_, ok := f.(*osFile)
	return ok
}

// op names the call for errors.
func (r *Request) op() string {
	switch {
	case r.Sync:
		return "sync"
	case r.Write:
		return "write"
	}
	return "read"
}

// directly does a request by one call of its file.
func (r *Request) directly() {
	switch {
	case r.Sync:
		r.Err = r.File.Sync()
	case r.Write:
		r.N, r.Err = r.File.WriteAt(r.P, r.Off)
	default:
		r.N, r.Err = r.File.ReadAt(r.P, r.Off)
	}
}

// plainly does a request whose arguments have been checked and whose file has a use.
func (r *Request) plainly() {
	switch {
	case r.Sync:
		r.N, r.Err = 0, r.os.syncHeld()
	case r.Write:
		r.N, r.Err = r.os.writeAt(r.P, r.Off)
	default:
		r.N, r.Err = r.os.readAt(r.P, r.Off)
	}
}

// held is plainly for a request that may have no use yet, for which it waits, and which was not checked then.
func (r *Request) held() {
	if r.os == nil {
		o := r.File.(*osFile)
		if r.N, r.Err = 0, o.hold(r.op(), true); r.Err != nil {
			return
		}
		r.os = o
		if !r.Sync {
			if r.Err = o.check(r.op(), r.P, r.Off); r.Err != nil || len(r.P) == 0 {
				return
			}
		}
	}
	r.plainly()
}

// Submit begins reads, writes and syncs.
func (q *Queue) Submit(requests []*Request) {
	q.submitMu.Lock()
	defer q.submitMu.Unlock()
	batch := q.submitted[:0]
	for _, r := range requests {
		r.N, r.Err = 0, nil
		o, ok := r.File.(*osFile)
		if !ok {
			r.directly()
			q.finish(r)
			continue
		}
		switch r.Err = o.hold(r.op(), false); {
		case errors.Is(r.Err, errBusy):
			q.pool(r) // nobody waits in here for those that are under way
			continue
		case r.Err != nil:
			q.finish(r)
			continue
		}
		r.os = o
		if r.Sync {
			r.changes, r.Err = o.changes.Load(), o.takeLost()
		} else {
			r.Err = o.check(r.op(), r.P, r.Off)
		}
		if r.Err != nil || !r.Sync && len(r.P) == 0 {
			q.finish(r)
			continue
		}
		if (r.Sync || o.direct.Load()) && q.haveKernel() {
			batch = append(batch, r)
			continue
		}
		q.pool(r)
	}
	q.submit(batch)
	clear(batch)
	q.submitted = batch[:0]
}

// submit gives requests to the kernel, those that found no room before first. The caller holds submitMu.
func (q *Queue) submit(batch []*Request) {
	q.mu.Lock()
	q.backlog = append(q.backlog, batch...)
	q.mu.Unlock()
	q.submitBacklog()
}

// haveKernel makes the kernel's queue if there is none. The caller holds submitMu.
func (q *Queue) haveKernel() bool {
	if q.noKernel || q.kernel.ready() {
		return !q.noKernel
	}
	q.noKernel = q.kernel.open(q.depth) != nil
	return !q.noKernel
}

// submitBacklog gives the kernel as much of the backlog as it has room for. One that it refuses is done in the
// plain way, which also has the right error. The caller holds submitMu.
func (q *Queue) submitBacklog() {
	for {
		q.mu.Lock()
		n := q.kernel.prepare(q.backlog)
		if n > 0 {
			q.backlog = dropFront(q.backlog, n)
		}
		q.mu.Unlock()
		if n == 0 {
			return
		}
		for n > 0 {
			taken := q.kernel.submit()
			refused := (*Request)(nil)
			q.mu.Lock()
			q.inside += taken
			if taken == 0 {
				taken, refused = 1, q.kernel.takeBack()
			}
			q.mu.Unlock()
			n -= taken
			if refused != nil {
				refused.plainly()
				q.finish(refused)
			}
		}
	}
}

// dropFront removes the first n and keeps the memory.
func dropFront(requests []*Request, n int) []*Request {
	m := copy(requests, requests[n:])
	clear(requests[m:])
	return requests[:m]
}

// finish hands a request over to Wait.
func (q *Queue) finish(r *Request) {
	q.letGo(r)
	q.mu.Lock()
	q.done = append(q.done, r)
	q.mu.Unlock()
	q.change.Signal()
}

func (q *Queue) letGo(r *Request) {
	if r.os != nil {
		r.os.unuse()
		r.os = nil
	}
}

// pool has a goroutine do a request.
func (q *Queue) pool(r *Request) {
	q.mu.Lock()
	q.pending = append(q.pending, r)
	q.pooled++
	more := q.workers < queueWorkers
	if more {
		q.workers++
	}
	q.mu.Unlock()
	if more {
		go q.work()
	}
}

// work does requests as long as there are some.
func (q *Queue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pending) > 0 {
		r := q.pending[0]
		q.pending = dropFront(q.pending, 1)
		q.mu.Unlock()
		r.held()
		q.letGo(r)
		q.mu.Lock()
		q.pooled--
		q.done = append(q.done, r)
		q.change.Signal()
	}
	q.workers--
}

// Wait waits until at least atLeast requests have ended, or all that are under way if these are fewer, and appends those
// that have ended to done.
func (q *Queue) Wait(done []*Request, atLeast int) []*Request {
	for had := len(done); ; {
		q.mu.Lock()
		done = append(done, q.done...)
		clear(q.done)
		q.done = q.done[:0]
		missing := atLeast - (len(done) - had)
		inside := q.inside
		switch {
		case inside > 0:
			q.mu.Unlock()
			if missing <= 0 {
				inside = 0 // only look
			}
			if done = q.reap(done, min(max(missing, 0), inside)); missing <= 0 {
				return done
			}
		case missing > 0 && q.pooled > 0:
			for q.pooled > 0 && len(q.done) == 0 && q.inside == 0 {
				q.change.Wait()
			}
			q.mu.Unlock()
		default:
			q.mu.Unlock()
			return done
		}
	}
}

// reap takes what the kernel has finished, waiting for atLeast requests that are inside.
func (q *Queue) reap(done []*Request, atLeast int) []*Request {
	from := len(done)
	n := q.kernel.wait(atLeast)
	q.mu.Lock()
	for i := range n {
		done = append(done, q.kernel.event(i))
	}
	q.inside -= n
	waiting := len(q.backlog) > 0
	q.mu.Unlock()
	for _, r := range done[from:] {
		r.settle()
		q.letGo(r)
	}
	if waiting && n > 0 {
		q.submitMu.Lock()
		q.submitBacklog()
		q.submitMu.Unlock()
	}
	return done
}

// Idle reports whether nothing is under way and nothing waits to be returned by Wait.
func (q *Queue) Idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inside == 0 && q.pooled == 0 && len(q.done) == 0 && len(q.backlog) == 0
}

// Close waits for the requests that are under way, drops their results, and gives everything back. Nobody may call Submit
// or Wait meanwhile, or afterwards.
func (q *Queue) Close() error {
	var done []*Request
	for !q.Idle() {
		done = q.Wait(done[:0], q.depth)
	}
	q.submitMu.Lock()
	defer q.submitMu.Unlock()
	q.noKernel = true
	return q.kernel.close()
}
