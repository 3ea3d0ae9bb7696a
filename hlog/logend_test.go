package hlog

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Near the end of the address space, and past every power of two before it: what fits is stored and comes back, then
// writers get an error and nothing is lost.
func TestLog_AddressesRunOut(t *testing.T) {
	dir := t.TempDir()
	// An empty version that ends there: the log goes on behind it.
	at := uint64(word.MaxAddress) - 16*MaxPageBytes - 2<<20
	d, err := checkpoint.OpenDir(fsx.OS(), dir, newIdentity(Options{SegmentBytes: 1 << 30}), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(&checkpoint.Manifest{Version: 1, Created: time.Now(), DeltaStart: at, Cut: at, LogVersion: 1}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, &Options{MemoryBytes: MinMemoryBytes})
	if err != nil {
		t.Fatal(err)
	}
	if s.log.Tail() != at {
		t.Fatalf("the log goes on at %#x, not at %#x", s.log.Tail(), at)
	}
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
