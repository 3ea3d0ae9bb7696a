package hlog

import (
	"math"
	"testing"
)

// Without a budget of its own a store takes a quarter of what its container may have, if that is less than the default, and
// still as much as a store needs.
func TestDefaultMemory(t *testing.T) {
	for limit, want := range map[int64]int64{
		math.MaxInt64: DefaultMemoryBytes, 64 << 30: DefaultMemoryBytes, 4 * DefaultMemoryBytes: DefaultMemoryBytes,
		4*DefaultMemoryBytes - 4: DefaultMemoryBytes - 1, 512 << 20: 128 << 20, 1: MinMemoryBytes, 15 << 20: MinMemoryBytes,
	} {
		if got := defaultMemory(limit); got != want {
			t.Errorf("of %d: %d, want %d", limit, got, want)
		}
	}
	o, err := (*Options)(nil).withDefaults()
	must(t, err)
	if want := defaultMemory(containerMemory()); o.MemoryBytes != want {
		t.Errorf("nil options: %d, want %d", o.MemoryBytes, want)
	}
	o, err = (&Options{MemoryBytes: 2 << 30}).withDefaults()
	must(t, err)
	if o.MemoryBytes != 2<<30 {
		t.Errorf("a budget that was asked for became %d", o.MemoryBytes)
	}
}
