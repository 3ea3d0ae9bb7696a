package hlog

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkSessionUnit is what a unit costs beyond its operations: some thousand operations without units and as many in a unit
// each take turns, and it reports the median and the quartiles of the difference, in nanoseconds per unit.
func BenchmarkSessionUnit(b *testing.B) {
	s := mustOpen(b, b.TempDir(), &Options{MemoryBytes: 64 << 20})
	x := s.NewSession()
	counts, err := NewTable[uint64, uint64](x)
	must(b, err)
	increment := func(n *uint64, _ bool) { *n++ }
	for name, op := range map[string]func() error{
		"nothing": func() error { return nil },
		"update":  func() error { return counts.Update(1, increment) },
	} {
		must(b, op())
		b.Run("fn="+name, func(b *testing.B) {
			const ops = 4000
			var costs []float64
			for b.Loop() {
				start := time.Now()
				for range ops {
					op()
				}
				without := time.Since(start)
				start = time.Now()
				for range ops {
					x.Unit(op)
				}
				costs = append(costs, float64((time.Since(start)-without).Nanoseconds())/ops)
			}
			slices.Sort(costs)
			b.ReportMetric(0, "ns/op")
			for name, share := range map[string]float64{"q1-ns/unit": 0.25, "median-ns/unit": 0.5, "q3-ns/unit": 0.75} {
				b.ReportMetric(costs[int(share*float64(len(costs)-1))], name)
			}
		})
	}
}

// BenchmarkBeginCheckpointDuringUnits takes cuts while sessions have units of two updates without a pause. It reports how
// many units there are per second, and how long BeginCheckpoint takes. A thousand sessions yield, between units or in the
// middle of each: a commit would take minutes behind goroutines that run for 10 ms each. BenchmarkGateShut of package units is
// the same without a store.
func BenchmarkBeginCheckpointDuringUnits(b *testing.B) {
	for _, c := range []struct {
		sessions int
		yield    string
	}{{1, "never"}, {2, "never"}, {16, "never"}, {1000, "between"}, {1000, "within"}} {
		b.Run(fmt.Sprintf("sessions=%d/yield=%s", c.sessions, c.yield), func(b *testing.B) { cutsDuringUnits(b, c.sessions, c.yield) })
	}
}

func cutsDuringUnits(b *testing.B, sessions int, yield string) {
	s := mustOpen(b, b.TempDir(), &Options{MemoryBytes: 256 << 20, NoCompaction: true})
	var units atomic.Int64
	var ended atomic.Bool
	var workers sync.WaitGroup
	for w := range sessions {
		workers.Go(func() {
			x := s.NewSession()
			defer x.Close()
			counts, err := NewTable[uint64, uint64](x)
			must(b, err)
			n, k := int64(0), uint64(0)
			increment := func(n *uint64, _ bool) { *n++ }
			move := func() error {
				k = (k*0x9e3779b97f4a7c15 + uint64(w)) >> 1
				if err := counts.Update(k%100_000, increment); err != nil {
					return err
				}
				if yield == "within" {
					runtime.Gosched()
				}
				return counts.Update(k%99_991, increment)
			}
			for ; !ended.Load(); n++ {
				if err := x.Unit(move); err != nil { // must locks a mutex of b, for which the sessions would wait
					must(b, err)
				}
				if yield == "between" {
					runtime.Gosched()
				}
			}
			units.Add(n)
		})
	}
	reportCuts(b, s, func() int64 {
		ended.Store(true)
		workers.Wait()
		return units.Load()
	})
}

// reportCuts takes cuts one after the other and reports how long BeginCheckpoint takes, and how many units there are per second:
// end ends them and returns how many there were.
func reportCuts(b *testing.B, s *Store, end func() (units int64)) {
	var took []time.Duration
	began := time.Now()
	for b.Loop() {
		start := time.Now()
		p, err := s.BeginCheckpoint()
		took = append(took, time.Since(start))
		must(b, err)
		_, err = p.Wait(context.Background())
		must(b, err)
	}
	units := end()
	slices.Sort(took)
	b.ReportMetric(float64(units)/time.Since(began).Seconds(), "units/s")
	for name, share := range map[string]float64{"p50-us": 0.5, "p99-us": 0.99, "max-us": 1} {
		b.ReportMetric(float64(took[int(share*float64(len(took)-1))].Nanoseconds())/1000, name)
	}
}
