package hlog

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkTravel moves a version of about 200 MB, and as many bytes as a raw copy, in turns: WriteTo into a file and a sync
// against copying a file and a sync, and Import out of a file against the same. MiB/s of each, and the ratio; open is what
// Open and the first Get take after an Import, in milliseconds. Each writes into the memory of the page cache that its target
// of the round before has just given back, and a round that does not count comes first: memory that the system has to find,
// and files that are read from the disk, cost more than the copy itself, whoever happens to meet them.
func BenchmarkTravel(b *testing.B) {
	dir := b.TempDir()
	s := mustOpen(b, filepath.Join(dir, "store"), &Options{MemoryBytes: 64 << 20, NoCompaction: true})
	x := s.NewSession()
	defer x.Close()
	value := make([]byte, 100)
	for i := range 1_400_000 {
		must(b, x.Set(key8(i), value))
	}
	commit(b, s)
	v, err := s.OpenVersion(context.Background(), 0)
	must(b, err)
	defer v.Close()
	stream, raw := filepath.Join(dir, "stream"), filepath.Join(dir, "raw")
	to := func(name string, write func(io.Writer) error) time.Duration {
		os.Remove(name)
		began := time.Now()
		f, err := os.Create(name)
		must(b, err)
		must(b, write(f))
		must(b, f.Sync())
		must(b, f.Close())
		return time.Since(began)
	}
	from := func(name string, read func(io.Reader) error) time.Duration {
		began := time.Now()
		f, err := os.Open(name)
		must(b, err)
		must(b, read(f))
		must(b, f.Close())
		return time.Since(began)
	}
	plain := func(w io.Writer) error {
		f, err := os.Open(stream)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, 1<<20))
		return err
	}
	var out, in, copied, open time.Duration
	arrived := filepath.Join(dir, "arrived")
	round := func(n int) {
		out += to(stream, func(w io.Writer) error { _, err := v.WriteTo(w); return err })
		copied += to(raw, plain)
		must(b, os.RemoveAll(arrived))
		in += from(stream, func(r io.Reader) error { _, err := Import(context.Background(), arrived, r); return err })
		copied += to(raw, plain)
		began := time.Now()
		c, err := Open(arrived, &Options{MemoryBytes: 64 << 20})
		must(b, err)
		_, err = c.Get(nil, key8(n))
		must(b, err)
		open += time.Since(began)
		must(b, c.Close())
	}
	round(0)
	out, in, copied, open = 0, 0, 0, 0
	n := 0
	for b.Loop() {
		n++
		round(n)
	}
	rate := func(d time.Duration, times int) float64 {
		return float64(v.Size()) / (1 << 20) * float64(times) / d.Seconds()
	}
	b.ReportMetric(rate(out, n), "out-MiB/s")
	b.ReportMetric(rate(in, n), "in-MiB/s")
	b.ReportMetric(rate(copied, 2*n), "copy-MiB/s")
	b.ReportMetric(rate(out, n)/rate(copied, 2*n), "out/copy")
	b.ReportMetric(rate(in, n)/rate(copied, 2*n), "in/copy")
	b.ReportMetric(float64(open.Microseconds())/1000/float64(n), "open-ms")
}
