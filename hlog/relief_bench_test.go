package hlog

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkBeyond has 3 M keys of 8+8 bytes in 24 MiB, of which the index alone does not fit: a load without a version, then
// Multi calls of 512 keys, with a cold tier as the memory asks for it, and with none.
//
//	go test ./hlog -run '^$' -bench Beyond -benchtime 3s
func BenchmarkBeyond(b *testing.B) {
	const keys, group = 3_000_000, 512
	for _, after := range []int64{0, -1} {
		b.Run(fmt.Sprintf("ColdAfter=%d", after), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), &Options{MemoryBytes: 24 << 20, ColdAfter: after})
			defer s.Close()
			tab, err := NewTable[uint64, uint64](s.NewSession())
			must(b, err)
			ks, vs, found := make([]uint64, group), make([]uint64, group), make([]bool, group)
			began := time.Now()
			for k := uint64(0); k < keys; k += group {
				for i := range ks {
					ks[i] = scattered(k+uint64(i), keys)
				}
				must(b, tab.MultiSet(ks, vs))
			}
			load := keys / time.Since(began).Seconds()
			_, err = s.Checkpoint(b.Context())
			must(b, err)
			popular := newZipf(keys, 0.99)
			rng := rand.New(rand.NewPCG(1, 2))
			for _, d := range []struct {
				name string
				key  func() uint64
			}{
				{"uniform", func() uint64 { return rng.Uint64N(keys) }},
				{"zipf", func() uint64 { return scattered(popular.next(rng), keys) }},
			} {
				for _, o := range []struct {
					name string
					do   func() error
				}{
					{"get", func() error { return tab.MultiGet(ks, vs, found) }},
					{"rmw", func() error { return tab.MultiUpdate(ks, func(_ int, v *uint64, _ bool) { *v++ }) }},
				} {
					b.Run(fmt.Sprintf("dist=%s/op=%s", d.name, o.name), func(b *testing.B) {
						before := s.Metrics()
						for b.Loop() {
							for i := range ks {
								ks[i] = d.key()
							}
							must(b, o.do())
						}
						m := s.Metrics()
						n := float64(b.N * group)
						b.ReportMetric(n/b.Elapsed().Seconds(), "ops/s")
						b.ReportMetric(float64(m.ColdReadCount-before.ColdReadCount)/n, "reads/op")
						b.ReportMetric(0, "ns/op")
					})
				}
			}
			b.Run("load", func(b *testing.B) {
				m := s.Metrics()
				b.ReportMetric(load, "ops/s")
				b.ReportMetric(0, "ns/op")
				if m.ColdRecords > 0 {
					b.ReportMetric(float64(m.ColdMemoryBytes)/float64(m.ColdRecords), "B/cold-record")
				}
			})
		})
	}
}

// scattered returns another number below n for each number below it.
func scattered(k, n uint64) uint64 { return k % n * 2_654_435_761 % n }

// zipf draws numbers below n, of which small ones are popular (Gray et al., SIGMOD 1994).
type zipf struct{ n, theta, alpha, zeta, eta float64 }

func newZipf(n int, theta float64) *zipf {
	z := &zipf{n: float64(n), theta: theta, alpha: 1 / (1 - theta)}
	for i := 1; i <= n; i++ {
		z.zeta += 1 / math.Pow(float64(i), theta)
	}
	z.eta = (1 - math.Pow(2/z.n, 1-theta)) / (1 - (1+math.Pow(0.5, theta))/z.zeta)
	return z
}

func (z *zipf) next(rng *rand.Rand) uint64 {
	u := rng.Float64()
	switch at := u * z.zeta; {
	case at < 1:
		return 0
	case at < 1+math.Pow(0.5, z.theta):
		return 1
	}
	return uint64(z.n * math.Pow(z.eta*u-z.eta+1, z.alpha))
}
