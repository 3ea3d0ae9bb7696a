package cold

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSortRecords(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 2, 3, 7, 100, 5000} {
		for name, order := range map[string]func() uint64{
			"even":    rng.Uint64,
			"bunched": func() uint64 { return rng.Uint64N(64) },
			"alike":   func() uint64 { return 1 << 63 },
		} {
			var records []Record
			for i := range n {
				records = append(records, Record{Order: order(), Key: fmt.Append(nil, rng.Uint32(), i), Value: fmt.Append(nil, i)})
			}
			want := slices.Clone(records)
			slices.SortFunc(want, func(a, b Record) int { return compareRecords(&a, &b) })
			SortRecords(records)
			for i := range want {
				if string(records[i].Value) != string(want[i].Value) {
					t.Fatalf("%d %s orders: record %d is %+v, want %+v", n, name, i, records[i], want[i])
				}
			}
		}
	}
}
