package hlog

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// unmix undoes mix.
func unmix(k uint64, h hashing) uint64 {
	k ^= k >> 32
	k *= inverse(mixB)
	k ^= k >> 32
	k *= inverse(mixA)
	return k ^ k>>32 ^ h.seed
}

// inverse returns the number that n, which is odd, has to be multiplied with to give 1, by Newton's steps.
func inverse(n uint64) uint64 {
	x := n
	for range 6 {
		x *= 2 - n*x
	}
	return x
}

// Keys of 8 bytes have a hash each (K7).
func TestHash_KeysOfEightBytesHaveAHashEach(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1 << 16 {
		h := hashing{seed: r.Uint64()}
		for _, k := range []uint64{0, uint64(i), 1 << (i % 64), r.Uint64(), ^uint64(i), h.seed} {
			if got := unmix(mix(k, h), h); got != k {
				t.Fatalf("seed %#x: %#x has the hash of %#x", h.seed, k, got)
			}
		}
	}
}

// New stores have that hash; the seed of an earlier one, which is random, makes another.
func TestHash_FollowsFromTheIdentity(t *testing.T) {
	id := newIdentity(Options{SegmentBytes: 1 << 20})
	if other := newIdentity(Options{SegmentBytes: 1 << 20}); id.HashSeed == other.HashSeed || id.StoreID == other.StoreID {
		t.Error("two stores are alike")
	}
	if !id.OneToOne() || hashingOf(id).folds {
		t.Error("a new store folds")
	}
	id.HashSeed++
	if id.OneToOne() || !hashingOf(id).folds {
		t.Error("a store with another seed does not fold")
	}
	if h := (hashing{seed: 42, folds: true}); mix(7, h) != 0x1ec753803935798 {
		t.Errorf("the hash of earlier releases is %#x", mix(7, h))
	}
	s := mustOpen(t, "/store", tiny())
	if s.seed.folds {
		t.Error("a store that was just made folds")
	}
	if (checkpoint.Identity{}).OneToOne() {
		t.Error("nothing is the identity of a store")
	}
}

// Whichever bits of a hash are looked at, keys that count up, in whatever byte, are spread as at random: chi-square of 1024 classes.
func TestHash_SpreadsKeysThatCountUp(t *testing.T) {
	const keys, classes = 1 << 18, 1024
	for _, seed := range []uint64{0, 1, 0x9e3779b97f4a7c15, math.MaxUint64, 0x123456789abcdef} {
		h := hashing{seed: seed}
		for _, by := range []uint{0, 3, 8, 16, 24, 32, 40, 44} {
			var counts [64 / 6][classes]int
			for i := range uint64(keys) {
				x := mix(i<<by, h)
				for n := range counts {
					counts[n][x>>(6*n)%classes]++
				}
			}
			for n := range counts {
				chi := 0.0
				for _, c := range counts[n] {
					d := float64(c) - keys/classes
					chi += d * d / (keys / classes)
				}
				// Of 1023 degrees of freedom the deviation is 45; a hash that is better than chance does no harm.
				if chi > 1023+6*45.2 {
					t.Errorf("seed %#x, keys shifted by %d, bits from %d on: chi-square %.0f", seed, by, 6*n, chi)
				}
			}
		}
	}
}

// One bit of a key that changes is about half of the hash.
func TestHash_EveryBitOfAKeyCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const tries = 4000
	for bit := range 64 {
		var flips [64]int
		for range tries {
			h, k := hashing{seed: r.Uint64()}, r.Uint64()
			d := mix(k, h) ^ mix(k^1<<bit, h)
			for i := range flips {
				flips[i] += int(d >> i & 1)
			}
		}
		for i, n := range flips {
			if n < tries*2/5 || n > tries*3/5 {
				t.Errorf("bit %d of the key changes bit %d of the hash in %d of %d cases", bit, i, n, tries)
			}
		}
	}
}
