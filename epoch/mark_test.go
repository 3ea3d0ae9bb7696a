package epoch

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

func TestMark_ThoseWhoWereInsideAreToldOnce(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		outside, inside, later := m.Register(), m.Register(), m.Register()
		inside.Enter()
		m.current.Add(1) // as Synchronize does
		later.Enter()
		for range 2 {
			if n := m.Mark(); n != 1 {
				t.Fatalf("E8: %d guards are marked, want one", n)
			}
		}
		inside.Exit()
		later.Exit()
		if outside.TakeMark() || later.TakeMark() {
			t.Error("E8: a guard is marked that was not inside before")
		}
		if !inside.TakeMark() || inside.TakeMark() {
			t.Error("E8: a guard that was marked is to be told once")
		}
		// Nobody is to be told on behalf of a guard that has said nothing.
		inside.Enter()
		m.current.Add(1)
		m.Mark()
		inside.Exit()
		if n := m.Mark(); n != 0 || inside.TakeMark() {
			t.Errorf("E8: %d guards are marked although none is inside", n)
		}
	})
}

// Whoever leaves while guards are marked finds its mark or is not counted (E8).
func TestMark_BesideOneWhoLeaves(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		var entered, leave, left atomic.Int64 // the round in which that was
		await := func(a *atomic.Int64, round int64) {
			for looks := 0; a.Load() < round; looks++ {
				if looks > 10_000 { // else it would take long to notice
					runtime.Gosched()
				}
			}
		}
		rounds := int64(testkit.UnderRace(500, testkit.Scaled(1000, 20_000, 20_000, 1_000_000)))
		told := make([]bool, rounds+1)
		g := m.Register()
		var leaver sync.WaitGroup
		leaver.Go(func() {
			for r := int64(1); r <= rounds; r++ {
				g.Enter()
				entered.Store(r)
				await(&leave, r)
				g.Exit()
				told[r] = g.TakeMark()
				left.Store(r)
			}
		})
		for r := int64(1); r <= rounds; r++ {
			await(&entered, r)
			m.current.Add(1)
			leave.Store(r)
			for range r % 128 { // so that the two meet at every point
				leave.Load()
			}
			marked := m.Mark()
			await(&left, r)
			if marked == 1 != told[r] {
				t.Errorf("E8: round %d: %d marked, told: %v", r, marked, told[r])
				leave.Store(rounds)
				break
			}
		}
		leaver.Wait()
	})
}
