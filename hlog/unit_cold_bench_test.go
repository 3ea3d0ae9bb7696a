package hlog

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkBeginCheckpointDuringColdUnits takes cuts while sessions have units of two gets whose records are mostly on the disk. It
// reports how long BeginCheckpoint takes, and the slowest get meanwhile, which a cut may have to wait for.
func BenchmarkBeginCheckpointDuringColdUnits(b *testing.B) {
	const sessions, keys = 16, 200_000
	s := mustOpen(b, b.TempDir(), &Options{MemoryBytes: 16 << 20, NoCompaction: true, NoReadCache: true})
	value := make([]byte, 500)
	for i := range keys {
		must(b, s.Set(key8(i), value))
	}
	commit(b, s)
	var ended atomic.Bool
	var units, slowest atomic.Int64
	var workers sync.WaitGroup
	for w := range sessions {
		workers.Go(func() {
			x := s.NewSession()
			defer x.Close()
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			var dst []byte
			n, most := int64(0), int64(0)
			for ; !ended.Load(); n++ {
				must(b, x.Unit(func() (err error) {
					for range 2 {
						began := time.Now()
						if dst, err = x.Get(dst[:0], key8(rng.IntN(keys))); err != nil {
							return err
						}
						most = max(most, int64(time.Since(began)))
					}
					return x.Set(key8(keys+w), nil)
				}))
			}
			units.Add(n)
			for old := slowest.Load(); most > old && !slowest.CompareAndSwap(old, most); old = slowest.Load() {
			}
		})
	}
	reportCuts(b, s, func() int64 {
		ended.Store(true)
		workers.Wait()
		return units.Load()
	})
	b.ReportMetric(float64(slowest.Load())/1000, "slowest-get-us")
}
