package hlog

import (
	"context"
	"testing"
	"time"
)

// A tombstone whose index entry compaction cleared; the entry has lost tag bits in growth, and an image still has it.
func TestCompact_FreedEntryDoesNotComeBack(t *testing.T) {
	dir := t.TempDir()
	o := &Options{MemoryBytes: 64 << 20, PageBytes: 64 << 10, NoCompaction: true}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	h0 := s.hash(k8(1))
	var ks [][]byte
	for i := uint64(1 << 32); len(ks) < 2; i++ {
		h := s.hash(k8(i))
		if (h^h0)&(1<<23-1) != 0 {
			continue
		}
		if len(ks) == 1 && (h^s.hash(ks[0]))>>23&7 == 0 {
			continue
		}
		ks = append(ks, k8(i))
	}
	s.Set(k8(1), k8(1))
	s.Delete(k8(1))
	for i := uint64(1000); i < 12000; i++ {
		s.Set(k8(i), make([]byte, 1000))
	}
	for s.index().Bits() < 10 {
		time.Sleep(time.Millisecond)
	}
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	for newestImage(s) == nil {
		time.Sleep(time.Millisecond)
	}
	v2, err := s.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restore(ctx, v2.Version); err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		if err := s.Set(k, []byte("here")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		if v, err := s.Get(nil, k); err != nil {
			t.Errorf("live: %q %v", v, err)
		}
	}
	s.Close()
	if s, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		if v, err := s.Get(nil, k); err != nil {
			t.Errorf("reopened: %q %v", v, err)
		}
	}
	s.Close()
}
