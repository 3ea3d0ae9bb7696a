package step

import (
	"context"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/internal/lock"
)

// Jobs runs the background of one store. Its methods may be called from any goroutine.
type Jobs struct {
	work *Work // nil: each piece of work is a goroutine

	mu    lock.Mutex[lock.Waking]
	idle  sync.Cond // of mu: nothing that Once was given runs
	once  int       // of mu: what Once was given and has not ended
	ended bool      // of mu
}

// NewJobs returns the background of a store whose work is done step by step in work, or in goroutines if that is nil.
func NewJobs(work *Work) *Jobs {
	j := &Jobs{work: work}
	j.idle.L = &j.mu
	return j
}

// Work returns what the work is done in step by step, or nil.
func (j *Jobs) Work() *Work { return j.work }

// Once runs f in the background, once, and returns at once. It does nothing after End. A name is seen in the profiles of
// goroutines.
func (j *Jobs) Once(name string, kind Kind, f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		return
	}
	j.once++
	do := func() {
		f()
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.once--; j.once == 0 {
			j.idle.Broadcast()
		}
	}
	if j.work != nil && kind != Apart {
		j.work.Go(kind, do)
	} else {
		go func() {
			pprof.SetGoroutineLabels(labels(name))
			do()
		}()
	}
}

// End returns when all that Once was given has ended. From then on Once does nothing.
func (j *Jobs) End() {
	j.mu.Lock()
	j.ended = true
	j.mu.Unlock()
	j.work.Rest()
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.once > 0 {
		j.idle.Wait()
	}
}

// Add returns a job whose rounds are done by round. Kind is what they are in a store that works step by step, where each
// job but those of kind Apart has a kind of its own. No round begins before Start.
func (j *Jobs) Add(name string, kind Kind, round func()) *Job {
	b := &Job{labels: labels(name), kind: kind, round: round}
	if kind != Apart {
		b.work = j.work
	}
	b.idle.L = &b.mu
	return b
}

// Job is work that is done in rounds, one at a time, each after somebody has asked for it. It has a goroutine only while
// there is something to do. Its methods may be called from any goroutine; those of a nil Job do nothing.
type Job struct {
	labels context.Context // made once: jobs begin for each page that is written
	kind   Kind
	round  func()
	work   *Work // nil: a goroutine does the rounds

	mu      lock.Mutex[lock.Waking]
	idle    sync.Cond // of mu: no round is under way
	phase   phase     // of mu
	asked   bool      // of mu: a round is wanted
	running bool      // of mu: a round is under way, or a goroutine is about to see whether one is wanted
	timer   *time.Timer
}

// phase is where a job is in its life. It only rises.
type phase uint8

const (
	added   phase = iota // rounds that are asked for wait for Start
	started              // rounds are done as they are asked for
	ending               // the last round is done, if one is wanted
	stopped              // no round begins
)

// Start lets rounds begin.
func (b *Job) Start() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == added {
		b.phase = started
		b.begin()
	}
}

// Every asks for a round every so often, from now on, until the job is stopped. A job that works step by step has no
// clock: nothing asks.
func (b *Job) Every(d time.Duration) {
	if b == nil || b.work != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase < ending {
		b.timer = time.AfterFunc(d, func() {
			b.Wake()
			b.Every(d)
		})
	}
}

// Wake asks for a round. It does not wait, and may be called inside the epoch and with any lock held.
func (b *Job) Wake() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase < ending {
		b.asked = true
		b.begin()
	}
}

// begin sees to it that a round that is wanted is done. The caller holds mu.
func (b *Job) begin() {
	switch {
	case !b.asked || b.phase == added || b.phase == stopped:
	case b.work != nil:
		b.work.Once(b.kind, b.step)
	case !b.running:
		b.running = true
		go b.run()
	}
}

// run does rounds as long as one is wanted.
func (b *Job) run() {
	pprof.SetGoroutineLabels(b.labels)
	for b.take() {
		b.round()
	}
}

// take reports whether a round is wanted, which the caller does; else the caller goes.
func (b *Job) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = b.asked && b.phase != stopped
	b.asked = false
	if !b.running {
		b.idle.Broadcast()
	}
	return b.running
}

// step does one round, if one is wanted, of a job without a goroutine.
func (b *Job) step() {
	if b.take() {
		b.round()
		b.mu.Lock()
		b.running = false
		b.mu.Unlock()
	}
}

// Stop returns when the round that is under way has ended; no other begins. It must not be called by a round.
func (b *Job) Stop() { b.end(stopped) }

// Finish does the round that is wanted, if one is, and stops the job then. It must not be called by a round.
func (b *Job) Finish() { b.end(ending) }

func (b *Job) end(to phase) {
	if b == nil {
		return
	}
	b.mu.Lock()
	if b.phase == added {
		to = stopped // what was asked for was never begun with
	}
	b.phase = max(b.phase, to)
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	if b.work != nil {
		b.step()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.running && b.work == nil {
		b.idle.Wait()
	}
	b.phase = stopped
}

// labels returns what the profiles of a goroutine say that it does.
func labels(name string) context.Context {
	return pprof.WithLabels(context.Background(), pprof.Labels("hlog", name))
}
