package hlog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkSessionUnit is what a unit costs beyond its operations.
func BenchmarkSessionUnit(b *testing.B) {
	s := mustOpen(b, b.TempDir(), &Options{MemoryBytes: 64 << 20})
	x := s.NewSession()
	counts, err := NewTable[uint64, uint64](x)
	must(b, err)
	increment := func(n *uint64, _ bool) { *n++ }
	update := func() error { return counts.Update(1, increment) }
	must(b, update())
	b.Run("fn=nothing", func(b *testing.B) {
		nothing := func() error { return nil }
		for b.Loop() {
			x.Unit(nothing)
		}
	})
	b.Run("fn=update", func(b *testing.B) {
		for b.Loop() {
			x.Unit(update)
		}
	})
	b.Run("fn=update/unit=none", func(b *testing.B) {
		for b.Loop() {
			update()
		}
	})
}

// BenchmarkBeginCheckpointDuringUnits takes cuts while sessions have units of two updates without a pause. It reports how
// many units there are per second, and how long BeginCheckpoint takes.
func BenchmarkBeginCheckpointDuringUnits(b *testing.B) {
	for _, sessions := range []int{1, 2, 16, 1000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) { cutsDuringUnits(b, sessions) })
	}
}

func cutsDuringUnits(b *testing.B, sessions int) {
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
				return counts.Update(k%99_991, increment)
			}
			for ; !ended.Load(); n++ {
				must(b, x.Unit(move))
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
