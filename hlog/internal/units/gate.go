package units

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

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

const (
	// looks is how often Shut looks at units that are under way before it waits to be told: a unit whose goroutine runs takes
	// about as long as that, some microseconds.
	looks = 1000
	// recheck is how long Shut waits to be told that all units have ended before it looks for itself: guards that are collected
	// as garbage tell nobody.
	recheck = time.Millisecond
)

// Gate is what units pass when they begin. Its methods may be called from any goroutine, those that shut and open it by
// one goroutine at a time.
type Gate struct {
	_     [64]byte
	phase atomic.Uint32 // a phase; every unit reads it, so that nothing that changes often may share its line
	_     [60]byte

	units   *epoch.Manager
	closed  error
	awaited atomic.Int64  // how many of the units that whoever shuts the gate has marked are under way
	ended   chan struct{} // has something when that has become 0
	recheck time.Duration

	mu      lock.Mutex[lock.Leaf] // held while phase moves, but by Shut
	moved   sync.Cond             // of mu: those in waiting may look again
	waiting map[*waiter]struct{}  // of mu
	asleep  int                   // of mu: how many of waiting wait for moved
	woken   int                   // of mu: how many were woken and have not looked yet
}

// waiter is a unit that has found the gate shut.
type waiter struct {
	guard *epoch.Guard
	in    bool // of Gate.mu: it was let in, its guard is inside
}

// Init makes g an open gate, with closed as the error of units that begin when it is over.
func (g *Gate) Init(closed error) {
	g.units = epoch.New()
	g.closed = closed
	g.ended = make(chan struct{}, 1)
	g.recheck = recheck
	g.waiting = map[*waiter]struct{}{}
	g.moved.L = &g.mu
}

// Register returns the guard with which the units of one session pass.
func (g *Gate) Register() *epoch.Guard { return g.units.Register() }

// Pass begins a unit, whose guard is inside from then on if the error is nil: Leave, or Release, ends the unit. It waits
// while the gate is shut.
func (g *Gate) Pass(u *epoch.Guard) error {
	if g.TryPass(u) {
		return nil
	}
	return g.Wait(u)
}

// TryPass is the first part of Pass, small enough to be copied into its caller by the compiler. If it reports that the gate was
// not open, [Gate.Wait] has to follow at once.
func (g *Gate) TryPass(u *epoch.Guard) bool {
	u.Enter()
	return phase(g.phase.Load()) == open
}

// Wait is the second part of Pass: TryPass has found the gate shut, or over, and u is inside.
func (g *Gate) Wait(u *epoch.Guard) error {
	g.Leave(u)
	return g.wait(u)
}

// Leave ends a unit.
func (g *Gate) Leave(u *epoch.Guard) {
	if !g.TryLeave(u) {
		g.Tell(u)
	}
}

// TryLeave is the first part of Leave, small enough to be copied into its caller by the compiler. If it reports that the gate
// was shut, [Gate.Tell] has to follow at once.
func (g *Gate) TryLeave(u *epoch.Guard) bool {
	u.Exit()
	return phase(g.phase.Load()) != shut
}

// Release gives up the guard of a session, and ends its unit if one is under way.
func (g *Gate) Release(u *epoch.Guard) {
	if u.Active() {
		u.Exit()
		g.Tell(u)
	}
	u.Release()
}

// IsShut reports whether units are waited for, by a cut for one.
func (g *Gate) IsShut() bool { return phase(g.phase.Load()) == shut }

// Tell is the second part of Leave: it wakes whoever waits in Shut if he waits for this unit, which has ended, and for no other any more.
func (g *Gate) Tell(u *epoch.Guard) {
	if !u.TakeMark() || g.awaited.Add(-1) != 0 {
		return
	}
	select {
	case g.ended <- struct{}{}:
	default: // he has been told
	}
}

