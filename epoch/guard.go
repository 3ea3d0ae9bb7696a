package epoch

import (
	"runtime"

	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
)

// Guard is the right to enter the epoch. One goroutine uses it at a time; Enter and Exit come in pairs and do not
// nest. There may be any number of guards.
type Guard struct {
	local      *mem.Cell // nil after Release, so that a use after it faults instead of going unprotected
	current    *mem.Cell
	asymmetric bool

	cell    *cell
	manager *Manager
	cleanup runtime.Cleanup
	// The guard is only read on the hot path; what else is written on its line would slow that down.
	_ [linePair - 64]byte
}

// Register returns a new guard, which is outside. It costs about a microsecond: keep guards, do not make one per
// operation.
func (m *Manager) Register() *Guard {
	c := m.acquire()
	g := &Guard{
		local:      &c.local,
		current:    &m.current,
		asymmetric: m.asymmetric,
		cell:       c,
		manager:    m,
	}
	// For a guard that is forgotten. It may be inside even then, see the package comment (E6).
	g.cleanup = runtime.AddCleanup(g, m.giveBack, c)
	return g
}

// Release gives the guard up; if it was inside, it no longer is. A second Release does nothing, any other use after
// the first is a fault.
func (g *Guard) Release() {
	if g.local == nil {
		return
	}
	g.cleanup.Stop()
	g.local = nil
	g.manager.giveBack(g.cell)
}

// Enter goes inside. It never waits (E5).
func (g *Guard) Enter() {
	if invariant.Enabled && g.Active() {
		invariant.Check(false, "E1: Enter by a guard that is inside epoch %d", g.local.Load())
	}
	if plainEnter && g.asymmetric {
		g.local.StoreRelease(g.current.Load())
	} else {
		g.local.Store(g.current.Load())
	}
}

// Exit goes outside. It never waits (E5). Nothing that was found inside may be touched any more.
func (g *Guard) Exit() {
	if invariant.Enabled && !g.Active() {
		invariant.Check(false, "E1: Exit by a guard that is outside")
	}
	g.local.StoreRelease(0)
	// Without this the collector might take the guard as soon as Exit has fetched the address of its cell, which the
	// compiler is free to do early (E6).
	runtime.KeepAlive(g)
}

// Tally returns the guard's counters (E7). They must not be changed any more once the guard was released.
func (g *Guard) Tally() *Tally { return &g.cell.tally }

// Active reports whether the guard is inside.
func (g *Guard) Active() bool { return g.local.Load() != 0 }
