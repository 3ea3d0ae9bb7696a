package hlog

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// coldKeys and coldValue make a state of 100 MB, of which 16 MiB is memory.
const coldKeys = 200_000

type coldValue [480]byte

// coldStore returns a store on the file system of the machine whose records are nearly all on disk.
func coldStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), &Options{MemoryBytes: 16 << 20, NoReadCache: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	x := s.NewSession()
	defer x.Close()
	table := mustTable[uint64, coldValue](b, x)
	for i := range uint64(coldKeys) {
		if err := table.Set(i, coldValue{byte(i)}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func mustTable[K comparable, V any](b *testing.B, x *Session) *Table[K, V] {
	t, err := NewTable[K, V](x)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// reportReads reports the rate of reads from disk. Compare with BenchmarkQueue in internal/fsx, the device's own.
func reportReads(b *testing.B, s *Store, before Metrics) {
	m := s.Metrics().Sub(before)
	b.ReportMetric(float64(m.ColdReadCount)/b.Elapsed().Seconds(), "reads/s")
	b.ReportMetric(float64(m.ColdReadCount)/float64(b.N), "reads/op")
}

// BenchmarkColdMulti reads and updates uniformly chosen keys by Multi calls of one goroutine. An operation is a key.
func BenchmarkColdMulti(b *testing.B) {
	s := coldStore(b)
	for _, op := range []string{"get", "update"} {
		for _, batch := range []int{32, 128, 512, 2048} {
			b.Run(fmt.Sprintf("op=%s/batch=%d", op, batch), func(b *testing.B) {
				x := s.NewSession()
				defer x.Close()
				table := mustTable[uint64, coldValue](b, x)
				keys, values, found := make([]uint64, batch), make([]coldValue, batch), make([]bool, batch)
				before := s.Metrics()
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += batch {
					for i := range keys {
						keys[i] = rand.Uint64N(coldKeys)
					}
					var err error
					if op == "get" {
						err = table.MultiGet(keys, values, found)
					} else {
						err = table.MultiUpdate(keys, func(_ int, v *coldValue, _ bool) { v[1]++ })
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				reportReads(b, s, before)
			})
		}
	}
}

// BenchmarkColdGet reads uniformly chosen keys one by one, from many goroutines.
func BenchmarkColdGet(b *testing.B) {
	s := coldStore(b)
	for _, goroutines := range []int{1, 2, 3, 4, 16, 64, 256} {
		b.Run(fmt.Sprintf("g=%d", goroutines), func(b *testing.B) {
			before := s.Metrics()
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					x := s.NewSession()
					defer x.Close()
					table := mustTable[uint64, coldValue](b, x)
					for n := g; n < b.N; n += goroutines {
						if _, ok, err := table.Get(rand.Uint64N(coldKeys)); !ok || err != nil {
							b.Error(ok, err)
							return
						}
					}
				})
			}
			wg.Wait()
			reportReads(b, s, before)
		})
	}
}
