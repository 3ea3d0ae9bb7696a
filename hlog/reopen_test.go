package hlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
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
