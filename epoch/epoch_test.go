package epoch

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// managers runs test with every way in which a guard can enter.
func managers(t *testing.T, test func(t *testing.T, m *Manager)) {
	t.Run("default", func(t *testing.T) {
		m := New()
		defer m.Close()
		test(t, m)
	})
	t.Run("portable", func(t *testing.T) {
		m := newManager(false, nil)
		defer m.Close()
		test(t, m)
	})
}

// async runs fn and returns a channel that is closed when it has returned.
func async(fn func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	return done
}

// waits returns when a goroutine in function f waits for a guard, as it should, or when gone returns true because it
// has not.
func waits(t *testing.T, f string, gone func() bool) {
	t.Helper()
	testkit.Eventually(t, "a goroutine that waits for a guard", func() bool { return gone() || testkit.Stands("[sleep", f, ").wait(") })
}

func TestGuard_EnterExitRelease(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		g := m.Register()
		if g.Active() {
			t.Fatal("a new guard is inside")
		}
		for range 3 {
			g.Enter()
			if !g.Active() {
				t.Fatal("not inside after Enter")
			}
			g.Exit()
			if g.Active() {
				t.Fatal("inside after Exit")
			}
			m.Synchronize()
		}
		g.Release()
		g.Release()
		if n := len(m.free); n != chunkCells {
			t.Fatalf("%d free cells after a double Release, want %d", n, chunkCells)
		}
	})
}

func TestGuard_UseAfterReleaseFaults(t *testing.T) {
	m := New()
	g := m.Register()
	g.Release()
	defer func() {
		if recover() == nil {
			t.Fatal("Enter after Release went through without protection")
		}
	}()
	g.Enter()
}

func TestSynchronize_WaitsForGuardInside(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		for range 20 {
			g := m.Register()
			g.Enter()
			var left atomic.Bool
			done := async(func() {
				m.Synchronize()
				if !left.Load() {
					t.Error("E2: Synchronize returned while a guard was inside")
				}
			})
			waits(t, ").Synchronize(", func() bool { return testkit.Closed(done) })
			left.Store(true)
			g.Exit()
			<-done
			g.Release()
		}
	})
}

func TestSynchronize_IsSatisfiedByLeavingAndEnteringAgain(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		g := m.Register()
		g.Enter()
		before := m.current.Load()
		done := async(m.Synchronize)
		testkit.Eventually(t, "the next epoch", func() bool { return m.current.Load() != before })
		g.Exit()
		g.Enter() // a newer epoch: the waiter need never see the guard outside
		<-done
		if !g.Active() {
			t.Fatal("not inside")
		}
		g.Exit()
		g.Release()
	})
}

func TestSynchronize_IgnoresGuardsOutside(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		guards := make([]*Guard, 100)
		for i := range guards {
			guards[i] = m.Register()
			if i%2 == 0 {
				guards[i].Enter()
				guards[i].Exit()
			}
		}
		for range 10 {
			m.Synchronize() // must not hang
		}
		runtime.KeepAlive(guards)
	})
}

func TestSynchronize_ManyAtOnce(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		const callers, rounds = 4, 100
		var readers, waiters sync.WaitGroup
		var stop atomic.Bool
		for range 2 {
			readers.Go(func() {
				g := m.Register()
				defer g.Release()
				for !stop.Load() {
					g.Enter()
					g.Exit()
					runtime.Gosched() // on two processors the callers want a turn, too
				}
			})
		}
		start := m.current.Load()
		for range callers {
			waiters.Go(func() {
				for range rounds {
					m.Synchronize()
				}
			})
		}
		waiters.Wait()
		stop.Store(true)
		readers.Wait()
		if got := m.current.Load() - start; got != callers*rounds {
			t.Fatalf("the epoch grew by %d, want %d", got, callers*rounds)
		}
	})
}

