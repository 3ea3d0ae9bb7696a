package epoch

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

func TestDefer_RunsEveryActionExactlyOnce(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		const callers, each = 8, 500
		ran := make([]atomic.Int32, callers*each)
		var at atomic.Int32
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				g := m.Register()
				defer g.Release()
				for i := range each {
					g.Enter()
					m.Defer(func() { // from inside
						if at.Add(1) != 1 {
							t.Error("E3: two actions at the same time")
						}
						ran[c*each+i].Add(1)
						at.Add(-1)
					})
					g.Exit()
				}
			})
		}
		wg.Wait()
		m.Close()
		for i := range ran {
			if n := ran[i].Load(); n != 1 {
				t.Fatalf("E3: action %d ran %d times", i, n)
			}
		}
	})
}

func TestDefer_KeepsTheOrder(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		var got []int
		for i := range 100 {
			m.Defer(func() { got = append(got, i) })
			if i%7 == 0 {
				runtime.Gosched()
			}
		}
		m.Close()
		if len(got) != 100 {
			t.Fatalf("%d of 100 actions ran", len(got))
		}
		for i, v := range got {
			if v != i {
				t.Fatalf("action %d ran in place %d", v, i)
			}
		}
	})
}

func TestDefer_ActionsDeferActions(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		var ran int
		var again func()
		again = func() {
			if ran++; ran < 50 {
				m.Defer(again)
			}
		}
		m.Defer(again)
		m.Close()
		if ran != 50 {
			t.Fatalf("a chain of 50 actions ran %d times", ran)
		}
	})
}

func TestDefer_WaitsForGuardsInside(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		g := m.Register()
		g.Enter()
		var left, ran atomic.Bool
		m.Defer(func() {
			if !left.Load() {
				t.Error("E3: an action ran while a guard from before its Defer was inside")
			}
			ran.Store(true)
		})
		waits(t, ").runActions(", ran.Load)
		left.Store(true)
		g.Exit()
		m.Close()
		if !ran.Load() {
			t.Fatal("E3: the action never ran")
		}
		g.Release()
	})
}

func TestDefer_GoroutineExistsOnlyWhileActionsArePending(t *testing.T) {
	running := func() bool {
		return testkit.Stands("created by github.com/hybridlog/hybridlog/epoch.(*Manager).Defer")
	}
	m := New()
	g := m.Register()
	for range 3 {
		g.Enter()
		m.Defer(func() {})
		if !running() {
			t.Fatal("no goroutine although an action is pending")
		}
		g.Exit()
		m.Close()
		testkit.Eventually(t, "the goroutine to end", func() bool { return !running() }) // it has nothing left to do but to return
	}
	g.Release()
}

func TestClose_TwiceAndUseAfter(t *testing.T) {
	m := New()
	m.Close()
	m.Close()
	ran := make(chan struct{})
	m.Defer(func() { close(ran) })
	<-ran
	g := m.Register()
	g.Enter()
	g.Exit()
	g.Release()
	m.Synchronize()
	m.Close()
}
