package hlog

import (
	"math"
	"math/bits"
	"testing"
)

// Without a budget of its own a store takes a quarter of what its container may have, if that is less than the default, and
// still as much as a store needs.
func TestDefaultMemory(t *testing.T) {
	most := int64(DefaultMemoryBytes)
	if bits.UintSize == 32 {
		most = default32Bytes
	}
	for limit, want := range map[int64]int64{
		math.MaxInt64: most, 64 << 30: most, 4 * most: most, 4*most - 4: most - 1, 256 << 20: 64 << 20, 1: MinMemoryBytes, 15 << 20: MinMemoryBytes,
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
	o, err = (&Options{MemoryBytes: 1 << 30}).withDefaults()
	must(t, err)
	if o.MemoryBytes != 1<<30 {
		t.Errorf("a budget that was asked for became %d", o.MemoryBytes)
	}
}
