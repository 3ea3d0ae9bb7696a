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

// FindTags finds for each of many hashes what FindTag finds, and reads and writes nothing else.
func TestFindTags_LikeFindTag(t *testing.T) {
	if !wide {
		t.Skip("this processor has no AVX-512")
	}
	r := mustMap(t, 64<<10)
	rnd := rand.New(rand.NewPCG(3, 4))
	hits := 0
	for range 5_000 {
		bits := uint(3 + rnd.IntN(30))
		x := &Buckets{Base: r.At(0), Mask: 7, Bits: bits}
		hashes := make([]uint64, rnd.IntN(20))
		for i := range hashes {
			hashes[i] = rnd.Uint64()
		}
		for i := range uintptr(64) {
			h := rnd.Uint64()
			if len(hashes) > 0 {
				h = hashes[rnd.IntN(len(hashes))]
			}
			StorePlain(Add(r.At(0), i*WordBytes), nearby(rnd, h>>bits))
		}
		entries := make([]uint64, len(hashes)+1)
		entries[len(hashes)] = 77
		if !FindTags(x, &Ring{Base: r.At(0), Mask: 1<<16 - 1}, hashes, hashes[:len(hashes)/2], entries[:len(hashes)]) {
			t.Fatal("nothing has happened")
		}
		for i, h := range hashes {
			if _, e := FindTag(x, h); e != entries[i] {
				t.Fatalf("hash %#x, %d bits: %#x among many, %#x alone", h, bits, entries[i], e)
			}
			if entries[i] != 0 {
				hits++
			}
		}
		if entries[len(hashes)] != 77 {
			t.Fatal("wrote behind the entries")
		}
	}
	if hits < 1_000 {
		t.Fatalf("only %d matched", hits)
	}
}
