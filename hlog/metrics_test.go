package hlog

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Dead bytes are where the superseded records are.
func TestMetrics_DeadBytesBySegment(t *testing.T) {
	const keys, stale = 20_000, 10_000 // of 128 bytes each: 2.5 MB in segments of 256 KiB
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	write := func(n int) {
		for i := range n {
			must(t, x.Set(key8(i), make([]byte, 100)))
		}
		commit(t, s)
	}
	write(keys)
	for _, g := range s.Metrics().Segments {
		if g.DeadBytes > g.LogBytes/5 {
			t.Errorf("nothing is superseded yet: %+v", g)
		}
	}
	write(stale)
	check := func(s *Store) {
		t.Helper()
		m := s.Metrics()
		var log, dead int64
		for i, g := range m.Segments {
			if i > 0 && g.Segment <= m.Segments[i-1].Segment {
				t.Errorf("segment %d after %d", g.Segment, m.Segments[i-1].Segment)
			}
			log, dead = log+g.LogBytes, dead+g.DeadBytes
			boundary := uint64(stale * 128 / o.SegmentBytes)
			switch share := float64(g.DeadBytes) / float64(g.LogBytes); {
			case g.Segment < boundary && share < .8, g.Segment > boundary && share > .2:
				t.Errorf("%.0f%% dead: %+v", 100*share, g)
			}
		}
		if log != s.current().LogBytes() || dead != m.DeadBytes || dead < stale*128*4/5 || dead > stale*128*6/5 {
			t.Errorf("%d bytes of log, %d and %d dead", log, dead, m.DeadBytes)
		}
	}
	check(s)
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	must(t, s.loadWholeIndex())
	check(s)
}

// After opening, the index is read block by block. Keys whose block has not been read yet are not dead.
func TestMetrics_DeadBytesBeforeTheIndexIsLoaded(t *testing.T) {
	o := tiny()
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	for i := range 20_000 {
		must(t, x.Set(key8(i), make([]byte, 100)))
	}
	commit(t, s)
	must(t, s.Close())
	disk := fsx.NewErr(o.FS)
	o.FS = disk
	for loaded := range int64(3) {
		// Header, trailer and directory are read, all blocks at once are not, nor after some all others one by one.
		disk.Inject(fsx.Fault{Class: fsx.ClassRead, Match: "*.img", Nth: 4})
		rest := disk.Inject(fsx.Fault{Class: fsx.ClassRead, Match: "*.img", Nth: 5 + loaded, Sticky: true})
		s = mustOpen(t, "/store", o)
		eventually(t, "loading of the index", func() bool { return rest.Fired() > 0 })
		if x := s.index().Stats(); x.Blocks < 4 || x.BlocksLoaded != loaded {
			t.Fatalf("%d of %d blocks are loaded", x.BlocksLoaded, x.Blocks)
		}
		if m := s.Metrics(); m.DeadBytes > s.current().LogBytes()/5 {
			t.Errorf("%d blocks loaded: %d of %d bytes are dead\n%v", loaded, m.DeadBytes, s.current().LogBytes(), m)
		}
		must(t, s.Close())
		rest.Clear()
	}
}

func TestMetrics_PerVersion(t *testing.T) {
	o := tiny()
	o.KeepVersions = 3
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	for range 5 {
		spill(t, x, 100<<10)
		commit(t, s)
	}
	must(t, s.ledger.Retain(s.opts.KeepVersions))
	_, err := s.Restore(context.Background(), 4)
	must(t, err)
	infos, err := s.Versions()
	must(t, err)
	m := s.Metrics()
	if len(infos) != 3 || m.Versions != 3 || len(m.PerVersion) != 3 {
		t.Fatalf("%d versions, %d and %d in the metrics", len(infos), m.Versions, len(m.PerVersion))
	}
	for i, v := range m.PerVersion {
		want := VersionMetrics{infos[i].Version, infos[i].LogBytes, infos[i].ExclusiveBytes, infos[i].Version == 4}
		if v != want || v.LogBytes == 0 {
			t.Errorf("%+v, want %+v", v, want)
		}
	}
	if m.PerVersion[2].ExclusiveBytes < 100<<10 {
		t.Errorf("nobody else needs what version 5 has added: %+v", m.PerVersion[2])
	}
}

