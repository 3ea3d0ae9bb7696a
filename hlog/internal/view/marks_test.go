package view

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// owed is a set: it agrees with a map, whatever comes twice, and grows no larger than it may.
func TestScan_Owed(t *testing.T) {
	const most = 1 << 10
	o, rng, model := owed{max: most}, rand.New(rand.NewPCG(1, 2)), map[uint64]bool{}
	defer o.close()
	full := 0
	for range 50_000 {
		p := uint64(1+rng.IntN(2000)) << 1
		if rng.IntN(5) < 2 {
			o.pay(p)
			delete(model, p)
			continue
		}
		there := model[p]
		ok, err := o.owe(p)
		if err != nil {
			t.Fatal(err)
		}
		if model[p] = true; ok {
			continue
		}
		full++
		if len(model) <= most/2 {
			t.Fatalf("no room for %d keys", len(model))
		}
		if !there {
			delete(model, p)
		}
		got := map[uint64]bool{}
		o.each(func(p uint64) { got[p] = true })
		if !maps.Equal(got, model) || o.owing != len(model) {
			t.Fatalf("%d keys are owed a record, and %d of %d should be", o.owing, len(got), len(model))
		}
		o.clear()
		clear(model)
	}
	if full == 0 || int(o.mask) >= most {
		t.Fatalf("%d times full, %d slots", full, o.mask+1)
	}
}
