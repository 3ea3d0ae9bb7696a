package search

import (
	"slices"
	"testing"
)

// step is an event on one number: it adds, and saw what was there.
type step struct{ add, saw int }

func order(steps ...step) *Order[int] {
	return &Order[int]{Apply: func(e int, v int, past []int) (int, bool) {
		if steps[e].add == 0 { // a read may be late when there are cuts
			return v, steps[e].saw == v || slices.Contains(past, steps[e].saw)
		}
		return v + steps[e].add, steps[e].saw == v
	}}
}

func TestOrder(t *testing.T) {
	o := order(step{1, 2}, step{2, 0}) // the second came first
	if !o.Exists(0b11, 0, 3) || o.Exists(0b11, 0, 4) || o.Exists(0b01, 0, 1) {
		t.Error("two additions")
	}
	o.After[1] = 0b01 // but it did not
	if o.Exists(0b11, 0, 3) {
		t.Error("an event that came before another is put behind it")
	}
	o = order(step{1, 0}, step{0, 0})
	o.After[1] = 0b01
	if o.Exists(0b11, 0, 1) {
		t.Error("a read sees what is over, without a cut")
	}
	o = order(step{1, 0}, step{0, 0}, step{0, 1})
	o.Cuts, o.After[1] = 0b100, 0b001
	if !o.Exists(0b111, 0, 1) {
		t.Error("a read beside a cut sees nothing but what is there now")
	}
	o = order(step{1, 0}, step{0, 0})
	o.Cuts, o.Without[0], o.After[1] = 0b10, 0b10, 0b01
	if o.Exists(0b11, 0, 1) {
		t.Error("a change comes before a cut that must not hold it")
	}
	o.After[1] = 0
	if !o.Exists(0b11, 0, 1) {
		t.Error("a change does not come after a cut that must not hold it")
	}
	o.Allowed = func(e int, done uint16) bool { return e != 1 || done != 0 }
	if o.Exists(0b11, 0, 1) {
		t.Error("an event comes when it may not")
	}
}
