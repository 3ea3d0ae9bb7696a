package index

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/word"
)

// benchTriples returns n triples of hashes that no other call has, of records of 32 bytes from a on.
func benchTriples(n int, a word.Address) (triples []Triple) {
	for i := range n {
		at := a + word.Address(32*i)
		triples = append(triples, MakeTriple(benchHash(uint64(at)), at, 32, false))
	}
	return triples
}

// benchShares are shares in memory: an image of so many triples, and runs of a hundred thousand over it.
func benchShares(b *testing.B, image, runs int) (f *shareFiles, refs Shares, end word.Address) {
	b.Helper()
	f = &shareFiles{}
	end = word.FirstAddress
	for i := range runs + 1 {
		n := 100_000
		if i == 0 {
			n = image
		}
		from := end
		end += word.Address(32 * n)
		triples := benchTriples(n, from)
		if i == 0 {
			from = 0
		}
		refs = append(refs, f.write(b, from, end, triples))
	}
	return f, refs, end
}

func reportTriples(b *testing.B, n int64, bytes int64) {
	b.SetBytes(bytes)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/triple")
}

// BenchmarkWriteTriples makes a run of what a flush has collected.
func BenchmarkWriteTriples(b *testing.B) {
	const n = 130_000
	triples, again := benchTriples(n, word.FirstAddress), make([]Triple, n)
	var length int64
	cfg := MergeConfig{MaxBytes: math.MaxInt64, SegmentShift: 30, Create: func() (io.WriterAt, uint64, error) { return discard{}, 1, nil }}
	for b.Loop() {
		copy(again, triples)
		written, err := WriteTriples(context.Background(), cfg, 0, word.MaxAddress, again, false)
		if err != nil {
			b.Fatal(err)
		}
		length = written[0].Bytes
	}
	reportTriples(b, n, length)
}

// BenchmarkMergeShares merges a range of an image, of 4 MiB, with what runs hold of it: a fifth as much.
func BenchmarkMergeShares(b *testing.B) {
	for _, runs := range []int{4, 24} {
		b.Run(fmt.Sprintf("runs=%d", runs), func(b *testing.B) {
			f, refs, end := benchShares(b, runs*400_000, runs)
			shares := f.open(b, refs...)
			part := uint64(math.MaxUint64) / uint64(runs)
			m := Merge{First: part / 2, Last: part/2 + part - 1, To: end}
			cfg := MergeConfig{MaxBytes: math.MaxInt64, SegmentShift: 30, Create: func() (io.WriterAt, uint64, error) { return discard{}, 1, nil }}
			var written []Written
			for b.Loop() {
				var err error
				if written, err = MergeShares(context.Background(), cfg, m, shares); err != nil {
					b.Fatal(err)
				}
			}
			reportTriples(b, written[0].Triples, written[0].Bytes)
		})
	}
}

// BenchmarkOpenShares opens an index of an image and 16 runs and loads one block (first), or all of it (all).
func BenchmarkOpenShares(b *testing.B) {
	n := int(benchEntries(b) / 4)
	f, refs, _ := benchShares(b, n, 16)
	open := func() *Index {
		x, err := Open(Config{Epoch: epoch.New(), InitialBits: 19}, Source{
			Shares: refs, Open: func(r ShareRef) (ShareFile, error) {
				return memoryFile{bytes.NewReader(f.files[r.ID].b), new(int)}, nil
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		return x
	}
	n += 16 * 100_000
	b.Run("first", func(b *testing.B) {
		for i := uint64(0); b.Loop(); i++ {
			x := open()
			if err := x.Load(benchHash(i)); err != nil {
				b.Fatal(err)
			}
			x.Close()
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			x := open()
			if err := x.LoadAll(context.Background()); err != nil {
				b.Fatal(err)
			}
			x.Close()
		}
		reportTriples(b, int64(n), refs.Bytes())
	})
}
