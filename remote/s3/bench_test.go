package s3

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// BenchmarkRemote compares a directory as remote with a bucket of the server that the tests use: the first checkpoint of keys
// of 8 bytes with values of 100, checkpoints of 1 % of them, and the first read from an empty machine, Open and one Get, while
// the rest is fetched behind it. Wait returns when the copy is there, so that a checkpoint's time includes it. An iteration is
// one round of both, in turns; at 2 GB, which takes a minute for each, they are benchmarks of their own.
//
//	go test -run '^$' -bench Remote/size=100MB -benchtime 4x .
//	go test -run '^$' -bench Remote/size=2GB -benchtime 1x .
func BenchmarkRemote(b *testing.B) {
	g := startGateway(b)
	kinds := []kind{
		{"dir", func() checkpoint.Remote {
			r, err := checkpoint.NewDirRemote(b.TempDir())
			must(b, err)
			return r
		}},
		{"s3", func() checkpoint.Remote { return g.remote(b) }},
	}
	b.Run("size=100MB", func(b *testing.B) { inTurns(b, 100_000_000/bytesOfKey, kinds...) })
	for _, k := range kinds {
		b.Run("size=2GB/remote="+k.name, func(b *testing.B) { inTurns(b, 2_000_000_000/bytesOfKey, k) })
	}
}

// bytesOfKey is what log and index take of a key.
const bytesOfKey = 136

// kind is a kind of remote.
type kind struct {
	name string
	open func() checkpoint.Remote // an empty one
}

// inTurns reports medians.
func inTurns(b *testing.B, keys uint64, kinds ...kind) {
	took := make(map[string][]time.Duration)
	round := 0
	for b.Loop() {
		for i := range kinds {
			k := kinds[(i+round)%len(kinds)]
			for what, d := range moves(b, k.open(), keys) {
				took[k.name+"-"+what] = append(took[k.name+"-"+what], d...)
			}
		}
		round++
	}
	b.ReportMetric(0, "ns/op") // of a round, which says nothing
	for what, d := range took {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, what+"-ms")
	}
}

// moves returns how long it took to bring versions to a remote, and a first read from it.
func moves(b *testing.B, r checkpoint.Remote, keys uint64) map[string][]time.Duration {
	took := make(map[string][]time.Duration)
	timed := func(what string, f func() error) {
		began := time.Now()
		must(b, f())
		took[what] = append(took[what], time.Since(began))
	}
	dir := b.TempDir()
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: 512 << 20, Remote: r})
	must(b, err)
	x := s.NewSession()
	v := make([]byte, 100)
	set := func(k uint64) {
		binary.LittleEndian.PutUint64(v, rand.Uint64())
		must(b, x.Set(binary.LittleEndian.AppendUint64(nil, k), v))
	}
	checkpoint := func() error {
		_, err := s.Checkpoint(b.Context())
		return err
	}
	for k := range keys {
		set(k)
	}
	timed("first", checkpoint)
	for range 5 {
		for range keys / 100 {
			set(rand.Uint64N(keys))
		}
		timed("1percent", checkpoint)
	}
	must(b, s.Close())
	must(b, os.RemoveAll(dir))
	for i := range uint64(7) {
		empty := b.TempDir()
		var s *hlog.Store
		timed("read", func() error {
			s, err = hlog.Open(empty, &hlog.Options{MemoryBytes: 512 << 20, Remote: r})
			if err != nil {
				return err
			}
			_, err = s.Get(nil, binary.LittleEndian.AppendUint64(nil, i*7919%keys))
			return err
		})
		if s.Metrics().FetchLeft == 0 {
			b.Error("the rest was here before")
		}
		must(b, s.Close())
		must(b, os.RemoveAll(empty))
	}
	return took
}
