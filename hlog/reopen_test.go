package hlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

func TestOpen_DefaultsAfterSmallSegments(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, &Options{MemoryBytes: 16 << 20, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Set([]byte("k"), []byte("v"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "v" || s.opts.PageBytes != 1<<20 {
		t.Fatalf("%q, %v, pages of %d bytes", got, err, s.opts.PageBytes)
	}
}

// Two keys that had a chain each in the index of then have one each after it was opened again, without an image, although
// an index as small as one begins could not tell them apart (R1).
func TestOpen_IndexIsAsFineAsThen(t *testing.T) {
	o := tiny()
	s := mustOpen(t, "/store", o)
	pairs := colliding(t, s, 40, 2)
	i := 0
	eventually(t, "the index to grow", func() bool {
		for end := i + 1000; i < end; i++ {
			must(t, s.Set(fmt.Appendf(nil, "filler %d", i), nil))
			must(t, s.Delete(fmt.Appendf(nil, "filler %d", i)))
		}
		return s.index().Bits() >= 10
	})
	commit(t, s)
	must(t, s.Compact(t.Context())) // of all that made the index grow nothing is left
	commit(t, s)
	for i, pair := range pairs {
		for j, key := range pair {
			must(t, s.Set(key, fmt.Append(nil, i, j)))
		}
	}
	commit(t, s)
	if m := s.current(); m.Image != nil {
		t.Fatal("there is an image")
	}
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	for i, pair := range pairs {
		for j, key := range pair {
			if v, err := s.Get(nil, key); err != nil || string(v) != fmt.Sprint(i, j) {
				t.Errorf("key %d of pair %d: %q, %v", j, i, v, err)
			}
		}
	}
}

// A store that is open for reading refuses every write, before a callback is called, also of keys that are in memory.
func TestReadOnly_RefusesWrites(t *testing.T) {
	o := tiny()
	s := mustOpen(t, "/store", o)
	for i := range 100 {
		must(t, s.Set(key8(i), key8(i)))
	}
	must(t, s.Close())
	o.ReadOnly = true
	s = mustOpen(t, "/store", o)
	eventually(t, "the log to come back to memory", func() bool { return s.log.Head() <= uint64(s.current().Extents[0].Start) })
	x := s.NewSession()
	defer x.Close()
	tab, err := NewTable[uint64, uint64](x)
	must(t, err)
	for i := range 100 {
		called := false
		writes := map[string]error{
			"Set":    x.Set(key8(i), key8(0)),
			"Delete": x.Delete(key8(i)),
			"RMW":    x.RMW(key8(i), func(old []byte) []byte { called = true; return old }),
			"Update": tab.Update(binary.NativeEndian.Uint64(key8(i)), func(*uint64, bool) { called = true }),
		}
		for name, err := range writes {
			if !errors.Is(err, ErrReadOnly) {
				t.Errorf("%s of key %d: %v, want ErrReadOnly", name, i, err)
			}
		}
		if called {
			t.Fatalf("key %d: a callback was called", i)
		}
		if v, err := x.Get(nil, key8(i)); err != nil || !bytes.Equal(v, key8(i)) {
			t.Fatalf("key %d: %x, %v", i, v, err)
		}
	}
}

// After a crash new log begins behind what lies beyond the newest version, and memory is filled across the gap. A rollback
// before that does not make the log of later versions part of the gap.
func TestOpen_WarmsAcrossTheGapOnly(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	for v := range 3 {
		for i := range 100 {
			must(t, s.Set(key8(i), fmt.Append(nil, v)))
		}
		commit(t, s)
	}
	x := s.NewSession()
	spill(t, x, 100<<10) // not committed
	x.Close()
	tail, _ := s.log.AlignTail(0)
	s.log.ShiftReadOnly(tail)
	must(t, s.log.SyncTo(tail))
	for _, back := range []checkpoint.Version{0, 1, 2} {
		again := *o
		again.FS = o.FS.(*fsx.CrashFS).Clone(fsx.Crash{Keep: fsx.KeepAll})
		s := mustOpen(t, "/store", &again)
		if s.gap.Start == s.gap.End {
			t.Fatal("no log lies beyond the newest version")
		}
		if back > 0 {
			_, err := s.Restore(t.Context(), back)
			must(t, err)
		}
		s.warm()
		if head := s.log.Head(); back == 0 && head >= s.gap.Start {
			t.Errorf("memory begins at %#x, the log before the gap ends at %#x", head, s.gap.Start)
		}
		for _, v := range []checkpoint.Version{3, 2, 1, 3} {
			_, err := s.Restore(t.Context(), v)
			must(t, err)
			for i := range 100 {
				if got, err := s.Get(nil, key8(i)); err != nil || string(got) != fmt.Sprint(v-1) {
					t.Fatalf("back at %d, then at version %d: key %d is %q, %v", back, v, i, got, err)
				}
			}
		}
		must(t, s.Close())
	}
}

// After a second crash the log before the first one stays on disk, though it would fit into memory. The cache takes what is
// read of it.
func TestOpen_WhatWarmingLeavesIsCached(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	const keys = 4000
	for crash := range 2 {
		s := mustOpen(t, "/store", o)
		for i := crash * keys; i < (crash+1)*keys; i++ {
			must(t, s.Set(key8(i), key8(i)))
		}
		commit(t, s)
		x := s.NewSession()
		spill(t, x, 100<<10) // not committed
		x.Close()
		tail, _ := s.log.AlignTail(0)
		s.log.ShiftReadOnly(tail)
		must(t, s.log.SyncTo(tail))
		again := *o
		again.FS = o.FS.(*fsx.CrashFS).Clone(fsx.Crash{Keep: fsx.KeepAll})
		o = &again
	}
	s := mustOpen(t, "/store", o)
	testkit.Eventually(t, "warming", s.warmed.Load)
	if s.log.Head() <= s.log.Begin() {
		t.Fatalf("all log is in memory, from %#x", s.log.Begin())
	}
	testkit.Eventually(t, "the cache has memory", func() bool {
		for i := range keys {
			if v, err := s.Get(nil, key8(i)); err != nil || !bytes.Equal(v, key8(i)) {
				t.Fatalf("key %d: %x, %v", i, v, err)
			}
		}
		return s.memory.cache.Load() > 0
	})
}
