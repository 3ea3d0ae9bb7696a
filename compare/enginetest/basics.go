package enginetest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/compare"
)

func (s Subject) basics(t *testing.T) {
	t.Run("EmptyStore", func(t *testing.T) {
		e := s.open(t, t.TempDir())
		verify(t, e, state{}, append(names(3), binaryKeys(3)...))
	})
	t.Run("EmptyValueDeletes", func(t *testing.T) {
		e, m, keys := s.open(t, t.TempDir()), state{}, names(3)
		set(t, e, m, keys[0], "") // what is absent
		set(t, e, m, keys[1], "one")
		set(t, e, m, keys[2], "two")
		set(t, e, m, keys[1], "")
		verify(t, e, m, keys)
		if err := e.Set([]byte(keys[2]), nil); err != nil {
			t.Fatal(err)
		}
		verify(t, e, state{}, keys)
		set(t, e, m, keys[1], "again")
		delete(m, keys[2])
		verify(t, e, m, keys)
	})
	t.Run("KeysOfAnyBytes", s.anyKeys)
	t.Run("ValuesGrowAndShrink", s.growAndShrink)
	t.Run("BytesAreCopied", s.copies)
	t.Run("BadKeysAreRefused", func(t *testing.T) {
		e := s.open(t, t.TempDir())
		for _, key := range [][]byte{nil, {}, bytes.Repeat([]byte{'k'}, 1<<16)} {
			if err := e.Set(key, []byte("v")); !errors.Is(err, compare.ErrKey) {
				t.Errorf("set of a key of %d bytes: %v", len(key), err)
			}
			if _, err := e.Get(key); !errors.Is(err, compare.ErrKey) {
				t.Errorf("get of a key of %d bytes: %v", len(key), err)
			}
		}
		if err := e.Set([]byte("k"), make([]byte, 1<<24+1)); !errors.Is(err, compare.ErrTooLarge) {
			t.Errorf("set of a value of 16 MiB and a byte: %v", err)
		}
		verify(t, e, state{}, []string{"k"})
	})
	t.Run("ClosedEngineRefuses", func(t *testing.T) {
		e := s.open(t, t.TempDir())
		closeEngine(t, e)
		_, err := e.Get([]byte("k"))
		for name, err := range map[string]error{
			"get": err, "set": e.Set([]byte("k"), []byte("v")), "snapshot": e.Snapshot(1), "restore": e.Restore(0), "close": e.Close(),
		} {
			if !errors.Is(err, compare.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("SecondOpenIsRefused", func(t *testing.T) {
		dir := t.TempDir()
		e, m := s.open(t, dir), state{}
		set(t, e, m, "k", "v")
		if second, err := compare.Open(s.Kind, dir, s.Options); !errors.Is(err, compare.ErrLocked) {
			t.Fatalf("second open: %v, %v", second, err)
		}
		verify(t, s.reopen(t, e, dir), m, []string{"k"})
	})
	t.Run("DirectoriesAreCreated", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		e, m := s.open(t, dir), state{}
		set(t, e, m, "k", "v")
		verify(t, s.reopen(t, e, dir), m, []string{"k"})
	})
}

func (s Subject) anyKeys(t *testing.T) {
	dir := t.TempDir()
	e, m, keys := s.open(t, dir), state{}, binaryKeys(600)
	keys = append(keys, strings.Repeat("k", 3000), strings.Repeat("k", 3001))
	for i, k := range keys {
		if i%3 != 0 {
			set(t, e, m, k, value(k, i, 0))
		}
	}
	verify(t, e, m, keys)
	for i, k := range keys {
		if i%5 == 1 {
			set(t, e, m, k, "")
		}
	}
	verify(t, e, m, keys)
	verify(t, s.reopen(t, e, dir), m, keys)
}

func (s Subject) growAndShrink(t *testing.T) {
	dir := t.TempDir()
	e, m, keys := s.open(t, dir), state{}, names(20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 600 {
		k := keys[r.IntN(len(keys))]
		set(t, e, m, k, value(k, i, []int{1, 10, 100, 130, 1000, 9000}[r.IntN(6)]))
	}
	verify(t, e, m, keys)
	verify(t, s.reopen(t, e, dir), m, keys)
}

func (s Subject) copies(t *testing.T) {
	e := s.open(t, t.TempDir())
	key, val := []byte("key"), []byte("value")
	if err := e.Set(key, val); err != nil {
		t.Fatal(err)
	}
	key[0], val[0] = 'x', 'x'
	verify(t, e, state{"key": "value"}, []string{"key", "xey"})
	for range 2 {
		got, err := e.Get([]byte("key"))
		if err != nil || string(got) != "value" {
			t.Fatalf("%q, %v", got, err)
		}
		got[0] = 'x'
	}
	got, err := e.Get([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Set([]byte("key"), []byte("other")); err != nil {
		t.Fatal(err)
	}
	if string(got) != "value" {
		t.Errorf("a value that was read has turned into %q", got)
	}
}
