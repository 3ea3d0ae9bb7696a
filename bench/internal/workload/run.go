package workload

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Config says how to drive a plan. Give Ops, Duration or both; the first to be reached ends the run.
type Config struct {
	Goroutines int           // 0 = 1
	Ops        int           // operations in all; 0 = no limit
	Duration   time.Duration // 0 = no limit
	Rate       float64       // operations per second in all goroutines together; 0 = closed loop
	Sample     int           // closed loop: time every so many-th operation; 0 = every one, < 0 = none
	Offset     int           // where in the plan to begin

	// Ahead, if it is not nil, is told by each worker of a closed loop, every aheadOps operations, the keys that it will read
	// in the aheadOps after those that come next.
	Ahead func(worker int, keys []uint32)
}

// aheadOps is how many operations a worker of a closed loop does between two looks at the clock, and between two calls of
// Config.Ahead.
const aheadOps = 64

// Result is what a run measured.
type Result struct {
	Ops     int
	Elapsed time.Duration
	All     *Latencies    // every timed operation
	ByOp    [4]*Latencies // the same by kind of operation; nil where there was none
	Err     error         // the first error; it ended the run
}

// Rate is the throughput in operations per second.
func (r Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Ops) / r.Elapsed.Seconds()
}

// Do performs one operation on one key; worker tells the goroutine, so that each can have its own buffers and session.
type Do func(worker int, op Op, key uint32, seq uint64) error

// worker is one goroutine of a run.
type worker struct {
	id    int
	cfg   *Config
	plan  Plan
	do    Do
	stop  func() bool
	begin time.Time
	ops   int
	all   *Latencies
	byOp  [4]*Latencies
	err   error
}

// Run drives plan. The operations are dealt out to the goroutines in twos, so that each is done once per round whatever
// the number of goroutines. It returns when the load ends, ctx is done or an operation fails.
func Run(ctx context.Context, cfg Config, plan Plan, do Do) Result {
	cfg.Goroutines = max(1, cfg.Goroutines)
	if plan.Len() == 0 {
		return Result{All: NewLatencies()}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := time.Now()
	stop := func() bool {
		return ctx.Err() != nil || cfg.Duration > 0 && time.Since(begin) >= cfg.Duration
	}
	ws := make([]*worker, cfg.Goroutines)
	var wg sync.WaitGroup
	for i := range ws {
		ws[i] = &worker{id: i, cfg: &cfg, plan: plan, do: do, stop: stop, begin: begin, all: NewLatencies()}
		wg.Add(1)
		go func(w *worker) {
			defer wg.Done()
			if cfg.Rate > 0 {
				w.open()
			} else {
				w.closed()
			}
			if w.err != nil {
				cancel()
			}
		}(ws[i])
	}
	wg.Wait()
	res := Result{Elapsed: time.Since(begin), All: NewLatencies()}
	for _, w := range ws {
		res.Ops += w.ops
		res.All.Merge(w.all)
		for k, l := range w.byOp {
			if l == nil {
				continue
			}
			if res.ByOp[k] == nil {
				res.ByOp[k] = NewLatencies()
			}
			res.ByOp[k].Merge(l)
		}
		if res.Err == nil {
			res.Err = w.err
		}
	}
	return res
}

// share is the number of operations that fall to this worker; a negative number is no limit.
func (w *worker) share() int {
	if w.cfg.Ops == 0 {
		return -1
	}
	round := 2 * w.cfg.Goroutines
	return w.cfg.Ops/round*2 + min(2, max(0, w.cfg.Ops%round-2*w.id))
}

// index is the place in the load of the worker's j-th operation. The operations are dealt out in twos, so that an insert and
// the delete that follows it stay with one worker.
func (w *worker) index(j int) int { return (j/2*w.cfg.Goroutines+w.id)*2 + j%2 }

func (w *worker) record(op Op, d time.Duration) {
	w.all.Record(d)
	if w.byOp[op] == nil {
		w.byOp[op] = NewLatencies()
	}
	w.byOp[op].Record(d)
}

// tell tells Config.Ahead what the operations from the worker's j-th on will read.
func (w *worker) tell(j, count int, keys []uint32) []uint32 {
	keys = keys[:0]
	for i := range count {
		at := (w.cfg.Offset + w.index(j+i)) % w.plan.Len()
		if op := w.plan.Ops[at]; op == Get || op == RMW {
			keys = append(keys, w.plan.Picks[at])
		}
	}
	w.cfg.Ahead(w.id, keys)
	return keys
}

// closed issues each operation when the one before has returned. It looks at the clock and the context every aheadOps
// operations only, and keeps what it counts in variables of its own: workers lie side by side in memory, and a count there
// would send a cache line to and fro between the processors with every operation.
func (w *worker) closed() {
	sample := w.cfg.Sample
	if sample == 0 {
		sample = 1
	}
	limit, plan, do := w.share(), w.plan, w.do
	done := 0
	defer func() { w.ops = done }()
	var told []uint32
	if w.cfg.Ahead != nil {
		told = w.tell(0, aheadOps, told)
	}
	for j := 0; j != limit; j++ {
		if j%aheadOps == 0 {
			if w.stop() {
				return
			}
			if w.cfg.Ahead != nil {
				told = w.tell(j+aheadOps, aheadOps, told)
			}
		}
		i := w.index(j)
		at := (w.cfg.Offset + i) % plan.Len()
		op, key, seq := plan.Ops[at], plan.Picks[at], uint64(i)
		var err error
		if sample > 0 && j%sample == 0 {
			t := time.Now()
			err = do(w.id, op, key, seq)
			w.record(op, time.Since(t))
		} else {
			err = do(w.id, op, key, seq)
		}
		if err != nil {
			w.err = err
			return
		}
		done++
	}
}

// open issues operation i at begin + i/rate. When the worker is late because an earlier operation took long, the
// latency counts from the time it was due; when it was idle and the sleep overshot, from the time it woke up, since the
// store has no part in that.
func (w *worker) open() {
	limit := w.share()
	for j := 0; j != limit; j++ {
		i := w.index(j)
		due := w.begin.Add(time.Duration(float64(i) / w.cfg.Rate * float64(time.Second)))
		start := time.Now()
		if start.Before(due) {
			start = WaitUntil(due)
		} else {
			start = due
		}
		if w.stop() {
			return
		}
		at := (w.cfg.Offset + i) % w.plan.Len()
		op, key := w.plan.Ops[at], w.plan.Picks[at]
		w.err = w.do(w.id, op, key, uint64(i))
		w.record(op, time.Since(start))
		if w.err != nil {
			return
		}
		w.ops++
	}
}

// WaitUntil sleeps through the long part of the time to due and yields through the rest; it returns the time it ended.
func WaitUntil(due time.Time) time.Time {
	const grain = 100 * time.Microsecond // what a sleep may overshoot by
	for {
		left := time.Until(due)
		switch {
		case left <= 0:
			return time.Now()
		case left > grain:
			time.Sleep(left - grain/2)
		default:
			runtime.Gosched()
		}
	}
}
