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
	"github.com/hybridlog/hybridlog/internal/word"
)

// Dead bytes are where the superseded records are, within a twentieth, but for those that no merge has come upon.
func TestMetrics_DeadBytesBySegment(t *testing.T) {
	const keys, stale, size = 20_000, 10_000, 128 // 2.5 MB in segments of 256 KiB
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	write := func(n int) {
		for i := range n {
			must(t, x.Set(key8(i), make([]byte, 100)))
		}
		commit(t, s)
		must(t, s.disk.WriteRunsUpTo(s.current().Cut))
	}
	check := func(stale int64) {
		t.Helper()
		eventually(t, "the merges", func() bool { return !mergeDue(s) })
		var unmerged int64 // bytes of records that may hide others, as far as the index on disk knows
		for _, r := range standing(s) {
			if r.Level == 0 {
				unmerged += r.Live
			}
		}
		if unmerged > keys*size/4+int64(2*s.disk.Uncovered) {
			t.Errorf("%d bytes of records are not merged", unmerged)
		}
		m := s.Metrics()
		var log, dead int64
		for i, g := range m.Segments {
			if i > 0 && g.Segment <= m.Segments[i-1].Segment {
				t.Errorf("segment %d after %d", g.Segment, m.Segments[i-1].Segment)
			}
			at := int64(g.Segment * uint64(o.SegmentBytes))
			want := min(max(stale*size+int64(word.FirstAddress)-max(at, int64(word.FirstAddress)), 0), g.LogBytes)
			if slack := g.LogBytes / 20; g.DeadBytes > want+slack || g.DeadBytes < want-unmerged-slack {
				t.Errorf("%d bytes are dead, and %d not merged: %+v", want, unmerged, g)
			}
			log, dead = log+g.LogBytes, dead+g.DeadBytes
		}
		if slack := log / 100; log != s.current().LogBytes() || dead != m.DeadBytes || dead > stale*size+slack || dead < stale*size-unmerged-slack {
			t.Errorf("%d bytes of log, %d and %d dead, want %d", log, dead, m.DeadBytes, stale*size)
		}
	}
	write(keys)
	check(0)
	base := commit(t, s) // names what has been merged
	write(stale)
	check(stale)
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	check(stale)
	x = s.NewSession()
	write(keys)
	check(keys + stale)
	_, err := s.Restore(context.Background(), base) // another branch
	must(t, err)
	check(0)
	write(stale)
	check(stale)
}

// Of a share that cannot be read it is known how much it leads to, if not where: what is dead in all is right, and compaction
// goes by that.
func TestMetrics_DeadBytesOfAShareThatCannotBeRead(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	for range 3 {
		for i := range 20_000 {
			must(t, x.Set(key8(i), make([]byte, 100)))
		}
		commit(t, s)
	}
	eventually(t, "the merges", func() bool { return !mergeDue(s) })
	must(t, s.Close())
	disk := fsx.NewErr(o.FS)
	o.FS = disk
	fault := disk.Inject(fsx.Fault{Class: fsx.ClassRead, Match: "*.img", Sticky: true})
	s = mustOpen(t, "/store", o)
	unread := s.Metrics()
	fault.Clear()
	m := s.Metrics()
	if n := s.current().LogBytes(); m.DeadBytes < n/3 || m.DeadBytes > n*2/3 || max(unread.DeadBytes-m.DeadBytes, m.DeadBytes-unread.DeadBytes) > n/20 {
		t.Errorf("%d of %d bytes are dead, %d as long as shares cannot be read\n%v", m.DeadBytes, n, unread.DeadBytes, m)
	}
	if n := len(s.disk.Uncounted()); n > 0 {
		t.Errorf("%d shares have not been counted when they could be read", n)
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
	if old := m.PerVersion[2].ExclusiveBytes + m.PerVersion[0].ExclusiveBytes; m.OldBytes < old {
		t.Errorf("only old versions hold %d bytes, two of them %d for themselves", m.OldBytes, old)
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
		case reflect.String:
			f.SetString("5")
		}
	}
	totals := map[string]bool{"AppendedBytes": true, "ImageBytes": true, "CompactedBytes": true, "DemotedBytes": true, "ReclaimedBytes": true}
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
