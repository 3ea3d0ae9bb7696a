//go:build invariants

package index

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// A schedule runs a few threads of package code one step at a time (see step), so that every order of their steps can
// be tried. The order is decided by where it departs from letting the same thread go on: a list of switches.
type schedule struct {
	switches []switchPoint
	at       int // steps so far
	next     int // of switches
	threads  []*thread
	current  *thread
	trace    []int // which thread took each step
	t        testing.TB
}

// switchPoint says that after so many steps another thread goes on.
type switchPoint struct{ step, thread int }

type thread struct {
	resume  chan struct{}
	paused  chan struct{}
	done    bool
	waiting bool
}

// maxSteps bounds a run: far more than any of them needs, unless the threads wait for each other for ever.
const maxSteps = 5000

// run runs the threads to their end.
func (s *schedule) run(bodies []func()) {
	for _, body := range bodies {
		th := &thread{resume: make(chan struct{}), paused: make(chan struct{})}
		s.threads = append(s.threads, th)
		go func() {
			<-th.resume
			body()
			th.done = true
			th.paused <- struct{}{}
		}()
	}
	hook := func(waiting bool) {
		th := s.current
		th.waiting = waiting
		th.paused <- struct{}{}
		<-th.resume
	}
	stepper.Store(&hook)
	defer stepper.Store(nil)
	now := 0
	for {
		if s.next < len(s.switches) && s.switches[s.next].step == s.at {
			now = s.switches[s.next].thread
			s.next++
		}
		now = s.runnable(now)
		if now < 0 {
			return
		}
		s.trace = append(s.trace, now)
		s.current = s.threads[now]
		s.current.resume <- struct{}{}
		<-s.current.paused
		if s.at++; s.at > maxSteps {
			s.t.Fatalf("I4: no end after %d steps; switches %v, last steps by %v", s.at, s.switches, s.trace[s.at-50:])
		}
	}
}

// runnable returns a thread that can take a step, preferably the given one, -1 if all are done. A thread that waits
// is passed over once, so that the others come to what it waits for.
func (s *schedule) runnable(i int) int {
	for n := range 2 * len(s.threads) {
		j := (i + n) % len(s.threads)
		switch th := s.threads[j]; {
		case th.done:
		case th.waiting:
			th.waiting = false
		default:
			return j
		}
	}
	for j, th := range s.threads {
		if !th.done {
			return j
		}
	}
	return -1
}

// scenario returns the bodies of some threads over a fresh state, and the check to make when they have ended.
type scenario func(t testing.TB) (bodies []func(), check func(), end func())

// explore runs a scenario in every order of steps that has at most the given number of switches, besides those that
// waiting makes, and then in some random orders with more.
func explore(t *testing.T, switches int, sc scenario) {
	t.Helper()
	if testing.Short() {
		switches--
	}
	runs, longest := 0, 0
	var visit func(prefix []switchPoint)
	visit = func(prefix []switchPoint) {
		s, threads := runOnce(t, sc, prefix)
		runs++
		longest = max(longest, s.at)
		if len(prefix) == switches {
			return
		}
		from := 0
		if len(prefix) > 0 {
			from = prefix[len(prefix)-1].step + 1
		}
		for at := from; at < s.at; at++ {
			for th := range threads {
				if th != s.trace[at] {
					visit(append(prefix[:len(prefix):len(prefix)], switchPoint{at, th}))
				}
			}
		}
	}
	visit(nil)
	r := rand.New(rand.NewPCG(uint64(runs), 1))
	_, threads := runOnce(t, sc, nil)
	for range randomOrders() {
		var prefix []switchPoint
		for at := r.IntN(longest); at < longest && len(prefix) < 10; at += 1 + r.IntN(longest/3+1) {
			prefix = append(prefix, switchPoint{at, r.IntN(threads)})
		}
		runOnce(t, sc, prefix)
	}
	t.Logf("%d orders, and %d random ones", runs, randomOrders())
}

// randomOrders returns how many random orders to try per scenario.
func randomOrders() int {
	return testkit.Scaled(1000, 1000, 1000, 50_000)
}

// runOnce runs a scenario in the order that the switches make, and checks what came of it.
func runOnce(t *testing.T, sc scenario, switches []switchPoint) (s *schedule, threads int) {
	t.Helper()
	bodies, check, end := sc(t)
	s = &schedule{switches: switches, t: t}
	failed := true
	defer func() {
		if failed {
			t.Logf("in the order %v; switches %v", s.trace, switches)
		}
	}()
	s.run(bodies)
	check()
	end()
	failed = false
	return s, len(bodies)
}

// world is the state of a scenario: an index of one bucket, and a log.
type world struct {
	t testing.TB
	*Index
	l    *testLog
	want map[uint64]int          // live records per hash
	dead map[uint64]word.Address // by hash, the last record that is not alive
	old  *table                  // that was replaced by a growth
	g    *epoch.Guard            // inside from beginning to end: no thread loses the table that it looks at
}

var (
	interleaveEpoch = epoch.New()
	interleaveGuard = interleaveEpoch.Register()
)