// litmus is the reclamation that the package is for: a slot is taken out of reach, the epoch drained, the slot
// poisoned. It returns how many reads met poison. Only the store of Enter being seen late can make that happen, so
// readers fill their store buffers before it, and stay inside for a while after their first load. It runs for a time
// and not for a number of rounds, because rounds are fast exactly when the barrier is missing: with the barrier left
// out, two cores make some three million rounds per second and meet poison in ten thousands of them.
func litmus(t *testing.T, m *Manager, duration time.Duration) (poisonedReads, rounds int64) {
	const slots, noiseLines, live = 64, 64, 1
	region, err := mem.Map((1 + slots + noiseLines) * linePair)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Unmap()
	at := func(line int) mem.Ptr { return region.At(uintptr(line) * linePair) }
	current := at(0)
	slot := func(i uint64) mem.Ptr { return at(1 + int(i)) }
	noise := func(i int) mem.Ptr { return at(1 + slots + i%noiseLines) }
	mem.StoreRelease(slot(0), live)

	var poisoned, running atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range max(1, runtime.GOMAXPROCS(0)-1) {
		wg.Go(func() {
			g := m.Register()
			defer g.Release()
			running.Add(1)
			for n := 0; !stop.Load(); n++ {
				for i := range 24 {
					mem.StoreRelease(noise(n+i*5), uint64(n))
				}
				g.Enter()
				i := mem.Load(current)
				for range 40 {
					if mem.Load(slot(i)) != live {
						poisoned.Add(1)
						break
					}
				}
				g.Exit()
			}
		})
	}
	for running.Load() == 0 {
		runtime.Gosched()
	}
	for end := time.Now().Add(duration); rounds%256 != 0 || time.Now().Before(end); rounds++ {
		n := int(rounds)
		old := uint64(n % slots)
		next := (old + 1) % slots
		mem.StoreRelease(slot(next), live)
		mem.Word(current).Store(next)
		mem.StoreRelease(noise(n), 0)
		m.Synchronize()
		mem.StoreRelease(slot(old), 0)
	}
	stop.Store(true)
	wg.Wait()
	return poisoned.Load(), rounds
}

func TestSynchronize_NobodyReadsWhatWasReclaimed(t *testing.T) {
	duration := time.Second
	if testing.Short() {
		duration /= 4
	}
	for name, m := range waysToFence() {
		t.Run(name, func(t *testing.T) {
			defer m.Close()
			if n, rounds := litmus(t, m, duration); n != 0 {
				t.Fatalf("E2: %d reads met reclaimed memory in %d rounds", n, rounds)
			}
		})
	}
}

func TestRegister_DuringSynchronize(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		var entered, drained atomic.Int64
		var wg sync.WaitGroup
		var stop atomic.Bool
		for range 2 {
			wg.Go(func() {
				for !stop.Load() {
					guards := make([]*Guard, chunkCells+8) // so that the list of chunks grows meanwhile
					for i := range guards {
						guards[i] = m.Register()
						guards[i].Enter()
						seen := drained.Load()
						if i%8 == 0 {
							runtime.Gosched()
						}
						// One may have been under way; the next began after Enter and cannot have ended.
						if drained.Load() > seen+1 {
							t.Error("E2: Synchronize passed a guard that had just been registered")
						}
						guards[i].Exit()
						entered.Add(1)
					}
					for _, g := range guards {
						g.Release()
					}
				}
			})
		}
		for entered.Load() == 0 {
			runtime.Gosched()
		}
		for range 300 {
			m.Synchronize()
			drained.Add(1)
		}
		stop.Store(true)
		wg.Wait()
	})
}

func TestRegister_TenThousandGuards(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		const n = 10_000
		guards := make([]*Guard, n)
		cells := make(map[*cell]bool, n)
		for i := range guards {
			guards[i] = m.Register()
			if cells[guards[i].cell] {
				t.Fatal("E4: two guards share a cell")
			}
			cells[guards[i].cell] = true
		}
		last := guards[n-1]
		last.Enter()
		var left atomic.Bool
		done := async(func() {
			m.Synchronize()
			if !left.Load() {
				t.Error("E2: the last of 10,000 guards was not waited for")
			}
		})
		waits(t, ").Synchronize(", func() bool { return testkit.Closed(done) })
		left.Store(true)
		last.Exit()
		<-done
		for _, g := range guards {
			g.Release()
		}
		chunks := len(*m.chunks.Load())
		for i := range guards {
			guards[i] = m.Register()
		}
		if got := len(*m.chunks.Load()); got != chunks {
			t.Fatalf("E4: cells were not reused: %d chunks, then %d", chunks, got)
		}
		runtime.KeepAlive(guards)
	})
}

