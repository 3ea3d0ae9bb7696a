package units

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

var (
	errOver = errors.New("over")
	errBusy = errors.New("busy")
)

func newGate() *Gate {
	g := &Gate{}
	g.Init(errOver)
	return g
}

func atOnce() error { return errBusy }
func never() error  { return nil }

// waitFor returns when so many units wait at the gate.
func (g *Gate) waitFor(t *testing.T, n int) {
	t.Helper()
	testkit.Eventually(t, "units that wait", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.waiting) == n
	})
}

func TestGate_ShutsBetweenUnits(t *testing.T) {
	g := newGate()
	if err := g.Shut(atOnce); err != nil {
		t.Fatalf("nobody has units: %v", err)
	}
	g.Open()
	u := g.Register()
	for range 3 {
		if err := g.Pass(u); err != nil {
			t.Fatal(err)
		}
		if err := g.Shut(atOnce); err != errBusy {
			t.Fatalf("shut during a unit: %v", err)
		}
		if p := phase(g.phase.Load()); p != open {
			t.Fatalf("U4: whoever has given up leaves the gate in phase %d", p)
		}
		g.Leave(u)
		if err := g.Shut(atOnce); err != nil {
			t.Fatalf("shut between units: %v", err)
		}
		g.Open()
	}
}

// Whoever has waited at a gate that was shut in vain is under way when it is open again: the next who shuts it waits for
// him (U4).
func TestGate_LetsThoseInWhoHaveWaitedInVain(t *testing.T) {
	g := newGate()
	busy := g.Register()
	if err := g.Pass(busy); err != nil {
		t.Fatal(err)
	}
	goOnShut, vain := make(chan struct{}), make(chan error)
	go func() { vain <- g.Shut(func() error { <-goOnShut; return errBusy }) }()
	testkit.Eventually(t, "the gate to be shut", func() bool { return phase(g.phase.Load()) == shut })
	const units = 20
	goOn := make(chan struct{})
	var all sync.WaitGroup
	for range units {
		u := g.Register()
		all.Go(func() {
			if err := g.Pass(u); err != nil {
				t.Error(err)
			}
			<-goOn
			g.Leave(u)
		})
	}
	g.waitFor(t, units)
	close(goOnShut)
	if err := <-vain; err != errBusy {
		t.Fatal(err)
	}
	g.Leave(busy)
	for range 5 {
		if err := g.Shut(atOnce); err != errBusy {
			t.Fatalf("shut in front of units that have waited: %v", err)
		}
	}
	close(goOn)
	all.Wait()
	if err := g.Shut(atOnce); err != nil {
		t.Fatal(err)
	}
	g.Open()
}

func TestGate_EndRefusesThoseWhoWaitAndThoseWhoCome(t *testing.T) {
	g := newGate()
	inside, waits := g.Register(), g.Register()
	if err := g.Shut(atOnce); err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() { got <- g.Pass(waits) }()
	g.waitFor(t, 1)
	g.End()
	if err := <-got; err != errOver || waits.Active() {
		t.Errorf("who has waited: %v, inside %v", err, waits.Active())
	}
	if err := g.Pass(inside); err != errOver || inside.Active() {
		t.Errorf("who comes: %v, inside %v", err, inside.Active())
	}
}

// While the gate is shut no unit is under way, whatever the two sides do at the same time (U2, U3).
func TestGate_NobodyIsInsideWhileItIsShut(t *testing.T) {
	g := newGate()
	const sessions = 4
	rounds := testkit.Scaled(3000, 20_000, 50_000, 1_000_000)
	var inside, passed atomic.Int64
	var ended atomic.Bool
	var all sync.WaitGroup
	for range sessions {
		u := g.Register()
		all.Go(func() {
			for !ended.Load() {
				if err := g.Pass(u); err != nil {
					t.Error(err)
					return
				}
				inside.Add(1)
				runtime.Gosched()
				inside.Add(-1)
				passed.Add(1)
				g.Leave(u)
			}
		})
	}
	for range rounds {
		for seen := passed.Load(); passed.Load() == seen; {
			runtime.Gosched() // else the gate would be shut all the time
		}
		if err := g.Shut(never); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			runtime.Gosched()
			if n := inside.Load(); n != 0 {
				t.Fatalf("U2: %d units are under way", n)
			}
		}
		g.Open()
	}
	ended.Store(true)
	all.Wait()
}