// wait begins a unit that has found the gate shut.
func (g *Gate) wait(u *epoch.Guard) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := &waiter{guard: u}
	g.waiting[w] = struct{}{}
	defer delete(g.waiting, w)
	for !w.in {
		switch phase(g.phase.Load()) {
		case over:
			return g.closed
		case open:
			u.Enter() // whoever shuts the gate needs mu first, and finds the guard inside
			g.wakeSome()
			return nil
		}
		g.asleep++
		g.moved.Wait()
		g.woken--
	}
	return nil
}

// wakeSome wakes as many of those who wait as there may be goroutines that run. Each wakes another when it has passed. So
// no processor is idle while units wait, and the next who shuts the gate does not find all processors busy with those who
// were woken in vain. The caller holds mu.
func (g *Gate) wakeSome() {
	for most := runtime.GOMAXPROCS(0); g.asleep > 0 && g.woken < most; {
		g.asleep--
		g.woken++
		g.moved.Signal()
	}
}

// wakeAll wakes all who wait. The caller holds mu.
func (g *Gate) wakeAll() {
	g.woken += g.asleep
	g.asleep = 0
	g.moved.Broadcast()
}

// Shut lets no unit begin and returns when none is under way; Open, GiveUp or End has to follow. It asks giveUp while it
// waits, about every millisecond; after an error, which is that of giveUp, the gate is open, and the units that have waited
// at it are under way.
//
// The gate is shut before mu is locked, not meanwhile: a unit that has waited may hold mu, and whoever has to wait for it is put
// behind the goroutines that have units, which run for 10 ms at a time as long as they find the gate open. A unit that has found
// it open while it held mu is inside when Shut has had mu.
func (g *Gate) Shut(giveUp func() error) error {
	g.phase.Store(uint32(shut))
	g.mu.Lock()
	select {
	case <-g.ended: // that was before the units are looked at
	default:
	}
	g.mu.Unlock()
	err := g.units.SynchronizeUnless(g.pause(giveUp))
	if err != nil {
		g.GiveUp()
	}
	return err
}

// pause returns how Shut waits for units: it looks at them for some microseconds without pause, marks those that are still
// under way, and waits until it is told that the last of them has ended. It must not yield instead, since the goroutines that
// are ready to run may be very many, nor sleep: the kernel lets an idle process sleep for a millisecond at least. Nor must it
// be told of each that ends: of a thousand units that were descheduled each would wake it and wait for it.
//
// A unit that ends looks for its mark if it finds the gate shut. If it does not find that, its end is before the barrier of
// the epoch, and so before the first look (E2). Where the epoch has no such barrier the end and the look at the gate may pass
// each other, and the pause takes its longest time.
//
// Whoever has taken a mark of an earlier pause may count himself off late. Then Shut is told too early, and marks again.
func (g *Gate) pause(giveUp func() error) func(int) error {
	n := 0
	var timer *time.Timer
	return func(int) error {
		if n++; n < looks {
			return nil
		}
		if err := giveUp(); err != nil {
			return err
		}
		g.awaited.Store(0)
		if g.awaited.Add(int64(g.units.Mark())) <= 0 {
			return nil // all have ended meanwhile
		}
		if timer == nil {
			timer = time.NewTimer(g.recheck)
		} else {
			timer.Reset(g.recheck)
		}
		select {
		case <-g.ended:
		case <-timer.C:
		}
		return nil
	}
}

// Open opens the gate.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.phase.Store(uint32(open))
	g.wakeSome()
}

// GiveUp opens the gate for whoever has not done what it was shut for: the units that have waited at it are under way.
func (g *Gate) GiveUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for w := range g.waiting {
		w.guard.Enter()
		w.in = true
	}
	clear(g.waiting)
	g.phase.Store(uint32(open))
	g.wakeAll()
}

// End lets no unit begin any more. Those that wait return the error given to Init. It waits for none that is under way.
func (g *Gate) End() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.phase.Store(uint32(over))
	g.wakeAll()
}
