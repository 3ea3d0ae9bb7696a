package workload

import (
	"context"
	"errors"
	"math"
	"sort"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

func counts(picks []uint32, keys int) []int {
	c := make([]int, keys)
	for _, p := range picks {
		c[p]++
	}
	return c
}

// Every rank's share must be what the definition says; the draw is by an approximate inversion, so the head, which
// carries the load, is held to 3 % and the sum of the tail to 2 %.
func TestPicks_ZipfFollowsItsDefinition(t *testing.T) {
	const keys, n = 10_000, 2_000_000
	c := counts(Dist{Kind: "zipf"}.Picks(keys, n, 1), keys)
	z := zeta(keys, 0.99)
	for _, r := range []uint64{0, 1} {
		want := math.Pow(float64(r+1), -0.99) / z
		got := float64(c[scatter(r, keys)]) / n
		if math.Abs(got-want) > 0.03*want {
			t.Errorf("rank %d: share %.5f, want %.5f", r, got, want)
		}
	}
	for _, head := range []uint64{10, 100, 1000} {
		got := 0
		for r := range head {
			got += c[scatter(r, keys)]
		}
		want := zeta(head, 0.99) / z
		if s := float64(got) / n; math.Abs(s-want) > 0.02 {
			t.Errorf("first %d ranks: share %.4f, want %.4f", head, s, want)
		}
	}
}

func TestPicks_UniformReachesEveryKeyAlike(t *testing.T) {
	const keys, n = 1000, 1_000_000
	for k, c := range counts(Dist{Kind: "uniform"}.Picks(keys, n, 7), keys) {
		if math.Abs(float64(c)-1000) > 6*math.Sqrt(1000) { // six standard deviations
			t.Errorf("key %d picked %d times, expected about 1000", k, c)
		}
	}
}

func TestPicks_HotsetHoldsItsShareAndMovesOn(t *testing.T) {
	const keys, rotate = 1000, 50_000
	picks := Dist{Kind: "hotset", Rotate: rotate}.Picks(keys, 6*rotate, 3)
	for turn := range 6 {
		hot := 0
		start := turn * 200 % keys
		for _, p := range picks[turn*rotate : (turn+1)*rotate] {
			if int(p) >= start && int(p) < start+200 {
				hot++
			}
		}
		// 90 % by design, and a fifth of the remaining tenth falls into the window by chance.
		if share := float64(hot) / rotate; math.Abs(share-0.92) > 0.01 {
			t.Errorf("turn %d: %.3f of the picks in its window, want 0.92", turn, share)
		}
	}
}

func TestPicks_SameSeedSamePicks(t *testing.T) {
	for _, kind := range Kinds() {
		d := Dist{Kind: kind}
		a, b, c := d.Picks(500, 1000, 5), d.Picks(500, 1000, 5), d.Picks(500, 1000, 6)
		differ := 0
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("%s: pick %d differs under one seed", kind, i)
			}
			if a[i] != c[i] {
				differ++
			}
		}
		if differ < 500 {
			t.Errorf("%s: another seed changed only %d of 1000 picks", kind, differ)
		}
	}
}

func TestPicks_SmallestKeySpaces(t *testing.T) {
	for _, kind := range Kinds() {
		for _, keys := range []int{1, 2, 3} {
			for _, p := range (Dist{Kind: kind}).Picks(keys, 1000, 1) {
				if int(p) >= keys {
					t.Fatalf("%s over %d keys picked %d", kind, keys, p)
				}
			}
		}
	}
}

func TestZeta_TailFormulaAgreesWithTheSum(t *testing.T) {
	const n = 300_000
	sum := 0.0
	for i := 1; i <= n; i++ {
		sum += math.Pow(float64(i), -0.99)
	}
	if got := zeta(n, 0.99); math.Abs(got-sum) > 1e-9*sum {
		t.Errorf("zeta(%d) = %v, sum %v", n, got, sum)
	}
}

func TestScatter_OneToOne(t *testing.T) {
	for _, n := range []uint64{1, 2, 10, 4096, 99_991} {
		seen := make([]bool, n)
		for r := range n {
			k := scatter(r, n)
			if seen[k] {
				t.Fatalf("n=%d: two ranks at key %d", n, k)
			}
			seen[k] = true
		}
	}
}

