package hlog

import "sync"

// commitQueue hands checkpoints to the commit loop in the order in which they began. The zero value is ready.
type commitQueue struct {
	mu      sync.Mutex
	cond    *sync.Cond
	waiting []*PendingCheckpoint
	busy    *PendingCheckpoint // popped and being committed, or nil
	closed  bool
}

func (q *commitQueue) condition() *sync.Cond {
	if q.cond == nil {
		q.cond = sync.NewCond(&q.mu)
	}
	return q.cond
}

// push adds p. begin sets p.from; what commonEnd returns meanwhile would be wrong, so it waits.
func (q *commitQueue) push(p *PendingCheckpoint, begin func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	begin()
	q.waiting = append(q.waiting, p)
	q.condition().Broadcast()
}

// pop waits for the next checkpoint and returns it; nil when the queue is closed and empty. Asking for the next one
// says that the one before is dealt with.
func (q *commitQueue) pop() *PendingCheckpoint {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = nil
	q.condition().Broadcast()
	for len(q.waiting) == 0 {
		if q.closed {
			return nil
		}
		q.condition().Wait()
	}
	p := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.busy = p
	return p
}

// dealt says that the checkpoint that was popped last is dealt with.
func (q *commitQueue) dealt() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = nil
	q.condition().Broadcast()
}

// commonEnd returns an address below which all log belongs to every version that is committed from now on, unless the
// store is taken back: the tail, or where it was when the oldest checkpoint began that is not committed.
func (q *commitQueue) commonEnd(tail func() uint64) uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.busy != nil:
		return q.busy.from
	case len(q.waiting) > 0:
		return q.waiting[0].from
	}
	return tail()
}

// idle reports whether every checkpoint that was pushed is dealt with.
func (q *commitQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0 && q.busy == nil
}

// drain returns when every checkpoint that was pushed is dealt with.
func (q *commitQueue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 || q.busy != nil {
		q.condition().Wait()
	}
}

// close lets pop return nil once the queue is empty.
func (q *commitQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.condition().Broadcast()
}
