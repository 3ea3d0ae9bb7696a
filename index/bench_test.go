package index

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/word"
)

// benchEntries is the size of the large table, 10 M unless HLOG_BENCH_KEYS says otherwise.
func benchEntries(b *testing.B) uint64 {
	if s := os.Getenv("HLOG_BENCH_KEYS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 40)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	return 10_000_000
}

// benchHash spreads i over all bits.
func benchHash(i uint64) uint64 {
	i ^= i >> 32
	i *= 0xD6E8FEB86659FD93
	i ^= i >> 32
	i *= 0xD6E8FEB86659FD93
	return i ^ i>>32
}

func filled(b *testing.B, n uint64) *fixture {
	b.Helper()
	f := newFixture(b, Config{})
	f.fill(0, n)
	return f
}

func (f *fixture) fill(from, to uint64) {
	for i := from; i < to; i++ {
		put(f, f.Index, f.g, benchHash(i), word.FirstAddress+word.Address(i)*word.Align)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []uint64{16 << 10, benchEntries(b)} {
		f := filled(b, n)
		b.Logf("%+v", f.Stats())
		order := make([]uint64, 1<<20)
		for i := range order {
			order[i] = benchHash(rand.Uint64N(n))
		}
		b.Run(fmt.Sprintf("entries=%d/op=hit", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				f.g.Enter()
				_, e, status := f.Find(order[i&(len(order)-1)])
				f.g.Exit()
				if status != Found || e.Address() == word.None {
					b.Fatal("not found")
				}
				i++
			}
		})
		b.Run(fmt.Sprintf("entries=%d/op=miss", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				f.g.Enter()
				f.Find(^order[i&(len(order)-1)])
				f.g.Exit()
				i++
			}
		})
		b.Run(fmt.Sprintf("entries=%d/op=hit/group=16", n), func(b *testing.B) {
			i := 0
			for range (b.N + 15) / 16 {
				group := order[i&(len(order)-1):][:16]
				f.g.Enter()
				for _, h := range group {
					f.Prefetch(h)
				}
				for _, h := range group {
					if _, _, status := f.Find(h); status != Found {
						b.Fatal("not found")
					}
				}
				f.g.Exit()
				i += 16
			}
		})
	}
}

// BenchmarkInsert fills an index from empty. The time is that of one entry.
func BenchmarkInsert(b *testing.B) {
	n := benchEntries(b)
	b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
		for b.Loop() {
			filled(b, n)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
	})
}

// BenchmarkGrow doubles a table, alone. The time is that of one bucket.
func BenchmarkGrow(b *testing.B) {
	const bits = 18
	m := epoch.New()
	var buckets float64
	for range b.N {
		b.StopTimer()
		f := newTiny(b, Config{Epoch: m}, bits)
		f.fill(0, 4<<bits)
		if err := f.Check(); err != nil {
			b.Fatal(err)
		}
		from := f.Bits()
		b.StartTimer()
		if err := f.Grow(b.Context(), from+1); err != nil {
			b.Fatal(err)
		}
		buckets += float64(uint64(1) << from)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/buckets, "ns/bucket")
}

// BenchmarkImage writes an image of the large table to nowhere, and loads one from memory.
func BenchmarkImage(b *testing.B) {
	n := benchEntries(b)
	f := filled(b, n)
	var image bytes.Buffer
	info, err := f.WriteImage(b.Context(), &image, 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run(fmt.Sprintf("entries=%d/op=write", n), func(b *testing.B) {
		b.SetBytes(info.Bytes)
		for b.Loop() {
			if _, err := f.WriteImage(b.Context(), io.Discard, 0, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(fmt.Sprintf("entries=%d/op=open", n), func(b *testing.B) {
		for b.Loop() {
			x, err := OpenImage(Config{Epoch: f.m}, bytes.NewReader(image.Bytes()), info.Bytes, 0)
			if err != nil {
				b.Fatal(err)
			}
			x.Close()
		}
	})
	b.Run(fmt.Sprintf("entries=%d/op=load", n), func(b *testing.B) {
		b.SetBytes(info.Bytes)
		for b.Loop() {
			x, err := OpenImage(Config{Epoch: f.m}, bytes.NewReader(image.Bytes()), info.Bytes, 0)
			if err != nil {
				b.Fatal(err)
			}
			if err := x.LoadAll(b.Context()); err != nil {
				b.Fatal(err)
			}
			x.Close()
		}
	})
}