func TestDist_ValidateNamesTheField(t *testing.T) {
	for _, d := range []Dist{{Kind: "zipfian"}, {Kind: "zipf", Theta: 1}, {Kind: "hotset", Share: 2},
		{Kind: "hotset", Hot: -1}, {Kind: "hotset", Rotate: -4}} {
		if err := d.Validate(); err == nil {
			t.Errorf("%+v accepted", d)
		}
	}
	if err := (Dist{Kind: "zipf"}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestKey_OrderedAndDistinct(t *testing.T) {
	for _, size := range []int{2, 4, 5, 8, 16, 30} {
		prev := make([]byte, size)
		Key(prev, 0)
		for i := uint64(1); i < 60_000; i += 13 {
			k := make([]byte, size)
			Key(k, i)
			if string(k) <= string(prev) {
				t.Fatalf("size %d: key %d does not follow the one before", size, i)
			}
			prev = k
		}
	}
}

func TestValue_DiffersByKeyAndWrite(t *testing.T) {
	for _, size := range []int{4, 5, 8, 100, 1001} {
		seen := map[string]bool{}
		for i := range uint64(50) {
			for seq := range uint64(50) {
				v := make([]byte, size)
				Value(v, i, seq)
				seen[string(v)] = true
			}
		}
		if len(seen) < 2495 {
			t.Errorf("size %d: 2500 writes gave %d values", size, len(seen))
		}
	}
}

func TestNewPlan_SharesOfTheMix(t *testing.T) {
	const n = 100_000
	for _, name := range MixNames() {
		m, err := MixByName(name)
		if err != nil {
			t.Fatal(err)
		}
		p := NewPlan(Dist{Kind: "uniform"}, m, 100, n, 1)
		var c [4]int
		for _, op := range p.Ops {
			c[op]++
		}
		want := [4]int{100 - m.Set - m.RMW - m.Delete, m.Set, m.RMW, m.Delete}
		for op, share := range want {
			if got := float64(c[op]) / n * 100; math.Abs(got-float64(share)) > 1 {
				t.Errorf("%s: %.1f %% %v, want %d %%", name, got, Op(op), share)
			}
		}
	}
	if _, err := MixByName("nothing"); err == nil {
		t.Error("an unknown mix was accepted")
	}
}

func TestNewPlan_ChurnDeletesWhatItInserted(t *testing.T) {
	m, _ := MixByName("churn")
	p := NewPlan(Dist{Kind: "zipf"}, m, 100, 1000, 1)
	for i := 0; i < p.Len(); i += 2 {
		if p.Ops[i] != Set || p.Ops[i+1] != Delete || p.Picks[i] != p.Picks[i+1] {
			t.Fatalf("operations %d and %d: %v %d, %v %d", i, i+1, p.Ops[i], p.Picks[i], p.Ops[i+1], p.Picks[i+1])
		}
	}
}

func TestLatencies_QuantilesOfAKnownSet(t *testing.T) {
	const n = 100_000
	a, b := NewLatencies(), NewLatencies()
	var all []time.Duration
	for i := range n {
		d := time.Duration(Mix64(uint64(i))%10_000_000) + 1
		all = append(all, d)
		if i%2 == 0 {
			a.Record(d)
		} else {
			b.Record(d)
		}
	}
	a.Merge(b)
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	if a.Count() != n {
		t.Fatalf("count %d", a.Count())
	}
	for _, q := range []float64{.5, .9, .99, .999} {
		want, got := float64(all[int(q*n)-1]), float64(a.Quantile(q))
		if math.Abs(got-want) > 0.002*want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	a.Record(time.Hour)
	if a.Max() < longest-time.Second || a.over != 1 {
		t.Errorf("a duration past the range: max %v, counted past it %d", a.Max(), a.over)
	}
}

func TestRun_EveryOperationOnce(t *testing.T) {
	p := Sequence(Set, 10, 1000)
	for _, g := range []int{1, 2, 3, 7, 600} {
		got := make([]map[uint32]int, g)
		for i := range got {
			got[i] = map[uint32]int{}
		}
		res := Run(context.Background(), Config{Goroutines: g, Ops: p.Len()}, p, func(w int, op Op, key uint32, _ uint64) error {
			got[w][key]++
			if key%2 == 1 && got[w][key-1] == 0 {
				return errors.New("the second of two operations ran before the first, or elsewhere")
			}
			if op != Set {
				return errors.New("wrong operation")
			}
			return nil
		})
		if res.Err != nil || res.Ops != 1000 || res.All.Count() != 1000 || res.ByOp[Set].Count() != 1000 || res.ByOp[Get] != nil {
			t.Fatalf("g=%d: %d operations, %d timed, error %v", g, res.Ops, res.All.Count(), res.Err)
		}
		sum := map[uint32]int{}
		for _, m := range got {
			for k, c := range m {
				sum[k] += c
			}
		}
		for k := uint32(10); k < 1010; k++ {
			if sum[k] != 1 {
				t.Fatalf("g=%d: key %d done %d times", g, k, sum[k])
			}
		}
	}
}

func TestRun_ErrorEndsEveryWorker(t *testing.T) {
	p := Sequence(Get, 0, 100)
	boom := errors.New("boom")
	res := Run(context.Background(), Config{Goroutines: 3}, p, func(w int, _ Op, _ uint32, seq uint64) error {
		if w == 1 && seq > 500 {
			return boom
		}
		return nil
	})
	if !errors.Is(res.Err, boom) {
		t.Fatalf("error %v", res.Err)
	}
}

// A stall in an open loop must show in the operations that were due meanwhile, not in one alone. The stall is far
// longer than any scheduling noise, and only counts are compared.
func TestRun_OpenLoopChargesAStallToAllThatWereDue(t *testing.T) {
	const rate, stall = 2000, 200 * time.Millisecond
	p := Sequence(Get, 0, 1000)
	res := Run(context.Background(), Config{Ops: 1000, Rate: rate}, p, func(_ int, _ Op, key uint32, _ uint64) error {
		if key == 100 {
			testkit.Pause(stall)
		}
		return nil
	})
	if res.Err != nil || res.Ops != 1000 {
		t.Fatalf("%d operations, %v", res.Ops, res.Err)
	}
	// 400 operations fall due during the stall; those of its first half wait at least half of it.
	if q := res.All.Quantile(0.82); q < stall/2 {
		t.Errorf("the 180th slowest of 1000 operations took %v, the stall was charged to too few", q)
	}
}

func TestRun_ContextEndsTheRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	res := Run(ctx, Config{}, Sequence(Get, 0, 10), func(int, Op, uint32, uint64) error {
		if n++; n == 1000 {
			cancel()
		}
		return nil
	})
	if res.Ops < 1000 || res.Ops > 1064 {
		t.Errorf("%d operations, cancelled after 1000", res.Ops)
	}
}

func BenchmarkZipfPick(b *testing.B) {
	z := newZipf(10_000_000, 0.99)
	u := 0.0
	for b.Loop() {
		u += 0.0001
		if u >= 1 {
			u -= 1
		}
		z.rank(u)
	}
}

// A worker tells every key that it reads, in its order, before it reads it, and no key that it only writes.
func TestRun_TellsAhead(t *testing.T) {
	const goroutines, ops = 3, 3000
	mix := Mix{Name: "half", Set: 50, RMW: 25}
	plan := NewPlan(Dist{Kind: "uniform"}, mix, 1000, 700, 1)
	told, read := make([][]uint32, goroutines), make([]int, goroutines)
	res := Run(context.Background(), Config{Goroutines: goroutines, Ops: ops, Sample: -1, Offset: 5,
		Ahead: func(w int, keys []uint32) { told[w] = append(told[w], keys...) }}, plan,
		func(w int, op Op, key uint32, _ uint64) error {
			if op == Set {
				return nil
			}
			if read[w] >= len(told[w]) || told[w][read[w]] != key {
				t.Errorf("goroutine %d reads key %d, its read number %d, of %d that it has told", w, key, read[w], len(told[w]))
			}
			read[w]++
			return nil
		})
	if res.Err != nil || res.Ops != ops || read[0] < ops/goroutines/3 {
		t.Errorf("%d operations, %d reads of the first goroutine, %v", res.Ops, read[0], res.Err)
	}
}
