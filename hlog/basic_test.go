package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

func TestStore_SetGetDeleteReopen(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, &Options{MemoryBytes: MinMemoryBytes})
	if err != nil {
		t.Fatal(err)
	}
	const n = 12_000
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	for i := range n {
		if err := s.Set(key(i), fmt.Appendf(nil, "value %-450d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < n; i += 3 {
		if err := s.Delete(key(i)); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		var buf []byte
		for i := range n {
			buf, err = s.Get(buf[:0], key(i))
			if i%3 == 0 {
				if !errors.Is(err, ErrNotFound) {
					t.Fatalf("key %d: deleted, got %q, %v", i, buf, err)
				}
				continue
			}
			if want := fmt.Sprintf("value %-450d", i); err != nil || string(buf) != want {
				t.Fatalf("key %d: got %q, %v, want %q", i, buf, err, want)
			}
		}
	}
	check()
	t.Log(s.Metrics())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(dir, &Options{MemoryBytes: MinMemoryBytes})
	if err != nil {
		t.Fatal(err)
	}
	check()
	seen := map[string]bool{}
	err = s.Scan(context.Background(), func(k, v []byte) bool {
		if seen[string(k)] {
			t.Fatalf("key %x twice", k)
		}
		seen[string(k)] = true
		return true
	})
	if err != nil || len(seen) != n-(n+2)/3 {
		t.Fatalf("scan: %d keys, %v", len(seen), err)
	}
	t.Log(s.Metrics())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
