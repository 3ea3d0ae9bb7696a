package lsm

import (
	"math"
	"math/bits"
)

// filter is a Bloom filter over key hashes: m bits, k of them set per key, m and k optimal for the number of keys and
// the wanted share of false positives (Bloom 1970; the k positions from two halves of one hash: Kirsch and Mitzenmacher
// 2006). The bits are kept as they stand in the file.
type filter struct {
	bits []byte
	k    int
}

// newFilter returns the filter of the keys with these hashes.
func newFilter(hashes []uint64, falsePositives float64) filter {
	n := float64(max(len(hashes), 1))
	m := math.Ceil(-n * math.Log(falsePositives) / (math.Ln2 * math.Ln2))
	words := max(int(m+63)/64, 1)
	f := filter{bits: make([]byte, words*8), k: max(int(math.Round(float64(words*64)/n*math.Ln2)), 1)}
	f.k = min(f.k, 30)
	for _, h := range hashes {
		for i, step := 0, stepOf(h); i < f.k; i, h = i+1, h+step {
			at := f.position(h)
			f.bits[at/8] |= 1 << (at % 8)
		}
	}
	return f
}

// position maps a hash to one of the bits, by its high half.
func (f filter) position(h uint64) uint64 {
	at, _ := bits.Mul64(h, uint64(len(f.bits))*8)
	return at
}

func stepOf(h uint64) uint64 { return h<<32 | h>>32 | 1 }

// has reports whether a key with this hash may be among the keys.
func (f filter) has(h uint64) bool {
	for i, step := 0, stepOf(h); i < f.k; i, h = i+1, h+step {
		if at := f.position(h); f.bits[at/8]&(1<<(at%8)) == 0 {
			return false
		}
	}
	return true
}
