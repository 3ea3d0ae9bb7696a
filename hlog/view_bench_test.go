package hlog

import (
	"context"
	"math/rand/v2"
	"testing"
)

// A scan of a view beside one of the store, of the same small records, in turns: nanoseconds per record of each, and the
// ratio. The store was closed and opened again, as it is when a view is opened to copy it.
func BenchmarkViewScan(b *testing.B) {
	const keys = 181_000
	dir := b.TempDir()
	s := mustOpen(b, dir, nil)
	for _, i := range rand.Perm(keys) {
		must(b, s.Set(key8(i), key8(i)))
	}
	must(b, s.Close())
	s = mustOpen(b, dir, nil)
	ctx := context.Background()
	count := func(scan func(context.Context, func(key, value []byte) bool) error) {
		n := 0
		must(b, scan(ctx, func(key, value []byte) bool { n++; return true }))
		if n != keys {
			b.Fatalf("%d keys", n)
		}
	}
	count(s.Scan)
	b.StopTimer()
	stores := b.Elapsed()
	for range b.N {
		b.StopTimer()
		at := b.Elapsed()
		b.StartTimer()
		count(s.Scan)
		b.StopTimer()
		stores += b.Elapsed() - at
		b.StartTimer()
		v, err := s.OpenVersion(ctx, 0)
		must(b, err)
		count(v.Scan)
		must(b, v.Close())
	}
	views := b.Elapsed() - stores
	per := float64(b.N) * keys
	b.ReportMetric(float64(stores.Nanoseconds())/per, "store-ns/record")
	b.ReportMetric(float64(views.Nanoseconds())/per, "view-ns/record")
	b.ReportMetric(float64(views)/float64(stores), "view/store")
}