func TestGuard_BlockedInsideStopsNoOtherGuard(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		blocked := m.Register()
		blocked.Enter()
		var left, ran atomic.Bool
		waiting := async(func() {
			m.Synchronize()
			if !left.Load() {
				t.Error("E2: Synchronize passed the blocked guard")
			}
		})
		m.Defer(func() {
			if !left.Load() {
				t.Error("E3: an action passed the blocked guard")
			}
			ran.Store(true)
		})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					g := m.Register()
					for range 1_000 {
						g.Enter()
						g.Exit()
					}
					g.Release()
				}
			})
		}
		wg.Wait() // E5: everybody else gets done
		left.Store(true)
		blocked.Exit()
		<-waiting
		m.Close()
		if !ran.Load() {
			t.Fatal("E3: Close returned before the action ran")
		}
		blocked.Release()
	})
}

func TestGuard_SleepsInsideOnOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	managers(t, func(t *testing.T, m *Manager) {
		var left atomic.Bool
		entered := make(chan struct{})
		wg := async(func() {
			g := m.Register()
			defer g.Release()
			g.Enter()
			close(entered)
			testkit.Pause(3 * time.Millisecond)
			left.Store(true)
			g.Exit()
		})
		<-entered
		m.Synchronize()
		if !left.Load() {
			t.Fatal("E2: Synchronize returned while a guard slept inside")
		}
		<-wg
	})
}

func TestGuard_ReleasedInsideNoLongerHoldsAnybodyUp(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		g := m.Register()
		g.Enter()
		done := async(m.Synchronize)
		waits(t, ").Synchronize(", func() bool { return testkit.Closed(done) })
		if testkit.Closed(done) {
			t.Fatal("E2: Synchronize returned while a guard was inside")
		}
		g.Release()
		<-done
	})
}

func TestGuard_CollectedWhileRegistered(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		forget := func(inside bool) {
			for range 50 {
				if g := m.Register(); inside {
					g.Enter()
				}
			}
		}
		freeCells := func() int {
			m.mu.Lock()
			defer m.mu.Unlock()
			return len(m.free)
		}
		for _, inside := range []bool{false, true} {
			forget(inside)
			done := async(m.Synchronize)
			testkit.Eventually(t, "the collector to give the cells back", func() bool {
				runtime.GC()
				return freeCells() == len(*m.chunks.Load())*chunkCells
			})
			<-done
		}
		// E4: what the collector gave back is as good as new.
		for range 100 {
			g := m.Register()
			if g.Active() {
				t.Fatal("E4: a recycled cell is not 0")
			}
			g.Release()
		}
	})
}

// A guard whose last use is Exit must survive until then, however often the collector looks (E6).
func TestGuard_NotCollectedWhileInside(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		for range 20 {
			g := m.Register()
			c := g.cell
			g.Enter()
			for range 2 {
				runtime.GC()
				runtime.Gosched()
			}
			if c.local.Load() == 0 {
				t.Fatal("E6: the collector took a guard that was inside")
			}
			g.Exit()
		}
	})
}

func TestEnterExit_AllocateNothing(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		g := m.Register()
		defer g.Release()
		if n := testing.AllocsPerRun(1000, func() {
			g.Enter()
			g.Exit()
		}); n != 0 {
			t.Fatalf("%v allocations", n)
		}
	})
}

func BenchmarkEnterExit(b *testing.B) {
	for _, portable := range []bool{false, true} {
		b.Run(fmt.Sprintf("portable=%v", portable), func(b *testing.B) {
			m := New()
			if portable {
				m = newManager(false, nil)
			}
			g := m.Register()
			defer g.Release()
			for b.Loop() {
				g.Enter()
				g.Exit()
			}
		})
	}
}

func BenchmarkSynchronize(b *testing.B) {
	for _, guards := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprintf("guards=%d", guards), func(b *testing.B) {
			m := New()
			all := make([]*Guard, guards)
			for i := range all {
				all[i] = m.Register()
			}
			for b.Loop() {
				m.Synchronize()
			}
			for _, g := range all {
				g.Release()
			}
		})
	}
}

func BenchmarkRegisterRelease(b *testing.B) {
	m := New()
	for b.Loop() {
		m.Register().Release()
	}
}

// E7: what a guard has counted stays when it is gone, and the next guard of its cell counts on.
func TestTotals_HoldWhatReleasedGuardsCounted(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		var want uint64
		for round := range 3 * chunkCells { // more guards than a chunk has cells
			g := m.Register()
			for i := range g.Tally() {
				g.Tally()[i].AddAlone(uint64(i + round))
			}
			want += uint64(round)
			if round%2 == 0 {
				g.Release()
			}
			for i, got := range m.Totals() {
				if got != want+uint64(i*(round+1)) {
					t.Fatalf("E7: after %d guards: %d of kind %d", round+1, got, i)
				}
			}
		}
	})
}
