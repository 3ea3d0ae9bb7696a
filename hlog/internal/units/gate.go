package units

import (
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// phase is what the gate is.
//
//	open <---> shut
//	    \       /
//	     v     v
//	       over
type phase uint32

const (
	open phase = iota
	shut       // units that begin wait
	over       // no unit begins any more
)

// Gate is what units pass when they begin. Its methods may be called from any goroutine, those that shut and open it by
// one goroutine at a time.
type Gate struct {
	_     [64]byte
	phase atomic.Uint32 // a phase; every unit reads it, so that nothing that changes often may share its line
	_     [60]byte

	units   *epoch.Manager
	closed  error
	mu      lock.Mutex[lock.Leaf] // held while phase moves
	moved   sync.Cond             // of mu: those in waiting may look again
	waiting []*waiter             // of mu
}

// waiter is a unit that has found the gate shut.
type waiter struct {
	guard  *epoch.Guard
	listed bool // of Gate.mu: it is in Gate.waiting
	in     bool // of Gate.mu: it was let in, its guard is inside
}

// Init makes g an open gate, with closed as the error of units that begin when it is over.
func (g *Gate) Init(closed error) {
	g.units = epoch.New()
	g.closed = closed
	g.moved.L = &g.mu
}

// Register returns the guard with which the units of one session pass.
func (g *Gate) Register() *epoch.Guard { return g.units.Register() }

// Pass begins a unit, whose guard is inside from then on if the error is nil: Exit, or Release, ends the unit. It waits
// while the gate is shut.
func (g *Gate) Pass(u *epoch.Guard) error {
	u.Enter()
	if phase(g.phase.Load()) == open {
		return nil
	}
	u.Exit()
	return g.wait(u)
}

// wait begins a unit that has found the gate shut.
func (g *Gate) wait(u *epoch.Guard) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := &waiter{guard: u}
	for !w.in {
		switch phase(g.phase.Load()) {
		case over:
			return g.closed
		case open:
			u.Enter() // whoever shuts the gate needs mu first, and finds the guard inside
			return nil
		}
		if !w.listed {
			w.listed = true
			g.waiting = append(g.waiting, w)
		}
		g.moved.Wait()
	}
	return nil
}

// Shut lets no unit begin and returns when none is under way; Open, GiveUp or End has to follow. It asks giveUp while it waits;
// after an error, which is that of giveUp, the gate is open, and the units that have waited at it are under way.
func (g *Gate) Shut(giveUp func() error) error {
	g.mu.Lock()
	g.phase.Store(uint32(shut))
	g.mu.Unlock()
	err := g.units.SynchronizeUnless(giveUp)
	if err != nil {
		g.GiveUp()
	}
	return err
}

// Open opens the gate.
func (g *Gate) Open() { g.reopen(false) }

// GiveUp opens the gate for whoever has not done what it was shut for: the units that have waited at it are under way.
func (g *Gate) GiveUp() { g.reopen(true) }

func (g *Gate) reopen(inVain bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.waiting {
		if w.listed = false; inVain {
			w.guard.Enter()
			w.in = true
		}
	}
	clear(g.waiting)
	g.waiting = g.waiting[:0]
	g.phase.Store(uint32(open))
	g.moved.Broadcast()
}

// End lets no unit begin any more. Those that wait return the error given to Init. It waits for none that is under way.
func (g *Gate) End() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.phase.Store(uint32(over))
	g.waiting = nil
	g.moved.Broadcast()
}
