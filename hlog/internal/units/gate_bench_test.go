package units

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// BenchmarkGateShut shuts the gate while goroutines pass it without a pause, in units of half a microsecond that touch nothing.
// So it is how long a cut waits for the scheduler alone. It reports how many units there are per second, and how long Shut takes.
//
// Goroutines that never yield run for 10 ms each, so that few of those who wait at the gate come to run between two cuts. With
// yield=between all are ready to run, but no unit is under way while its goroutine waits to run. With yield=within each one is:
// then a cut has to wait until all of them have run.
func BenchmarkGateShut(b *testing.B) {
	for _, sessions := range []int{1, 2, 16, 1000} {
		for _, yield := range []string{"never", "between", "within"} {
			b.Run(fmt.Sprintf("sessions=%d/yield=%s", sessions, yield), func(b *testing.B) { shutDuringUnits(b, sessions, yield) })
		}
	}
}

func shutDuringUnits(b *testing.B, sessions int, yield string) {
	g := newGate()
	var units atomic.Int64
	var ended atomic.Bool
	var all sync.WaitGroup
	for range sessions {
		u := g.Register()
		all.Go(func() {
			n := int64(0)
			for ; !ended.Load(); n++ {
				if err := g.Pass(u); err != nil {
					b.Error(err)
					return
				}
				spin(250)
				if yield == "within" {
					runtime.Gosched()
				}
				spin(250)
				g.Leave(u)
				if yield == "between" {
					runtime.Gosched()
				}
			}
			units.Add(n)
		})
	}
	var took []time.Duration
	began := time.Now()
	for b.Loop() {
		start := time.Now()
		if err := g.Shut(never); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		g.Open()
		testkit.Pause(10 * time.Millisecond)
	}
	ended.Store(true)
	all.Wait()
	b.ReportMetric(float64(units.Load())/time.Since(began).Seconds(), "units/s")
	reportTimes(b, took)
}

func reportTimes(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	for name, share := range map[string]float64{"p50-us": 0.5, "p99-us": 0.99, "max-us": 1} {
		b.ReportMetric(float64(took[int(share*float64(len(took)-1))].Nanoseconds())/1000, name)
	}
}

// BenchmarkTurnBesideSpinning is how long a goroutine that gives up its processor waits until it has one again, beside
// goroutines that never do. There is no gate and no unit: so much the scheduler takes from whoever is preempted, or yields, while
// he takes a cut.
func BenchmarkTurnBesideSpinning(b *testing.B) {
	for _, spinning := range []int{1, 2, 16} {
		b.Run(fmt.Sprintf("spinning=%d", spinning), func(b *testing.B) {
			var ended atomic.Bool
			var all sync.WaitGroup
			for range spinning {
				all.Go(func() {
					for !ended.Load() {
						spin(500)
					}
				})
			}
			var took []time.Duration
			for b.Loop() {
				testkit.Pause(20 * time.Millisecond) // the others run, and all processors are taken
				start := time.Now()
				runtime.Gosched()
				took = append(took, time.Since(start))
			}
			ended.Store(true)
			all.Wait()
			reportTimes(b, took)
		})
	}
}

var sink atomic.Uint64

// spin does nothing for some turns of a loop.
func spin(turns int) {
	x := uint64(turns)
	for range turns {
		x ^= x << 13
		x ^= x >> 7
	}
	if x == 1 {
		sink.Add(x)
	}
}
