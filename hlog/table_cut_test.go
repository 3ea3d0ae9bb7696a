package hlog

import (
	"testing"
)

// wide is a value that is not a word.
type wide struct{ n, twice uint64 }

// After a cut the first update of a key copies its record, which is in memory and read-only. It calls fn once, and once
// more if somebody has been faster; a key whose record has left memory meanwhile, or grows no more, counts as well.
func TestTable_FirstUpdateAfterACut(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	x, y := s.NewSession(), s.NewSession()
	words, err := NewTable[uint64, uint64](x)
	must(t, err)
	wides, err := NewTable[[2]uint64, wide](x)
	must(t, err)
	others, err := NewTable[[2]uint64, wide](y)
	must(t, err)
	const keys = 100
	calls := 0
	add := func(v *wide, _ bool) { calls++; v.n++; v.twice += 2 }
	addWord := func(v *uint64, _ bool) { calls++; *v++ }
	round := func() {
		ws, ks := make([]uint64, keys/2), make([][2]uint64, keys/2)
		for k := range uint64(keys / 2) {
			must(t, words.Update(k, addWord))
			must(t, wides.Update([2]uint64{k}, add))
			ws[k], ks[k] = k+keys/2, [2]uint64{k + keys/2}
		}
		must(t, words.MultiUpdate(ws, func(_ int, v *uint64, existed bool) { addWord(v, existed) }))
		must(t, wides.MultiUpdate(ks, func(_ int, v *wide, existed bool) { add(v, existed) }))
	}
	check := func(n uint64) {
		t.Helper()
		for k := range uint64(keys) {
			if v, _, err := words.Get(k); err != nil || v != n {
				t.Fatalf("word %d: %d, %v, want %d", k, v, err, n)
			}
			if v, _, err := wides.Get([2]uint64{k}); err != nil || v != (wide{n, 2 * n}) {
				t.Fatalf("wide %d: %v, %v, want %d", k, v, err, n)
			}
		}
	}
	round()
	for n := uint64(2); n <= 5; n++ {
		commit(t, s)
		if at := s.log.Tail(); s.log.SafeReadOnly() < at {
			t.Fatalf("the version is still mutable below %#x", at)
		}
		calls = 0
		round()
		if calls != 2*keys {
			t.Errorf("%d calls for %d updates", calls, 2*keys)
		}
		check(n)
	}

	key, inPlace := [2]uint64{7}, "another update in place and eviction"
	for name, meanwhile := range map[string]func(){
		inPlace:                       func() { must(t, others.Update(key, func(v *wide, _ bool) { v.n++; v.twice += 2 })); evict(t, s) },
		"another update":              func() { must(t, others.Update(key, func(v *wide, _ bool) { v.n++; v.twice += 2 })) },
		"another update and eviction": func() { must(t, others.Update(key, func(v *wide, _ bool) { v.n++; v.twice += 2 })); evict(t, s) },
		"a delete and a new value":    func() { must(t, others.Delete(key)); must(t, others.Set(key, wide{100, 200})) },
	} {
		must(t, wides.Update(key, func(*wide, bool) {})) // its record is mutable
		before, _, err := wides.Get(key)
		must(t, err)
		if name != inPlace {
			commit(t, s)
		}
		calls = 0
		must(t, wides.Update(key, func(v *wide, existed bool) {
			add(v, existed)
			if calls == 1 {
				meanwhile()
			}
		}))
		want := before.n + 2
		if name == "a delete and a new value" {
			want = 101
		}
		if v, _, err := wides.Get(key); err != nil || v != (wide{want, 2 * want}) || calls != 2 {
			t.Errorf("%s: %v, %v after %d calls, want %d after 2", name, v, err, calls, want)
		}
	}
}
