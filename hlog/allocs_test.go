package hlog

import (
	"testing"

	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// No operation allocates: on keys and values of words and of other sizes, one by one and in groups.
func TestOperations_AllocateNothing(t *testing.T) {
	if testkit.Race || invariant.Enabled {
		t.Skip("the race detector and the checks allocate")
	}
	s := mustOpen(t, t.TempDir(), &Options{MemoryBytes: 64 << 20})
	x := s.NewSession()
	words, err := NewTable[uint64, uint64](x)
	must(t, err)
	wide, err := NewTable[[3]uint32, [100]byte](x)
	must(t, err)
	const n = 200
	keys, values := make([][]byte, n), make([][]byte, n)
	wordKeys, wordValues := make([]uint64, n), make([]uint64, n)
	wideKeys, wideValues := make([][3]uint32, n), make([][100]byte, n)
	found := make([]bool, n)
	for i := range n {
		keys[i], values[i] = []byte{'k', byte(i), 'x'}, make([]byte, 100)
		wordKeys[i], wideKeys[i] = uint64(i), [3]uint32{1, uint32(i)}
	}
	dst := make([]byte, 0, 1000)
	ops := []struct {
		name string
		do   func() error
	}{
		{"Session.Set", func() error { return x.Set(keys[1], values[1]) }},
		{"Session.Get", func() error { _, err := x.Get(dst, keys[1]); return err }},
		{"Session.RMW", func() error { return x.RMW(keys[1], func(old []byte) []byte { old[0]++; return old }) }},
		{"Session.Delete", func() error { return x.Delete(keys[2]) }},
		{"Session.MultiSet", func() error { return x.MultiSet(keys, values) }},
		{"Session.MultiGet", func() error { return x.MultiGet(keys, func(int, []byte, error) {}) }},
		{"Session.MultiRMW", func() error { return x.MultiRMW(keys, func(_ int, old []byte) []byte { return old }) }},
		{"Store.Set", func() error { return s.Set(keys[1], values[1]) }},
		{"Store.Get", func() error { _, err := s.Get(dst, keys[1]); return err }},
		{"Store.RMW", func() error { return s.RMW(keys[1], func(old []byte) []byte { return old }) }},
		{"Store.Delete", func() error { return s.Delete(keys[2]) }},
		{"Session.Unit", func() error { return x.Unit(func() error { return words.Set(1, 2) }) }},
		{"Table.Set/words", func() error { return words.Set(1, 2) }},
		{"Table.Get/words", func() error { _, _, err := words.Get(1); return err }},
		{"Table.Update/words", func() error { return words.Update(1, func(v *uint64, _ bool) { *v++ }) }},
		{"Table.Delete/words", func() error { return words.Delete(1000) }},
		{"Table.MultiSet/words", func() error { return words.MultiSet(wordKeys, wordValues) }},
		{"Table.MultiGet/words", func() error { return words.MultiGet(wordKeys, wordValues, found) }},
		{"Table.MultiUpdate/words", func() error { return words.MultiUpdate(wordKeys, func(_ int, v *uint64, _ bool) { *v++ }) }},
		{"Table.Set", func() error { return wide.Set(wideKeys[1], wideValues[1]) }},
		{"Table.Get", func() error { _, _, err := wide.Get(wideKeys[1]); return err }},
		{"Table.Update", func() error { return wide.Update(wideKeys[1], func(v *[100]byte, _ bool) { v[0]++ }) }},
		{"Table.MultiSet", func() error { return wide.MultiSet(wideKeys, wideValues) }},
		{"Table.MultiGet", func() error { return wide.MultiGet(wideKeys, wideValues, found) }},
		{"Table.MultiUpdate", func() error { return wide.MultiUpdate(wideKeys, func(_ int, v *[100]byte, _ bool) { v[0]++ }) }},
	}
	for _, op := range ops {
		t.Run(op.name, func(t *testing.T) {
			must(t, op.do()) // makes what is made once
			if a := testing.AllocsPerRun(100, func() { must(t, op.do()) }); a != 0 {
				t.Errorf("%v allocations", a)
			}
		})
	}
}