// newWorld returns a world whose bucket has entries of other hashes in the slots 0..n-1.
func newWorld(t testing.TB, n int) *world {
	cfg := Config{Epoch: interleaveEpoch, Spawn: func(func()) {}, MaxBytes: func() int64 { return 0 }}
	x, err := newIndex(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tb, err := x.newTable(0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	x.publish(tb)
	w := &world{t, x, newTestLog(200), map[uint64]int{}, map[uint64]word.Address{}, nil, interleaveGuard}
	w.g.Enter()
	for i := range n {
		w.put(other(i))()
	}
	return w
}

// other returns hashes, of both halves in turn, that no scenario uses else.
func other(i int) uint64 { return uint64(0x100 + i) }

// noOverflow leaves the bucket without a chance of an overflow bucket.
func (w *world) noOverflow() {
	w.table.Load().overflow.held = w.table.Load().overflow.mapped
	w.table.Load().capped.Store(true)
}

// put returns a thread that appends a record for h.
func (w *world) put(h uint64) func() {
	w.want[h]++
	return func() {
		a := word.FirstAddress + word.Address(w.l.tail.Add(1)-1)*word.Align
		w.l.at(a).hash = h
		for {
			s, e, status := w.FindOrCreate(h)
			switch {
			case status == Found && e.Address() > a:
				// Somebody's later allocation was published first: allocate again.
				a = word.FirstAddress + word.Address(w.l.tail.Add(1)-1)*word.Align
				w.l.at(a).hash = h
			case status == Found:
				w.l.at(a).prev.Store(uint64(e.Address()))
				if s.CompareAndSwap(e, a) {
					w.l.at(a).published.Store(true)
					return
				}
			default:
				if err := w.Load(h); err != nil {
					w.t.Error(err)
				}
			}
		}
	}
}

// clear returns a thread that clears the entry of h if it still leads to the one record of the beginning, now dead.
func (w *world) clear(h uint64) func() {
	_, old, _ := w.Find(h)
	w.dead[h] = old.Address()
	w.want[h]--
	return func() {
		for {
			s, e, status := w.Find(h)
			if status != Found || e.Tag() == word.CatchAll || e.Address() != old.Address() || s.Clear(e) {
				return
			}
		}
	}
}

// alive returns the records of h that are reached in x and are alive, newest first.
func (w *world) alive(x *Index, h uint64) []word.Address {
	_, e, _ := x.Find(h)
	chain := w.l.chain(e.Address(), h)
	for i, a := range chain {
		if a <= w.dead[h] {
			return chain[:i]
		}
	}
	return chain
}

// read returns a thread that looks for h, which has had n records from the beginning.
func (w *world) read(h uint64, n int) func() {
	return func() {
		_, e, _ := w.Find(h)
		if got := len(w.l.chain(e.Address(), h)); got < n {
			w.t.Errorf("I1: %d records of %#x are found, there are at least %d", got, h, n)
		}
	}
}

// grow begins a growth and returns a thread that moves the bucket.
func (w *world) grow() func() {
	if err := w.startGrowth(false); err != nil {
		w.t.Fatal(err)
	}
	n := w.table.Load()
	w.old = n.old.Load()
	return func() { w.moveSpan(n) }
}

// growLater returns a thread that begins a growth and moves the bucket.
func (w *world) growLater() func() {
	return func() {
		step()
		w.grow()()
	}
}

func (w *world) check() {
	w.t.Helper()
	if err := w.Check(); err != nil {
		w.t.Fatal(err)
	}
	for p := w.oldBucket(); p != nil; p = w.old.next(p) {
		if !loadLink(p).claimed() {
			w.t.Fatalf("I6: a link of the old bucket is open\n%s", w.old.dump(0))
		}
		for i := range bucketSlots {
			if e := (Slot{slotOf(p, i)}).Load(); e != word.Frozen {
				w.t.Fatalf("I5: %s in the old bucket\n%s", entryString(e), w.old.dump(0))
			}
		}
	}
	for h, n := range w.want {
		if got := len(w.alive(w.Index, h)); got != n {
			w.t.Fatalf("I1: %d records of %#x, want %d\n%s", got, h, n, w.table.Load().dump(h&w.table.Load().Mask))
		}
	}
}

// oldBucket returns the bucket before the growth, if there was one.
func (w *world) oldBucket() mem.Ptr {
	if w.old == nil {
		return nil
	}
	return w.old.bucket(0)
}

func (w *world) end() {
	w.g.Exit()
	interleaveEpoch.Close()
	w.Close()
}

// TestInterleavings runs the protocol of inserting, growing, converting and writing images in every order of steps
// with a few switches.
func TestInterleavings(t *testing.T) {
	const a, b = 0b01, 0b11 // hashes of one half
	scenarios := []struct {
		name     string
		switches int
		world    func(t testing.TB) (*world, []func())
	}{
		{"two inserts of one hash", 3, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 1)
			return w, []func(){w.put(a), w.put(a)}
		}},
		{"three inserts of one hash", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 0)
			return w, []func(){w.put(a), w.put(a), w.put(a)}
		}},
		{"two inserts of one hash while an earlier slot is cleared", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 3)
			return w, []func(){w.put(a), w.put(a), w.clear(other(1))}
		}},
		{"two inserts of one hash into an overflow bucket", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			return w, []func(){w.put(a), w.put(a)}
		}},
		{"inserts while the bucket is moved", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 2)
			return w, []func(){w.put(a), w.put(a), w.growLater()}
		}},
		{"update while the bucket is moved", 3, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 1)
			return w, []func(){w.put(other(0)), w.growLater()}
		}},
		{"insert into an overflow bucket while the bucket is moved", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			return w, []func(){w.put(a), w.put(b), w.growLater()}
		}},
		{"reader while the bucket is moved", 3, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 3)
			return w, []func(){w.read(other(2), 1), w.growLater()}
		}},
		{"two movers and a reader", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 3)
			move := w.grow()
			return w, []func(){move, w.put(other(0)), w.read(other(1), 1)}
		}},
		{"inserts into a full bucket", 3, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			w.noOverflow()
			return w, []func(){w.put(a), w.put(b)}
		}},
		{"inserts into a full bucket while a slot is cleared", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			w.noOverflow()
			return w, []func(){w.put(a), w.put(a), w.clear(other(4))}
		}},
		{"inserts of two hashes into a full bucket while a slot is cleared", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			w.noOverflow()
			return w, []func(){w.put(a), w.put(b), w.clear(other(4)), w.put(a)}
		}},
		{"inserts into a bucket with one free slot", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots-1)
			w.noOverflow()
			return w, []func(){w.put(a), w.put(b), w.put(a)}
		}},
		{"full bucket, first slot updated", 3, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			w.noOverflow()
			return w, []func(){w.put(a), w.put(other(0))}
		}},
		{"full bucket, first slot cleared", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			w.noOverflow()
			return w, []func(){w.put(a), w.clear(other(0)), w.put(b)}
		}},
		{"full bucket while it is moved", 2, func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			w.noOverflow()
			return w, []func(){w.put(a), w.put(b), w.growLater()}
		}},
	}
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			explore(t, sc.switches, func(t testing.TB) ([]func(), func(), func()) {
				w, bodies := sc.world(t)
				return bodies, w.check, w.end
			})
		})
	}
}

