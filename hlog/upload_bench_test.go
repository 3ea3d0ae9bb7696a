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
// have changed: on the average of all versions, and of the version that sent most. What is sent is log, shares of the index
// that have become due, the manifest, and an entry of the sequence. -short leaves the large size out.
func BenchmarkUpload(b *testing.B) {
	for _, keys := range []int{1_000_000, 10_000_000} {
		for _, size := range []int{8, 100} {
			if keys > 1_000_000 && testing.Short() {
				continue
			}
			b.Run(fmt.Sprintf("keys=%d/value=%d", keys, size), func(b *testing.B) {
				dir, sent := b.TempDir(), new(atomic.Int64)
				inner, err := checkpoint.NewDirRemote(filepath.Join(dir, "remote"))
				must(b, err)
				s := mustOpen(b, filepath.Join(dir, "store"), &Options{Remote: weighed{inner, sent}})
				x := s.NewSession()
				defer x.Close()
				value := make([]byte, size)
				for i := range keys {
					must(b, x.Set(key8(i), value))
				}
				commit(b, s)
				random := rand.New(rand.NewPCG(1, 1))
				bytes := float64(record.ShapeFor(8, size, 0).Size * (keys / 100))
				all, most, versions := 0.0, 0.0, 0
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
					all, most, versions = all+ratio, max(most, ratio), versions+1
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(all/float64(versions), "sent/changed")
				b.ReportMetric(most, "the-most")
			})
		}
	}
}
