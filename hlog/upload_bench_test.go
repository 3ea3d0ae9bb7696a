package hlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
)

// weighed is a remote that counts the bytes that are put.
type weighed struct {
	checkpoint.Remote
	bytes *atomic.Int64
}

func (w weighed) Put(ctx context.Context, name string, data []byte) error {
	w.bytes.Add(int64(len(data)))
	return w.Remote.Put(ctx, name, data)
}

func (w weighed) PutIfAbsent(ctx context.Context, name string, data []byte) (bool, error) {
	w.bytes.Add(int64(len(data)))
	return w.Remote.PutIfAbsent(ctx, name, data)
}

// BenchmarkUpload puts what versions in which 1 % of the keys have changed send to a remote beside the bytes of the records that
// have changed: on the average of all versions, and of the version that sent most; and how many MiB the version that sent most
// beyond four times its changes sent beyond them. What is sent is log, shares of the index that have become due, the manifest,
// and an entry of the sequence; with little memory, cold files as well, whose number at the end is put, too. -short leaves the
// large size out.
func BenchmarkUpload(b *testing.B) {
	for _, c := range []struct{ keys, size, memory int }{
		{1_000_000, 8, 0}, {1_000_000, 100, 0}, {1_000_000, 8, 16 << 20}, {1_000_000, 100, 32 << 20},
		{10_000_000, 8, 0}, {10_000_000, 100, 0}, {10_000_000, 8, 128 << 20}, {10_000_000, 100, 256 << 20},
	} {
		keys, size := c.keys, c.size
		if keys <= 1_000_000 || !testing.Short() {
			b.Run(fmt.Sprintf("keys=%d/value=%d/MiB=%d", keys, size, c.memory>>20), func(b *testing.B) {
				dir, sent := b.TempDir(), new(atomic.Int64)
				inner, err := checkpoint.NewDirRemote(filepath.Join(dir, "remote"))
				must(b, err)
				s := mustOpen(b, filepath.Join(dir, "store"), &Options{Remote: weighed{inner, sent}, MemoryBytes: int64(c.memory)})
				x := s.NewSession()
				defer x.Close()
				value := make([]byte, size)
				for i := range keys {
					must(b, x.Set(key8(i), value))
				}
				commit(b, s)
				random := rand.New(rand.NewPCG(1, 1))
				bytes := float64(record.ShapeFor(8, size, 0).Size * (keys / 100))
				all, most, beyond, versions := 0.0, 0.0, 0.0, 0
				for b.Loop() {
					seen := map[int]bool{}
					for len(seen) < keys/100 {
						i := random.IntN(keys)
						seen[i] = true
						must(b, x.Set(key8(i), value))
					}
					sent.Store(0)
					commit(b, s)
					ratio := float64(sent.Load()) / bytes
					beyond = max(beyond, (float64(sent.Load())-4*bytes)/(1<<20))
					all, most, versions = all+ratio, max(most, ratio), versions+1
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(all/float64(versions), "sent/changed")
				b.ReportMetric(most, "the-most")
				b.ReportMetric(beyond, "MiB-beyond-4x")
				b.ReportMetric(float64(len(s.cold.refs())), "cold-files")
			})
		}
	}
}
