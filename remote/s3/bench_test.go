package s3

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// BenchmarkRemote compares a directory as remote with a bucket of the server that the tests use, in turns: the first
// checkpoint of 1 M keys with 100 bytes each, checkpoints of 1 % of them, and the first read from an empty machine. Wait
// returns when the copy is there, so that a checkpoint's time includes it. An iteration is one round of both.
//
//	go test -run '^$' -bench Remote -benchtime 4x .
func BenchmarkRemote(b *testing.B) {
	g := startGateway(b)
	kinds := []struct {
		name string
		open func() checkpoint.Remote
	}{
		{"dir", func() checkpoint.Remote {
			r, err := checkpoint.NewDirRemote(b.TempDir())
			must(b, err)
			return r
		}},
		{"s3", func() checkpoint.Remote { return g.remote(b) }},
	}
	took := make(map[string][]time.Duration)
	round := 0
	for b.Loop() {
		for i := range kinds {
			k := kinds[(i+round)%2]
			for what, d := range moves(b, k.open()) {
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

// moves returns how long it took to bring versions to a remote, and one back from it.
func moves(b *testing.B, r checkpoint.Remote) map[string][]time.Duration {
	const keys, value = 1_000_000, 100
	took := make(map[string][]time.Duration)
	timed := func(what string, f func() error) {
		begin := time.Now()
		must(b, f())
		took[what] = append(took[what], time.Since(begin))
	}
	s, err := hlog.Open(b.TempDir(), &hlog.Options{MemoryBytes: 512 << 20, Remote: r})
	must(b, err)
	x := s.NewSession()
	v := make([]byte, value)
	set := func(k uint64) {
		binary.LittleEndian.PutUint64(v, rand.Uint64())
		must(b, x.Set(binary.LittleEndian.AppendUint64(nil, k), v))
	}
	checkpoint := func() error {
		_, err := s.Checkpoint(b.Context())
		return err
	}
	for k := range uint64(keys) {
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
	timed("read", func() error {
		s, err := hlog.Open(b.TempDir(), &hlog.Options{MemoryBytes: 512 << 20, Remote: r})
		if err != nil {
			return err
		}
		b.Cleanup(func() { s.Close() })
		_, err = s.Get(nil, binary.LittleEndian.AppendUint64(nil, 17))
		return err
	})
	return took
}