// TestInterleavings_Image writes an image while inserts go on, in every order of steps with a few switches, and
// recovers from it.
func TestInterleavings_Image(t *testing.T) {
	const a, b = 0b01, 0b11
	for name, prepare := range map[string]func(t testing.TB) (*world, []func()){
		"inserts": func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 2)
			return w, []func(){w.put(a), w.put(b)}
		},
		"a slot is cleared and its hash comes back": func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 3)
			return w, []func(){w.clear(other(2)), w.clear(other(0)), w.put(other(2))}
		},
		"a slot is cleared, taken by another hash, and its hash comes back": func(t testing.TB) (*world, []func()) {
			w := newWorld(t, 2)
			return w, []func(){w.clear(other(0)), w.put(a), w.put(other(0))}
		},
		"the bucket gets a catch-all while a slot is cleared": func(t testing.TB) (*world, []func()) {
			w := newWorld(t, bucketSlots)
			w.noOverflow()
			return w, []func(){w.put(a), w.put(b), w.clear(other(4))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			explore(t, 2, func(t testing.TB) ([]func(), func(), func()) {
				w, bodies := prepare(t)
				var entries []word.Entry
				from := w.l.end()
				bodies = append(bodies, func() {
					var b block
					b.entries = b.entries[:0]
					b.collect(w.table.Load(), 0)
					entries = append(entries, prune(b.entries, 0)...)
				})
				return bodies, func() { w.checkImage(entries, from) }, w.end
			})
		})
	}
}

// checkImage recovers from an image of one bucket and compares the chains.
func (w *world) checkImage(entries []word.Entry, from word.Address) {
	w.t.Helper()
	w.check()
	if reason := validate(0, entries); reason != "" {
		w.t.Fatalf("%s\n%v", reason, entries)
	}
	x, err := newIndex(Config{Epoch: interleaveEpoch, Spawn: func(func()) {}})
	if err != nil {
		w.t.Fatal(err)
	}
	tb, err := x.newTable(0, 64, false)
	if err != nil {
		w.t.Fatal(err)
	}
	x.publish(tb)
	defer x.Close()
	tb.pack(0, entries)
	tb.overflow.release()
	w.l.replay(w.t, x, from)
	if err := x.Check(); err != nil {
		w.t.Fatal(err)
	}
	for h := range w.want {
		if got, want := w.alive(x, h), w.alive(w.Index, h); !slices.Equal(got, want) {
			w.t.Fatalf("I1: records of %#x are %#x, want %#x\nwritten %s\nrecovered %s%v", h, got, want,
				w.table.Load().dump(0), x.table.Load().dump(0), entries)
		}
	}
}
