package units

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// BenchmarkGateShut shuts the gate while goroutines pass it without a pause, in units of half a microsecond that touch nothing.
// So it is how long a cut waits for the scheduler alone. It reports how many units there are per second, and how long Shut takes.
func BenchmarkGateShut(b *testing.B) {
	for _, sessions := range []int{1, 2, 16, 1000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) { shutDuringUnits(b, sessions) })
	}
}

func shutDuringUnits(b *testing.B, sessions int) {
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
				spin(500)
				g.Leave(u)
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
	slices.Sort(took)
	b.ReportMetric(float64(units.Load())/time.Since(began).Seconds(), "units/s")
	for name, share := range map[string]float64{"p50-us": 0.5, "p99-us": 0.99, "max-us": 1} {
		b.ReportMetric(float64(took[int(share*float64(len(took)-1))].Nanoseconds())/1000, name)
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
