package fsx

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/invariant"
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
// where there is one that takes them; for the others of files of OS there are a few goroutines, those of the process
// (see [AIO]). Those of any other File are done one after the other, each by one ReadAt, WriteAt or Sync: a double that
// counts, fails or holds calls sees reads and writes within Submit, in its order, and syncs as late as may be, when somebody
// waits or looks for what has ended: one that has only begun has made nothing durable. What is under way has no order.
//
//	F6  A file and a buffer stay in use until the kernel has said that it is done with them. A file that is closed
//	    meanwhile keeps its descriptor until then, so that no read ever reaches a file that got its number later.
//	F7  What a queue counts as under way has been taken by the kernel, or by a goroutine, and will end: Wait waits
//	    for nothing else.
//	F10 A context of the kernel belongs to one queue from its borrowing to its return, and is returned when nothing is
//	    inside, nothing waits for room, and nobody is giving it something. So an event of it is about a request of the
//	    queue that has it.
//
// Submit may be called from any goroutine, and while another one waits; Wait by one goroutine at a time.
type Queue struct {
	of        Queues
	depth     int
	submitMu  sync.Mutex // one batch at a time goes to the kernel
	submitted []*Request // of submitMu

	mu         sync.Mutex
	change     sync.Cond
	kernel     atomic.Pointer[kernelQueue] // written under mu: borrowed, else nil (F10)
	submitting bool                        // of mu: somebody may be giving the kernel something
	done       []*Request                  // of mu: ended, not yet returned by Wait
	late       []*Request                  // of mu: syncs of files that are not of OS, which Wait does
	backlog    []*Request                  // of mu: for the kernel, as soon as it has room
	pooled     int                         // of mu: requests that the helpers have or will take
	inside     int                         // of mu: requests that the kernel has, less those of a batch that it is just taking
}

// Async reports whether requests of the queue are under way in the kernel: not when the kernel has refused that when it
// was asked last, nor when other queues have all that the process takes.
func (q *Queue) Async() bool {
	a := q.of.AIO
	return q.kernel.Load() != nil || a.free.Load() > 0 || a.made.Load() < maxContexts && a.refused.Load() == nil
}

// Takes reports whether it is worth giving the queue a request rather than doing it by a plain call: it is Async, or the
// kernel may be asked again.
func (q *Queue) Takes() bool {
	if q.kernel.Load() != nil || q.of.AIO.may() {
		return true
	}
	q.tell()
	return false
}

// tell tells the owner of a refusal.
func (q *Queue) tell() {
	if r := q.of.AIO.refused.Load(); r != nil && q.of.Refused != nil && kernelQueues {
		q.of.Refused(r.err)
	}
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
			q.direct(r)
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
		if r.Sync || o.direct.Load() {
			batch = append(batch, r)
			continue
		}
		q.pool(r)
	}
	q.submit(batch)
	clear(batch)
	q.submitted = batch[:0]
}

// direct does a request for a file that is not of OS, or leaves it to Wait.
func (q *Queue) direct(r *Request) {
	if r.Sync {
		q.mu.Lock()
		q.late = append(q.late, r)
		q.mu.Unlock()
		return
	}
	r.directly()
	q.finish(r)
}

// doLate does the syncs that were left to Wait, and reports whether there were any.
func (q *Queue) doLate() bool {
	q.mu.Lock()
	late := q.late
	q.late = nil
	q.mu.Unlock()
	for _, r := range late {
		r.directly()
		q.finish(r)
	}
	return len(late) > 0
}

// submit gives requests to the kernel, those that found no room before first, or to the helpers if it has no context. The
// caller holds submitMu.
func (q *Queue) submit(batch []*Request) {
	if len(batch) == 0 {
		return
	}
	if !q.beginSubmitting() {
		for _, r := range batch {
			q.pool(r)
		}
		return
	}
	q.mu.Lock()
	q.backlog = append(q.backlog, batch...)
	q.mu.Unlock()
	q.submitBacklog()
	q.endSubmitting()
}

