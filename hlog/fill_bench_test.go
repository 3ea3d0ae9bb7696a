package hlog

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// lateRemote is a remote whose answers take a time to come. It counts them.
type lateRemote struct {
	checkpoint.Remote
	trip time.Duration
	gets *atomic.Int64
}

func (l lateRemote) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	l.gets.Add(1)
	testkit.Pause(l.trip)
	return l.Remote.Get(ctx, name, off, n)
}

// BenchmarkOpen_EmptyMachine is what Open of an empty directory and the first Get take, with a remote in a directory that has
// a version of some size, and answers at once or after 20 ms: the median, in milliseconds, and how many times the remote was asked,
// at the most. The fetch of the rest goes on meanwhile, and is broken off then. -short leaves the large size out.
func BenchmarkOpen_EmptyMachine(b *testing.B) {
	for _, mb := range []int{100, 2_000} {
		if mb > 100 && testing.Short() {
			continue
		}
		b.Run(fmt.Sprintf("size=%dMB", mb), func(b *testing.B) {
			dir := b.TempDir()
			keys := mb * 1_000_000 / 136 // log and index of a key with 100 bytes
			remote := largeRemote(b, dir, keys)
			for _, trip := range []time.Duration{0, 20 * time.Millisecond} {
				b.Run(fmt.Sprintf("trip=%v", trip), func(b *testing.B) {
					firstReads(b, lateRemote{remote, trip, new(atomic.Int64)}, filepath.Join(dir, "empty"), keys)
				})
			}
		})
	}
}

// firstReads opens a directory that is empty each time.
func firstReads(b *testing.B, remote lateRemote, dir string, keys int) {
	var took []time.Duration
	requests := int64(0)
	for b.Loop() {
		remote.gets.Store(0)
		began := time.Now()
		s, err := Open(dir, &Options{MemoryBytes: 64 << 20, Remote: remote})
		must(b, err)
		_, err = s.Get(nil, key8(len(took)*7919%keys))
		must(b, err)
		took = append(took, time.Since(began))
		requests = max(requests, remote.gets.Load())
		if s.Metrics().FetchLeft == 0 {
			b.Error("the rest was here before")
		}
		must(b, s.Close())
		must(b, os.RemoveAll(dir))
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "first-read-ms")
	b.ReportMetric(float64(requests), "requests")
}

// largeRemote returns a remote in a directory below dir, with one version of so many keys.
func largeRemote(b *testing.B, dir string, keys int) checkpoint.Remote {
	remote, err := checkpoint.NewDirRemote(filepath.Join(dir, "remote"))
	must(b, err)
	s := mustOpen(b, filepath.Join(dir, "source"), &Options{MemoryBytes: 256 << 20, NoCompaction: true, Remote: remote})
	x := s.NewSession()
	value := make([]byte, 100)
	for i := range keys {
		must(b, x.Set(key8(i), value))
	}
	must(b, x.Close())
	commit(b, s)
	must(b, s.Close())
	must(b, os.RemoveAll(filepath.Join(dir, "source")))
	return remote
}