// The gate is shut at once, although a unit that has waited holds the lock; and that unit, which has found the gate open, is
// waited for (U2).
func TestGate_IsShutWhileAUnitHoldsTheLock(t *testing.T) {
	g := newGate()
	u := g.Register()
	g.mu.Lock() // as in wait, when it has found the gate open
	got := make(chan error, 1)
	go func() { got <- g.Shut(func() error { return errBusy }) }()
	testkit.Eventually(t, "the gate to be shut", func() bool { return phase(g.phase.Load()) == shut })
	testkit.Eventually(t, "Shut to wait for the lock", func() bool {
		return len(got) > 0 || testkit.Stands("sync.(*Mutex).Lock", "units.(*Gate).Shut(")
	})
	u.Enter()
	g.mu.Unlock()
	testkit.Within(t, "shutting the gate", func() {
		if err := <-got; err != errBusy {
			t.Errorf("shut during a unit: %v", err)
		}
	})
	g.Leave(u)
}

// Whoever shuts the gate is told when the last unit ends, and need not look for himself; so it is when the session of the unit
// is closed. Those that end before, or find the gate shut, do not wake him.
func TestGate_UnitsThatEndTell(t *testing.T) {
	for _, end := range []func(*Gate, *epoch.Guard){(*Gate).Leave, (*Gate).Release} {
		g := newGate()
		g.recheck = time.Hour
		first, last := g.Register(), g.Register()
		if err := errors.Join(g.Pass(first), g.Pass(last)); err != nil {
			t.Fatal(err)
		}
		shut := make(chan error, 1)
		asked := 0 // before each wait
		go func() { shut <- g.Shut(func() error { asked++; return nil }) }()
		testkit.Eventually(t, "somebody who waits to be told", func() bool { return testkit.Stands("[select", "units.(*Gate).Shut(") })
		came := g.Register()
		all := make(chan error)
		go func() { all <- g.Pass(came) }()
		g.waitFor(t, 1)
		end(g, last) // the order does not matter
		if n := g.awaited.Load(); n != 1 || len(g.ended) != 0 {
			t.Errorf("one unit is under way and %d are awaited; told: %v", n, len(g.ended) != 0)
		}
		end(g, first)
		testkit.Within(t, "shutting the gate", func() {
			if err := <-shut; err != nil {
				t.Error(err)
			}
		})
		if asked != 1 {
			t.Errorf("whoever has shut the gate has waited %d times", asked)
		}
		g.Open()
		if err := <-all; err != nil {
			t.Error(err)
		}
	}
}

// Few are woken when the gate opens, and each wakes another: all come to pass. Those who are still asleep when it is shut
// again are let in if that is in vain (U4).
func TestGate_EachWhoPassesWakesAnother(t *testing.T) {
	g := newGate()
	waiters := 20 + 2*runtime.GOMAXPROCS(0)
	wait := func(goOn chan struct{}) (all *sync.WaitGroup) {
		all = &sync.WaitGroup{}
		for range waiters {
			u := g.Register()
			all.Go(func() {
				if err := g.Pass(u); err != nil {
					t.Error(err)
				}
				<-goOn
				g.Leave(u)
			})
		}
		g.waitFor(t, waiters)
		return all
	}
	at := make(chan struct{})
	close(at)
	if err := g.Shut(atOnce); err != nil {
		t.Fatal(err)
	}
	all := wait(at)
	g.Open()
	testkit.Within(t, "units that have waited", all.Wait)

	if err := g.Shut(atOnce); err != nil {
		t.Fatal(err)
	}
	goOn := make(chan struct{})
	all = wait(goOn)
	g.mu.Lock() // nobody passes until the gate is shut again
	g.phase.Store(uint32(open))
	g.wakeSome()
	if woken, asleep := g.woken, g.asleep; woken > runtime.GOMAXPROCS(0) || woken+asleep > waiters {
		t.Errorf("%d were woken at once, %d are asleep", woken, asleep)
	}
	g.phase.Store(uint32(shut))
	g.mu.Unlock()
	g.GiveUp()
	if err := g.Shut(atOnce); err != errBusy {
		t.Errorf("shut in front of units that have waited in vain: %v", err)
	}
	close(goOn)
	testkit.Within(t, "units that have waited in vain", all.Wait)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asleep != 0 || g.woken != 0 || len(g.waiting) != 0 {
		t.Errorf("%d asleep, %d woken, %d waiting when all are through", g.asleep, g.woken, len(g.waiting))
	}
}
