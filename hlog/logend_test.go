package hlog

import (
	"context"
	"errors"
	"testing"
)

// Near the end of the address space, and past every power of two before it: what fits is stored and comes back, then
// writers get an error and nothing is lost.
func TestLog_AddressesRunOut(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, &Options{MemoryBytes: MinMemoryBytes})
	if err != nil {
		t.Fatal(err)
	}
	at := lastLimit - 40*s.log.pageBytes
	s.log.place(at)
	s.commitMu.Lock()
	s.committed.start = at
	s.commitMu.Unlock()
	value := make([]byte, 8000)
	n := uint64(0)
	for ; n < 1000; n++ {
		if err = s.Set(k8(n), value); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrLogFull) || n < 200 {
		t.Fatalf("%d records, %v", n, err)
	}
	check := func() {
		t.Helper()
		for i := range n {
			if got, err := s.Get(nil, k8(i)); err != nil || len(got) != len(value) {
				t.Fatalf("key %d of %d: %d bytes, %v", i, n, len(got), err)
			}
		}
		if _, err := s.Get(nil, k8(n)); !errors.Is(err, ErrNotFound) {
			t.Fatalf("the key that did not fit: %v", err)
		}
	}
	check()
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, &Options{MemoryBytes: MinMemoryBytes}); err != nil {
		t.Fatal(err)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
