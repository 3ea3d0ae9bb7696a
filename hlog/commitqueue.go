package hlog

import "sync"

// commitQueue hands checkpoints to the commit loop in the order in which they began. The zero value is ready.
type commitQueue struct {
	mu      sync.Mutex
	cond    *sync.Cond
	waiting []*PendingCheckpoint
	busy    bool // one that was popped is being committed
	closed  bool
}

func (q *commitQueue) condition() *sync.Cond {
	if q.cond == nil {
		q.cond = sync.NewCond(&q.mu)
	}
	return q.cond
}

func (q *commitQueue) push(p *PendingCheckpoint) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, p)
	q.condition().Broadcast()
}

// pop waits for the next checkpoint and returns it; nil when the queue is closed and empty. Asking for the next one
// says that the one before is dealt with.
func (q *commitQueue) pop() *PendingCheckpoint {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = false
	q.condition().Broadcast()
	for len(q.waiting) == 0 {
		if q.closed {
			return nil
		}
		q.condition().Wait()
	}
	p := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.busy = true
	return p
}

// dealt says that the checkpoint that was popped last is dealt with.
func (q *commitQueue) dealt() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = false
	q.condition().Broadcast()
}

// idle reports whether every checkpoint that was pushed is dealt with.
func (q *commitQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0 && !q.busy
}

// drain returns when every checkpoint that was pushed is dealt with.
func (q *commitQueue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 || q.busy {
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
