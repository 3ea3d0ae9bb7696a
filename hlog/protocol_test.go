package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
)

func k8(i uint64) []byte { return binary.LittleEndian.AppendUint64(nil, i) }

// An in-place update between the read and the write of an RMW, and the page made read-only in between.
func TestRMW_UpdatedInPlaceThenReadOnly(t *testing.T) {
	for _, evict := range []bool{false, true} {
		s, err := Open(t.TempDir(), &Options{MemoryBytes: MinMemoryBytes, PageBytes: 16 << 10})
		if err != nil {
			t.Fatal(err)
		}
		x, y := s.NewSession(), s.NewSession()
		key := k8(1)
		y.Set(key, k8(0))
		addr := s.log.Tail() - 1
		inc := func(old []byte) []byte { return k8(binary.LittleEndian.Uint64(old) + 1) }
		calls := 0
		err = x.RMW(key, func(old []byte) []byte {
			calls++
			v := inc(old)
			if calls == 1 {
				if err := y.RMW(key, inc); err != nil {
					t.Fatal(err)
				}
				for i := uint64(100); ; i++ {
					l := s.log.SafeReadOnly()
					if evict {
						l = s.log.Head()
					}
					if l > addr {
						break
					}
					y.Set(k8(i), make([]byte, 1000))
				}
			}
			return v
		})
		got, err2 := s.Get(nil, key)
		t.Log(evict, calls, got, err, err2)
		if binary.LittleEndian.Uint64(got) != 2 {
			t.Errorf("evict %v: two increments, value %d", evict, binary.LittleEndian.Uint64(got))
		}
		s.Close()
	}
}

// A record of version v+1 below the cut of v; then Compact.
func TestCompact_MovesTheFuzzyEnd(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, &Options{MemoryBytes: MinMemoryBytes, PageBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	s.Set(k8(1), k8(1))
	g := s.epochs.Register()
	g.Enter() // an operation of the old version that takes its time
	p, err := s.BeginCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	s.Set(k8(2), k8(2))
	g.Exit()
	if _, err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(nil, k8(2))
	t.Log("before compact", got, err)
	if err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	got, err = s.Get(nil, k8(2))
	if err != nil {
		t.Errorf("live: %v %v", got, err)
	}
	s.Close()
	s, err = Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 2; i++ {
		if got, err = s.Get(nil, k8(i)); err != nil {
			t.Errorf("reopened: key %d: %v %v", i, got, err)
		}
	}
	s.Close()
}

// Scan over a Restore.
func TestScan_RestoreMeanwhile(t *testing.T) {
	s, err := Open(t.TempDir(), &Options{MemoryBytes: MinMemoryBytes, PageBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	s.Set(k8(1), k8(1))
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	for i := uint64(0); i < 2000; i++ {
		s.Set(k8(1000+i), make([]byte, 800))
	}
	n := 0
	err = s.Scan(ctx, func(k, v []byte) bool {
		n++
		if n == 1 {
			if _, err := s.Restore(ctx, 1); err != nil {
				t.Fatal(err)
			}
			for i := uint64(0); i < 10000; i++ {
				s.Set(k8(100000+i), make([]byte, 800))
			}
			runtime.Gosched()
		}
		return true
	})
	t.Log(n, err)
	if errors.Is(err, ErrCorrupt) {
		t.Errorf("scan over a restore: %v", err)
	}
	s.Close()
}
