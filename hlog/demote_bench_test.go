package hlog

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// BenchmarkDemotion has a log in which three of four records are superseded by others on disk, and measures gets of cold records,
// by a goroutine for each of a few, at first alone, then while all of the log on disk is demoted, and then while what was demoted
// is merged with as much again.
//
//	go test ./hlog -run '^$' -bench Demotion -benchtime 1x
func BenchmarkDemotion(b *testing.B) {
	for _, size := range []int{8, 100} {
		b.Run(fmt.Sprintf("value=%d", size), func(b *testing.B) {
			for b.Loop() {
				benchmarkDemotion(b, size)
			}
		})
	}
}

func benchmarkDemotion(b *testing.B, size int) {
	const keys = 500_000
	s := mustOpen(b, b.TempDir(), &Options{MemoryBytes: 16 << 20, ColdAfter: math.MaxInt64 / 2, NoCompaction: true, NoReadCache: true})
	defer s.Close()
	s.background.merges.Stop() // they are measured apart
	x := s.NewSession()
	defer x.Close()
	value := make([]byte, size)
	rng := rand.New(rand.NewPCG(1, 2))
	key := func(n uint64) []byte { return fmt.Appendf(nil, "%08d", n) }
	update := func(n int) {
		for i := range n {
			k := rng.Uint64N(keys)
			if i < keys && n > keys {
				k = uint64(i)
			}
			must(b, x.Set(key(k), value))
		}
	}
	update(4 * keys)
	report := func(name string, latencies []time.Duration, took time.Duration) {
		slices.Sort(latencies)
		n := len(latencies)
		if n == 0 {
			b.Fatalf("%s: it was over before the first get", name)
		}
		b.ReportMetric(float64(n)/took.Seconds(), name+"-gets/s")
		b.ReportMetric(float64(latencies[n/2].Microseconds()), name+"-p50-µs")
		b.ReportMetric(float64(latencies[n*99/100].Microseconds()), name+"-p99-µs")
	}
	report("alone", getsWhile(b, s, keys, key, func() { testkit.Pause(2 * time.Second) }), 2*time.Second)
	before, began := s.Metrics(), time.Now()
	latencies := getsWhile(b, s, keys, key, func() { must(b, s.demoteTo(b.Context(), s.log.Head())) })
	took := time.Since(began)
	report("demotion", latencies, took)
	m := s.Metrics().Sub(before)
	demoted := float64(m.ColdRecords)
	b.ReportMetric(took.Seconds(), "demotion-s")
	b.ReportMetric(demoted/took.Seconds(), "demoted/s")
	b.ReportMetric(float64(m.ProbeReadCount)/demoted, "reads/demoted")
	s.mergeCold()
	update(keys)
	must(b, s.demoteTo(b.Context(), s.log.Head()))
	began = time.Now()
	latencies = getsWhile(b, s, keys, key, s.mergeCold)
	report("merge", latencies, time.Since(began))
	b.ReportMetric(time.Since(began).Seconds(), "merge-s")
}

// getsWhile gets keys by four goroutines while fn runs, and returns how long each get took.
func getsWhile(b *testing.B, s *Store, keys uint64, key func(uint64) []byte, fn func()) (all []time.Duration) {
	var over atomic.Bool
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			x := s.NewSession()
			defer x.Close()
			var latencies []time.Duration
			for !over.Load() {
				began := time.Now()
				if _, err := x.Get(nil, key(rand.Uint64N(keys))); err != nil {
					b.Error(err)
					return
				}
				latencies = append(latencies, time.Since(began))
			}
			mu.Lock()
			all = append(all, latencies...)
			mu.Unlock()
		})
	}
	fn()
	over.Store(true)
	wg.Wait()
	return all
}
