package hlog

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
)

// BenchmarkCheckpointOnePercent puts how long a checkpoint takes until it is durable after 1 % of the keys have changed, in
// milliseconds, beside what the device takes for as many bytes at that moment: in turns, one direct write of all of them
// into a file that has room, and one sync. Both are medians; ratio is the median of those of the turns. Nothing else is
// under way in the store. -short leaves the large size out.
func BenchmarkCheckpointOnePercent(b *testing.B) {
	for _, keys := range []int{1_000_000, 10_000_000} {
		for _, size := range []int{8, 100} {
			if keys > 1_000_000 && testing.Short() {
				continue
			}
			b.Run(fmt.Sprintf("keys=%d/value=%d", keys, size), func(b *testing.B) {
				dir, perKey := b.TempDir(), record.ShapeFor(8, size, 0).Size
				s := mustOpen(b, filepath.Join(dir, "store"), &Options{MemoryBytes: int64(256<<20 + keys*(2*perKey+64))})
				x := s.NewSession()
				defer x.Close()
				value := make([]byte, size)
				for i := range keys {
					must(b, x.Set(key8(i), value))
				}
				commit(b, s)
				device := newRawDevice(b, filepath.Join(dir, "raw"), keys/100*perKey)
				var took, raw, ratio []float64
				for turn := 0; b.Loop(); turn++ {
					for i := range keys / 100 {
						must(b, x.Set(key8(i*100+turn%100), value))
					}
					began := time.Now()
					if _, err := s.Checkpoint(context.Background()); err != nil {
						b.Fatal(err)
					}
					took = append(took, milliseconds(began))
					raw = append(raw, device.write(b))
					ratio = append(ratio, took[turn]/raw[turn])
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(medianOf(took), "ms-durable")
				b.ReportMetric(medianOf(raw), "ms-raw")
				b.ReportMetric(medianOf(ratio), "ratio")
			})
		}
	}
}

func milliseconds(began time.Time) float64 { return float64(time.Since(began).Microseconds()) / 1000 }

func medianOf(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// rawDevice writes the same bytes again and again, each time where nothing was written before.
type rawDevice struct {
	file fsx.File
	data []byte
	at   int64
}

func newRawDevice(b testing.TB, path string, bytes int) *rawDevice {
	f, err := fsx.OS().Open(path, fsx.Write|fsx.Create|fsx.Direct)
	must(b, err)
	b.Cleanup(func() { f.Close() })
	blocks := (bytes + fsx.BlockSize - 1) / fsx.BlockSize
	data := mem.AlignedBytes(blocks*fsx.BlockSize, fsx.BlockSize)
	for i := range data {
		data[i] = byte(i % 251)
	}
	return &rawDevice{file: f, data: data}
}

// write returns how many milliseconds it took until the bytes were durable; room for them was made, and synced, before.
func (d *rawDevice) write(b testing.TB) float64 {
	if d.at >= 256<<20 {
		must(b, d.file.Truncate(0))
		d.at = 0
	}
	must(b, d.file.Allocate(d.at, int64(len(d.data))))
	must(b, d.file.Sync())
	began := time.Now()
	_, err := d.file.WriteAt(d.data, d.at)
	must(b, err)
	must(b, d.file.Sync())
	d.at += int64(len(d.data))
	return milliseconds(began)
}
