package index

import (
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The comparison of a whole bucket at once is that of its entries one by one: for tags of every length, free, frozen and
// tentative slots and catch-alls among them, in tables of every size.
func TestFindSpecific_LikeEntryByEntry(t *testing.T) {
	r, err := mem.Map(bucketBytes << 3)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Unmap()
	rnd := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for range 200_000 {
		h := rnd.Uint64()
		x := &table{Buckets: mem.Buckets{Base: r.At(0), Mask: 7, Bits: uint(3 + rnd.IntN(30))}}
		b := x.bucket(h & x.Mask)
		for i := range bucketSlots + 1 {
			mem.StorePlain(slotOf(b, i), randomSlot(rnd, h, x.Bits))
		}
		p, e := findSpecific(&x.Buckets, h)
		wantP, want := findEach(&x.Buckets, h)
		if p != wantP || e != want {
			t.Fatalf("hash %#x, %d bits: %#x at %p at once, %#x at %p one by one", h, x.Bits, e, p, want, wantP)
		}
		if e != 0 {
			hits++
		}
	}
	if hits < 10_000 {
		t.Fatalf("only %d matched", hits)
	}
}

// randomSlot returns a word that often matches h.
func randomSlot(rnd *rand.Rand, h uint64, bits uint) uint64 {
	w := rnd.Uint64()
	switch rnd.IntN(8) {
	case 0:
		return 0
	case 1:
		return uint64(word.Frozen)
	case 2, 3, 4:
		return w
	}
	// A tag that agrees in its first bits, perhaps in all.
	tag := word.MakeTag(h^uint64(rnd.IntN(4))<<(bits+uint(rnd.IntN(17))), bits)
	n := rnd.IntN(word.TagBits + 1)
	tag = tag&(1<<n-1) | 1<<n
	e := word.MakeEntry(tag, word.Address(w)&(word.MaxAddress-word.Align))
	if rnd.IntN(8) == 0 {
		e = e.WithTentative()
	}
	return uint64(e)
}
