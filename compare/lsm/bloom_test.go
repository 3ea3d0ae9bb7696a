package lsm

import (
	"encoding/binary"
	"testing"

	"github.com/zeebo/xxh3"
)

func TestFilter_LetsThroughWhatItSays(t *testing.T) {
	for _, p := range []float64{0.5, 0.1, 0.01, 0.001} {
		for _, n := range []int{1, 100, 50_000} {
			hash := func(i int) uint64 { return xxh3.Hash(binary.LittleEndian.AppendUint64(nil, uint64(i))) }
			hashes := make([]uint64, n)
			for i := range hashes {
				hashes[i] = hash(i)
			}
			f := newFilter(hashes, p)
			for i := range n {
				if !f.has(hash(i)) {
					t.Fatalf("p=%v n=%d: a key of the filter is not let through", p, n)
				}
			}
			const tries = 100_000
			passed := 0
			for i := range tries {
				if f.has(hash(1<<30 + i)) {
					passed++
				}
			}
			if got := float64(passed) / tries; got > 1.5*p+0.001 {
				t.Errorf("p=%v n=%d: %v are let through", p, n, got)
			}
		}
	}
}
