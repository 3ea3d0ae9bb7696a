package units

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

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
		u.Exit()
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
			u.Exit()
		})
	}
	g.waitFor(t, units)
	close(goOnShut)
	if err := <-vain; err != errBusy {
		t.Fatal(err)
	}
	busy.Exit()
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
				u.Exit()
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
