package fsx

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// AIO is what the queues of a process share: contexts of the kernel's asynchronous I/O, and the goroutines for what the
// kernel does not take. A queue borrows a context while it has something inside, so that thousands of queues that are
// idle have none, and returns it with nothing inside. A context that was returned is kept for the next borrower: to end one
// takes the kernel longer than many reads.
//
//	queue   Submit: borrow ---> [ inside ] ---> Wait: the last has ended, give back
//	AIO     contexts, at most maxContexts        helpers, at most maxHelpers
//
// Contexts come out of a limit for all processes of the machine (the sysctl fs.aio-max-nr), so the kernel may refuse one
// now and have one later. It is asked again after a pause; only a kernel without asynchronous I/O, or one that forbids
// it, is not asked again.
type AIO struct {
	ask   func() error // in tests: what io_setup says instead of being called; nil is success
	pause time.Duration

	refused atomic.Pointer[refusal] // how the last request for a context ended; nil: well

	mu       sync.Mutex
	contexts []*kernelQueue // of mu: nobody has them
	free     atomic.Int32   // written under mu: how many these are
	made     atomic.Int32   // written under mu: contexts that there are

	helpMu  sync.Mutex
	ready   []pooledRequest // of helpMu: requests that have a use of their file
	waiting []pooledRequest // of helpMu: requests that may have to wait for a descriptor first
	helpers int             // of helpMu: goroutines
	blocked int             // of helpMu: helpers that do a request of waiting
}

// refusal is an answer of the kernel that was not a context.
type refusal struct {
	err   error
	final bool
	at    time.Time
}

// pooledRequest is a request for a helper, and the queue that it comes from.
type pooledRequest struct {
	q *Queue
	r *Request
}

const (
	// maxContexts bounds the contexts of a process, each of contextDepth requests: an eighth of what the machine has by
	// default (65,536). Queues that find none have the helpers.
	maxContexts = 32
	// contextDepth is how many requests a context takes at a time.
	contextDepth = 256
	// refusalPause is how long the kernel is not asked again after it had no context.
	refusalPause = time.Second
	// maxHelpers is how many goroutines do what the kernel does not take. At most maxBlocked of them do requests that may
	// have to wait for a descriptor: those that have one, and will give it back, never wait behind these.
	maxHelpers = 32
	maxBlocked = maxHelpers / 2
)

// sharedAIO is that of the process.
var sharedAIO = sync.OnceValue(func() *AIO { return NewAIO(nil, refusalPause) })

// NewAIO returns an AIO of its own, for tests. If ask is not nil, it is called before each io_setup, and an error of it is
// taken for that of the call. After an error that may pass, the kernel is left alone for as long as pause.
func NewAIO(ask func() error, pause time.Duration) *AIO {
	a := &AIO{ask: ask, pause: pause}
	if !kernelQueues {
		a.refused.Store(&refusal{err: fmt.Errorf("fsx: %w", syscall.ENOSYS), final: true})
	}
	return a
}

// AIOSource is implemented by a file system that has an AIO of its own.
type AIOSource interface{ AIO() *AIO }

// AIOOf returns the AIO for files of a file system: its own if it is an [AIOSource], else that of the process.
func AIOOf(fsys FS) *AIO {
	if s, ok := fsys.(AIOSource); ok {
		return s.AIO()
	}
	return sharedAIO()
}

// asks reports whether the kernel may be asked for a context now.
func (a *AIO) asks() bool {
	r := a.refused.Load()
	return r == nil || !r.final && time.Since(r.at) >= a.pause
}

// may reports whether a context can be borrowed, or the kernel may be asked for one.
func (a *AIO) may() bool {
	return a.free.Load() > 0 || a.made.Load() < maxContexts && a.asks()
}

// borrow returns a context that nobody has, nil when there is none.
func (a *AIO) borrow() *kernelQueue {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.contexts); n > 0 {
		k := a.contexts[n-1]
		a.contexts = a.contexts[:n-1]
		a.free.Add(-1)
		return k
	}
	if a.made.Load() == maxContexts || !a.asks() {
		return nil
	}
	k := new(kernelQueue)
	var err error
	if a.ask != nil {
		err = a.ask()
	}
	if err == nil {
		err = k.open(contextDepth)
	}
	if err != nil {
		a.refused.Store(&refusal{err: refusalError(err), final: isFinal(err), at: time.Now()})
		return nil
	}
	a.refused.Store(nil)
	a.made.Add(1)
	return k
}

// giveBack ends what borrow began. Nothing is inside.
func (a *AIO) giveBack(k *kernelQueue) {
	a.mu.Lock()
	a.contexts = append(a.contexts, k)
	a.free.Add(1)
	a.mu.Unlock()
}

// Borrowed returns how many contexts are with those who have requests under way. They are the process', and none is unmade.
func (a *AIO) Borrowed() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int(a.made.Load()) - len(a.contexts)
}

// isFinal reports whether the kernel would say the same again: it has no asynchronous I/O (ENOSYS), or not for us (EPERM).
func isFinal(err error) bool {
	return errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EPERM)
}

// refusalError says what the kernel has said, and what can be done about it.
func refusalError(err error) error {
	if errors.Is(err, syscall.EAGAIN) {
		return fmt.Errorf("fsx: io_setup: %w: the limit of the machine, sysctl fs.aio-max-nr, is used up", err)
	}
	return fmt.Errorf("fsx: io_setup: %w", err)
}

// help has a helper do a request.
func (a *AIO) help(q *Queue, r *Request) {
	a.helpMu.Lock()
	if r.os != nil {
		a.ready = append(a.ready, pooledRequest{q, r})
	} else {
		a.waiting = append(a.waiting, pooledRequest{q, r})
	}
	more := a.helpers < maxHelpers
	if more {
		a.helpers++
	}
	a.helpMu.Unlock()
	if more {
		go a.helper()
	}
}

// helper does requests as long as there are some that it may do.
func (a *AIO) helper() {
	a.helpMu.Lock()
	defer a.helpMu.Unlock()
	for {
		var p pooledRequest
		blocks := false
		switch {
		case len(a.ready) > 0:
			p = takeFront(&a.ready)
		case len(a.waiting) > 0 && a.blocked < maxBlocked:
			p, blocks = takeFront(&a.waiting), true
			a.blocked++
		default:
			a.helpers--
			return
		}
		a.helpMu.Unlock()
		p.r.held()
		p.q.helped(p.r)
		a.helpMu.Lock()
		if blocks {
			a.blocked--
		}
	}
}

// takeFront removes the first of some requests, and keeps the memory.
func takeFront(from *[]pooledRequest) pooledRequest {
	s := *from
	first := s[0]
	n := copy(s, s[1:])
	s[n] = pooledRequest{}
	*from = s[:n]
	return first
}

// Queues makes queues for one owner. The zero value is of the process, and tells nobody.
type Queues struct {
	AIO *AIO
	// Refused, if not nil, is told each time that the kernel's refusal keeps a queue from having requests under way in
	// the kernel. It is called with locks of the queue held: it must not wait.
	Refused func(error)
}

// New returns a queue that gives the kernel up to depth requests at a time, at most 256. It takes nothing from the system
// while nothing is under way.
func (s Queues) New(depth int) *Queue {
	if s.AIO == nil {
		s.AIO = sharedAIO()
	}
	q := &Queue{of: s, depth: min(depth, contextDepth)}
	q.change.L = &q.mu
	return q
}

// NewQueue returns a queue of the process.
func NewQueue(depth int) *Queue { return Queues{}.New(depth) }
