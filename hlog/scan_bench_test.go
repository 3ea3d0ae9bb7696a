package hlog

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// Walks over a log in memory: a million records of 8 bytes, in an order that the index does not share. Per record.
func BenchmarkScan(b *testing.B) {
	const keys = 1 << 20
	s := mustOpen(b, b.TempDir(), nil)
	x := s.NewSession()
	defer x.Close()
	for _, i := range rand.Perm(keys) {
		must(b, x.Set(key8(i), make([]byte, 8)))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		n := 0
		must(b, s.Scan(context.Background(), func(key, value []byte) bool {
			n += int(binary.BigEndian.Uint64(key) & 1)
			return true
		}))
		if n != keys/2 {
			b.Fatalf("%d odd keys", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/record")
}

// Compaction of a log of which half is dead. Per record looked at.
func BenchmarkCompact(b *testing.B) {
	const keys = 1 << 20
	o := &Options{NoCompaction: true}
	s := mustOpen(b, b.TempDir(), o)
	x := s.NewSession()
	defer x.Close()
	set := func(step int) {
		for i := 0; i < keys; i += step {
			must(b, x.Set(key8(i), make([]byte, 8)))
		}
		commit(b, s)
	}
	for range b.N {
		b.StopTimer()
		set(1)
		must(b, s.Compact(context.Background())) // as long as it was before the last round
		commit(b, s)
		set(2)
		b.StartTimer()
		must(b, s.Compact(context.Background()))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(keys+keys/2), "ns/record")
}
