package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/internal/word"
)

// depth is how many bits the tags of TestSplit_EveryAntichain have at most.
const depth = 3

// antichains returns every set of tags below the given prefix in which none is a prefix of another. Tags are strings
// of 0 and 1, the lowest bit first.
func antichains(prefix string) [][]string {
	all := [][]string{{}}
	if prefix != "" {
		all = append(all, []string{prefix})
	}
	if len(prefix) == depth {
		return all
	}
	for _, a := range antichains(prefix + "0") {
		for _, b := range antichains(prefix + "1") {
			if len(a)+len(b) > 0 {
				all = append(all, append(slices.Clone(a), b...))
			}
		}
	}
	return all
}

// tagOf returns the tag of a string.
func tagOf(s string) word.Tag {
	t := word.CatchAll
	for i := len(s) - 1; i >= 0; i-- {
		t = t<<1 | word.Tag(s[i]-'0')
	}
	return t
}

// owner returns the address of the owner of the hash bits h among the entries of a bucket, as the package comment
// defines it, without any of the package's code.
func owner(entries []word.Entry, h string) word.Address {
	found := word.None
	for _, e := range entries {
		if e.Tag() == word.CatchAll {
			found = e.Address()
		}
	}
	for _, e := range entries {
		for n := 1; n <= len(h); n++ {
			if e.Tag() == tagOf(h[:n]) {
				return e.Address()
			}
		}
	}
	return found
}

// TestSplit_EveryAntichain takes every possible bucket with tags of up to three bits, with a catch-all and without,
// splits it until no bit is left and once more, and compares the owner of every hash with the one before (I1), and
// the shape of every half (I2, I3, I7).
func TestSplit_EveryAntichain(t *testing.T) {
	var hashes []string
	for h := range 1 << (depth + 2) {
		hashes = append(hashes, fmt.Sprintf("%0*b", depth+2, h))
	}
	buckets := 0
	for _, tags := range antichains("") {
		for _, catchAll := range []bool{false, true} {
			var entries []word.Entry
			if catchAll {
				entries = append(entries, word.MakeEntry(word.CatchAll, word.FirstAddress))
			}
			for i, s := range tags {
				entries = append(entries, word.MakeEntry(tagOf(s), word.FirstAddress+word.Address(i+1)*word.Align))
			}
			buckets++
			splitAll(t, entries, hashes, depth+1)
		}
	}
	// Antichains of a tree: a(0) = 2, a(n) = 1 + a(n-1)^2; the root alone is the catch-all.
	if want := 2 * (26 * 26); buckets != want {
		t.Fatalf("%d buckets, want %d", buckets, want)
	}
}

// splitAll splits entries n times and checks that each of hashes keeps its owner.
func splitAll(t *testing.T, entries []word.Entry, hashes []string, n int) {
	t.Helper()
	if reason := validate(0, entries); reason != "" {
		t.Fatalf("%v: %s", entries, reason)
	}
	if n == 0 {
		return
	}
	lo, hi := split(entries, nil, nil)
	if len(lo)+len(hi) > len(entries)+1 {
		t.Fatalf("%d entries became %d and %d", len(entries), len(lo), len(hi))
	}
	halves := map[byte][]word.Entry{'0': lo, '1': hi}
	rest := map[byte][]string{}
	for _, h := range hashes {
		before, after := owner(entries, h), owner(halves[h[0]], h[1:])
		// A hash without an owner has no record: it may get any.
		if before != after && before != word.None {
			t.Fatalf("owner of %s was %#x, is %#x\nbefore %v\nafter %v", h, before, after, entries, halves[h[0]])
		}
		rest[h[0]] = append(rest[h[0]], h[1:])
	}
	for half, hashes := range rest {
		splitAll(t, halves[half], hashes, n-1)
	}
}

func TestOverlap_AgreesWithStrings(t *testing.T) {
	var all []string
	for n := 1; n <= 6; n++ {
		for i := range 1 << n {
			all = append(all, fmt.Sprintf("%0*b", n, i))
		}
	}
	isPrefix := func(a, b string) bool { return len(a) <= len(b) && b[:len(a)] == a }
	for _, a := range all {
		for _, b := range all {
			if got, want := overlaps(tagOf(a), tagOf(b)), isPrefix(a, b) || isPrefix(b, a); got != want {
				t.Fatalf("overlaps(%s, %s) = %v", a, b, got)
			}
		}
	}
	r := rand.New(rand.NewPCG(3, 3))
	found := 0
	for range 3000 {
		tags := map[word.Tag]string{}
		var entries []word.Entry
		for range 2 + r.IntN(60) {
			n := 5 + r.IntN(12)
			s := fmt.Sprintf("%0*b", n, r.IntN(1<<n))
			if tags[tagOf(s)] == "" {
				tags[tagOf(s)] = s
				entries = append(entries, word.MakeEntry(tagOf(s), word.FirstAddress))
			}
		}
		want := false
		for i, a := range entries {
			for _, b := range entries[:i] {
				x, y := tags[a.Tag()], tags[b.Tag()]
				want = want || isPrefix(x, y) || isPrefix(y, x)
			}
		}
		for _, f := range []func([]word.Entry) (int, int, bool){overlap, overlapOfMany} {
			i, j, got := f(entries)
			if got != want || got && (i >= j || !overlaps(entries[i].Tag(), entries[j].Tag())) {
				t.Fatalf("overlap is %d, %d, %v, want %v", i, j, got, want)
			}
		}
		if want {
			found++
		}
	}
	if found < 100 || found > 2900 {
		t.Fatalf("the random sets are one-sided: %d of 3000 overlap", found)
	}
}

// TestGrow_TagsLoseAllBits lets a table grow from one bucket until the tags made first have lost all their bits and
// are in both halves, with entries made, and catch-alls forced, on the way.
func TestGrow_TagsLoseAllBits(t *testing.T) {
	for seed := range uint64(2) {
		f := newTiny(t, Config{Spawn: func(func()) {}, MaxBytes: func() int64 { return 0 }}, 0)
		l := newTestLog(200_000)
		model := map[uint64]word.Address{}
		r := rand.New(rand.NewPCG(seed, 5))
		var hashes []uint64
		add := func(n int) {
			for range n {
				h := r.Uint64()
				if len(hashes) > 0 && r.IntN(4) == 0 {
					h = hashes[r.IntN(len(hashes))]
				}
				hashes = append(hashes, h)
				model[h] = l.append(t, f.Index, f.g, h)
			}
		}
		for bits := uint(0); bits <= word.TagBits+2; bits++ {
			if err := f.Grow(context.Background(), bits); err != nil {
				t.Fatal(err)
			}
			if seed%2 == 0 && bits >= 2+uint(seed) {
				// Nothing more is allowed than the main buckets: those that are full get catch-alls.
				f.table.Load().overflow.held = f.table.Load().overflow.mapped
				add(min(6<<bits, 1000))
			} else {
				add(r.IntN(30))
			}
			if bits%5 == 4 {
				mustMatch(t, f.Index, f.g, l, model)
			}
		}
		s := f.Stats()
		if seed%2 == 0 && s.CatchAlls == 0 {
			t.Error("no catch-all was made")
		}
		t.Logf("%+v", s)
	}
}
