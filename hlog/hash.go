package hlog

import (
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/mem"
)

// hashing is how a store hashes keys.
//
// Keys of 8 bytes have a hash each: mix takes steps that can be undone, so that of two records of such keys with one hash the
// older one is dead, and the index on disk, which never sees a key, can tell (K7). Stores of earlier releases fold instead, and
// two keys may meet in one hash.
type hashing struct {
	seed  uint64
	folds bool
}

func hashingOf(id checkpoint.Identity) hashing {
	return hashing{seed: id.HashSeed, folds: !id.OneToOne()}
}

// hash returns the hash of a key. Those of 8 bytes, the commonest, are mixed without a call.
func (s *Store) hash(key []byte) uint64 {
	if len(key) == oneToOneKey {
		return mix(mem.Load64(key), s.seed)
	}
	return xxh3.HashSeed(key, s.seed.seed)
}

// oneToOneKey is how long keys are that mix hashes.
const oneToOneKey = 8

// ownHash reports whether keys that are so long have a hash each.
func (s *Store) ownHash(keyBytes int) bool { return !s.seed.folds && keyBytes == oneToOneKey }

// mix hashes 8 bytes. To xor a word with itself shifted can be undone, and so can a multiplication by an odd number.
func mix(k uint64, h hashing) uint64 {
	if h.folds {
		return fold(k, h.seed)
	}
	k ^= h.seed
	k = (k ^ k>>32) * mixA
	k = (k ^ k>>32) * mixB
	return k ^ k>>32
}

// Odd numbers with balanced bits.
const (
	mixA = 0xd6e8feb86659fd93
	mixB = 0xa0761d6478bd642f
)

// fold hashes 8 bytes by two foldings of a 128-bit product.
func fold(k, seed uint64) uint64 {
	hi, lo := bits.Mul64(k^seed^0x9e3779b97f4a7c15, mixA)
	hi, lo = bits.Mul64(hi^lo^seed, mixB)
	return hi ^ lo
}
