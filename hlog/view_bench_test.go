package hlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A scan of a view beside one of the store, of the same small records, in turns: milliseconds of each and the ratio, as medians,
// and besides what opening the view takes. The store was closed and opened again, as it is when a view is opened to copy it, and
// has loaded its index and filled its memory. dead is the part of the records that others have superseded.
func BenchmarkViewScan(b *testing.B) {
	for _, keys := range []int{181_000, 1_000_000, 10_000_000} {
		for _, dead := range []float64{0, 0.25} {
			b.Run(fmt.Sprintf("keys=%d/dead=%g", keys, dead), func(b *testing.B) { benchmarkViewScan(b, keys, dead) })
		}
	}
}

func benchmarkViewScan(b *testing.B, keys int, dead float64) {
	dir, o := b.TempDir(), &Options{MemoryBytes: 2 << 30, NoCompaction: true}
	s := mustOpen(b, dir, o)
	x := s.NewSession()
	for _, i := range rand.Perm(keys) {
		must(b, x.Set(key8(i), key8(i)))
	}
	commit(b, s)
	for _, i := range rand.Perm(keys)[:int(dead/(1-dead)*float64(keys))] {
		must(b, x.Set(key8(i), key8(i+1)))
	}
	must(b, x.Close())
	must(b, s.Close())
	s = mustOpen(b, dir, o)
	eventually(b, "what was in memory before", s.warmed.Load)
	ctx := context.Background()
	timed := func(scan func(context.Context, func(key, value []byte) bool) error) time.Duration {
		n, at := 0, time.Now()
		must(b, scan(ctx, func(key, value []byte) bool { n++; return true }))
		if n != keys {
			b.Fatalf("%d keys", n)
		}
		return time.Since(at)
	}
	timed(s.Scan)
	var stores, views, opens []time.Duration
	b.ResetTimer()
	for range b.N {
		stores = append(stores, timed(s.Scan))
		at := time.Now()
		v, err := s.OpenVersion(ctx, 0)
		must(b, err)
		opens = append(opens, time.Since(at))
		views = append(views, timed(v.Scan))
		must(b, v.Close())
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Microseconds()) / 1000
	}
	b.ReportMetric(median(stores), "store-ms")
	b.ReportMetric(median(views), "view-ms")
	b.ReportMetric(median(opens), "open-ms")
	b.ReportMetric(median(views)/median(stores), "view/store")
}