// What a person looks for is in the table, and it stays readable however many versions and segments there are.
func TestMetrics_String(t *testing.T) {
	m := Metrics{LogTail: 0x1230, IndexLoad: .75, ColdReadCount: 17, StallCount: 18, StallTime: 19, CheckpointCount: 20, LastCheckpoint: 21,
		LongestCheckpoint: 22, CheckpointTime: 12_345_678_901, DeadBytes: 3 << 20}
	for i := range 100 {
		m.PerVersion = append(m.PerVersion, VersionMetrics{Version: 5000, ExclusiveBytes: int64(i) << 20, Current: i == 99})
		m.Segments = append(m.Segments, SegmentMetrics{Segment: 7000, LogBytes: 1 << 20, DeadBytes: int64(i) << 10})
	}
	text := m.String()
	for _, part := range []string{"tail 0x1230", "load 0.75", "17 from disk", "18 for a log page, 19ns", "20, 0 failed", "last took 21ns", "longest 22ns", "together 12.35s",
		"3.0 MiB dead", "segment 7000", "version 5000", "99.0 MiB exclusive  current", "and 84 newer", "84 older"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if n := strings.Count(text, "\n"); n > 50 {
		t.Errorf("%d lines", n)
	}
}

// Sub takes off what only grows, which the names and comments tell, and nothing else.
func TestMetrics_Sub(t *testing.T) {
	var m Metrics
	v := reflect.ValueOf(&m).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(5)
		case reflect.Uint64:
			f.SetUint(5)
		case reflect.Float64:
			f.SetFloat(5)
		case reflect.Bool:
			f.SetBool(true)
		}
	}
	totals := map[string]bool{"AppendedBytes": true, "ImageBytes": true, "CompactedBytes": true, "ReclaimedBytes": true}
	d := reflect.ValueOf(m.Sub(m))
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).Kind() == reflect.Slice {
			continue
		}
		grows := totals[name] || strings.HasSuffix(name, "Count") || strings.HasSuffix(name, "Time")
		if grows != d.Field(i).IsZero() {
			t.Errorf("%s: 5 less 5 is %v", name, d.Field(i))
		}
	}
}

// A disk that takes its time for a commit delays nobody who looks at the store.
func TestMetrics_DuringCommit(t *testing.T) {
	o := tiny()
	disk := fsx.NewErr(o.FS)
	o.FS = disk
	s := mustOpen(t, "/store", o)
	commit(t, s)
	gate := disk.Hold(fsx.ClassRename, "*.manifest")
	must(t, s.Set(key8(1), key8(1)))
	p, err := s.BeginCheckpoint()
	must(t, err)
	must(t, gate.Await(context.Background(), 1))
	within(t, "Metrics", func() {
		if m := s.Metrics(); m.CheckpointCount != 1 || m.Versions != 1 {
			t.Errorf("%+v", m)
		}
		s.Current()
		_, err := s.Versions()
		must(t, err)
	})
	gate.Open()
	_, err = p.Wait(context.Background())
	must(t, err)
}

// The index is given back when the store closes, and Metrics looks at all of it.
func TestMetrics_WhileClosing(t *testing.T) {
	for range 50 {
		s := mustOpen(t, "/store", tiny())
		x := s.NewSession()
		for i := range 2000 {
			must(t, x.Set(key8(i), key8(i)))
		}
		commit(t, s)
		var closed atomic.Bool
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for !closed.Load() {
					_ = s.Metrics()
				}
			})
		}
		must(t, s.Close())
		closed.Store(true)
		wg.Wait()
		if m := s.Metrics(); m.IndexBuckets != 0 || m.Segments != nil || m.CheckpointCount != 1 {
			t.Fatalf("of a closed store: %+v", m)
		}
	}
}

// BenchmarkMetrics measures a snapshot of a store with that many keys.
func BenchmarkMetrics(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), &Options{MemoryBytes: 256 << 20})
			x := s.NewSession()
			for i := range keys {
				must(b, x.Set(key8(i), key8(i)))
			}
			commit(b, s)
			b.ReportAllocs()
			for b.Loop() {
				_ = s.Metrics()
			}
		})
	}
}
