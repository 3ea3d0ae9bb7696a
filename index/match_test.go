package index

import (
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The comparison of a whole bucket at once is that of its entries one by one, for tags of every length.
func TestMatches_LikeEntryByEntry(t *testing.T) {
	r, err := mem.Map(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Unmap()
	b := r.At(0)
	rnd := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for range 200_000 {
		h := rnd.Uint64()
		q := word.MakeQuery(h, 6)
		for i := range bucketSlots + 1 {
			w := rnd.Uint64()
			if rnd.IntN(2) == 0 { // a tag that agrees in its first bits, perhaps in all
				tag := word.MakeTag(h^uint64(rnd.IntN(4))<<(6+rnd.IntN(17)), 6)
				n := rnd.IntN(word.TagBits + 1)
				tag = tag&(1<<n-1) | 1<<n
				e := word.MakeEntry(tag, word.Address(w)&(word.MaxAddress-word.Align))
				if rnd.IntN(8) == 0 {
					e = e.WithTentative()
				}
				w = uint64(e)
			} else if rnd.IntN(4) == 0 {
				w = 0
			}
			mem.StorePlain(slotOf(b, i), w)
		}
		got, want := matches(b, q), matchEach(b, q)
		if got != want {
			t.Fatalf("query %#x: %07b at once, %07b one by one", q, got, want)
		}
		if want != 0 {
			hits++
		}
	}
	if hits == 0 {
		t.Fatal("nothing ever matched")
	}
}
