package hlog

import "sync"

// commitQueue hands checkpoints to the commit job in the order in which they began. The zero value is ready.
type commitQueue struct {
	mu      sync.Mutex
	cond    *sync.Cond
	waiting []*PendingCheckpoint
	busy    *PendingCheckpoint // popped and being committed, or nil
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

// pop returns the next checkpoint, nil if there is none. Asking for the next one says that the one before is dealt with.
func (q *commitQueue) pop() *PendingCheckpoint {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = nil
	if len(q.waiting) > 0 {
		q.busy, q.waiting = q.waiting[0], q.waiting[1:]
	}
	q.condition().Broadcast()
	return q.busy
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
