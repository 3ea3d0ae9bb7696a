//go:build amd64 && !race

package mem

import (
	"math/rand/v2"
	"testing"
)

// FindTag gives the same answers with and without the wide registers.
func TestFindTag_WideLikeNarrow(t *testing.T) {
	if !wide {
		t.Skip("this processor has no AVX-512")
	}
	defer func() { wide = true }()
	r := mustMap(t, 4096)
	rnd := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for range 200_000 {
		h, bits := rnd.Uint64(), uint(3+rnd.IntN(30))
		x := &Buckets{Base: r.At(0), Mask: 7, Bits: bits}
		b := Add(r.At(0), uintptr(h&7)<<6)
		for i := range uintptr(8) {
			StorePlain(Add(b, i*WordBytes), nearby(rnd, h>>bits))
		}
		wide = true
		p, e := FindTag(x, h)
		wide = false
		if q, f := FindTag(x, h); p != q || e != f {
			t.Fatalf("hash %#x, %d bits: %#x at %p with wide registers, %#x at %p without", h, bits, e, p, f, q)
		}
		if e != 0 {
			hits++
		}
	}
	if hits < 10_000 {
		t.Fatalf("only %d matched", hits)
	}
}

// nearby returns a word whose tag field often agrees with tag in some bits below its leading one.
func nearby(rnd *rand.Rand, tag uint64) uint64 {
	w := rnd.Uint64()
	switch rnd.IntN(4) {
	case 0:
		return w
	case 1:
		return w & (1<<45 - 1)
	}
	n := rnd.IntN(18)
	field := (tag^uint64(rnd.IntN(4))<<rnd.IntN(18))&(1<<n-1) | 1<<n
	return w&(1<<45-1) | field<<45 | uint64(rnd.IntN(8)/7)<<63
}