// beginSubmitting sees to it that the queue has a context, and keeps it until endSubmitting. false when there is none to be
// had. The caller holds submitMu.
func (q *Queue) beginSubmitting() bool {
	q.mu.Lock()
	q.submitting = q.kernel.Load() != nil
	has := q.submitting
	q.mu.Unlock()
	if has {
		return true
	}
	k := q.of.AIO.borrow()
	if k == nil {
		q.tell()
		return false
	}
	q.mu.Lock()
	q.submitting = true
	q.kernel.Store(k)
	q.mu.Unlock()
	return true
}

func (q *Queue) endSubmitting() {
	q.mu.Lock()
	q.submitting = false
	k := q.takeIdle()
	q.mu.Unlock()
	if k != nil {
		q.of.AIO.giveBack(k)
	}
}

// takeIdle takes the context from the queue if nothing needs it (F10), for the caller to give back. The caller holds mu.
func (q *Queue) takeIdle() *kernelQueue {
	k := q.kernel.Load()
	if k == nil || q.submitting || q.inside != 0 || len(q.backlog) > 0 {
		return nil
	}
	if invariant.Enabled {
		invariant.Check(k.idle(), "F10: a context is returned with requests inside")
	}
	q.kernel.Store(nil)
	return k
}

// submitBacklog gives the kernel as much of the backlog as it has room for. One that it refuses is done in the
// plain way, which also has the right error. The caller holds submitMu, and is between beginSubmitting and endSubmitting.
func (q *Queue) submitBacklog() {
	k := q.kernel.Load()
	for {
		q.mu.Lock()
		n := k.prepare(q.backlog, q.depth)
		if n > 0 {
			q.backlog = dropFront(q.backlog, n)
		}
		q.mu.Unlock()
		if n == 0 {
			return
		}
		for n > 0 {
			taken := k.submit()
			refused := (*Request)(nil)
			q.mu.Lock()
			q.inside += taken
			if taken == 0 {
				taken, refused = 1, k.takeBack()
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

// pool has a helper do a request.
func (q *Queue) pool(r *Request) {
	q.mu.Lock()
	q.pooled++
	q.mu.Unlock()
	q.of.AIO.help(q, r)
}

// helped says that a helper has done a request.
func (q *Queue) helped(r *Request) {
	q.letGo(r)
	q.mu.Lock()
	q.pooled--
	q.done = append(q.done, r)
	q.mu.Unlock()
	q.change.Signal()
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
			if (missing > 0 || len(done) == had) && q.doLate() {
				continue
			}
			return done
		}
	}
}

// reap takes what the kernel has finished, waiting for atLeast requests that are inside.
func (q *Queue) reap(done []*Request, atLeast int) []*Request {
	from := len(done)
	k := q.kernel.Load() // it stays while something is inside
	n := k.wait(atLeast)
	q.mu.Lock()
	for i := range n {
		done = append(done, k.event(i))
	}
	q.inside -= n
	waiting := len(q.backlog) > 0
	idle := q.takeIdle()
	q.mu.Unlock()
	if idle != nil {
		q.of.AIO.giveBack(idle)
	}
	for _, r := range done[from:] {
		r.conclude()
		q.letGo(r)
	}
	if waiting && n > 0 {
		q.submitMu.Lock()
		if q.beginSubmitting() { // it has a context as long as there is a backlog
			q.submitBacklog()
			q.endSubmitting()
		}
		q.submitMu.Unlock()
	}
	return done
}

// Idle reports whether nothing is under way and nothing waits to be returned by Wait.
func (q *Queue) Idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inside == 0 && q.pooled == 0 && len(q.done) == 0 && len(q.backlog) == 0 && len(q.late) == 0
}

// Close waits for the requests that are under way and drops their results. Nobody may call Submit or Wait meanwhile; a
// queue that is used again afterwards has to be closed again.
func (q *Queue) Close() {
	var done []*Request
	for !q.Idle() {
		done = q.Wait(done[:0], q.depth)
	}
}
