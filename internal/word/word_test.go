package word

import (
	"math/rand/v2"
	"testing"
)

func TestEntry_FieldsDoNotTouch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		tag := Tag(r.Uint32N(1 << tagFieldBits))
		a := Address(r.Uint64N(uint64(MaxAddress))) &^ (Align - 1)
		b := Address(r.Uint64N(uint64(MaxAddress))) &^ (Align - 1)
		e := MakeEntry(tag, a)
		if e.Tag() != tag || e.Address() != a || e.Tentative() {
			t.Fatalf("made %#x: tag %#x, address %#x", uint64(e), e.Tag(), e.Address())
		}
		e = e.WithTentative().WithAddress(b).WithTag(CatchAll)
		if e.Tag() != CatchAll || e.Address() != b || !e.Tentative() {
			t.Fatalf("changed %#x: tag %#x, address %#x", uint64(e), e.Tag(), e.Address())
		}
	}
}

// However often a table doubles, an entry goes where the hashes that it stands for go, and matches them there.
func TestTag_FollowsItsHashesThroughEveryDoubling(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		k := uint(r.IntN(10))
		h := r.Uint64()
		tag := MakeTag(h, k)
		for ; ; k++ {
			other := r.Uint64()
			same := (other^h)>>k&(1<<tag.Bits()-1) == 0
			if !MakeQuery(h, k).Matches(tag) || MakeQuery(other, k).Matches(tag) != same {
				t.Fatalf("bits %d, tag %#x: matches of %#x and %#x", k, tag, h, other)
			}
			half, rest, both := tag.Split()
			if both {
				if tag != CatchAll || rest != CatchAll {
					t.Fatalf("tag %#x goes to both halves as %#x", tag, rest)
				}
				break
			}
			if half != h>>k&1 || rest.Bits() != tag.Bits()-1 {
				t.Fatalf("bits %d: tag %#x of hash %#x goes to half %d as %#x", k, tag, h, half, rest)
			}
			tag = rest
		}
	}
}

func TestHeader_RoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 10_000 {
		prev := Address(r.Uint64N(uint64(MaxAddress))) &^ (Align - 1)
		v := MakeRecordVersion(r.Uint64())
		large := r.IntN(2) == 0
		l := MakeLink(prev, v, large)
		if l.Prev() != prev || l.Version() != v || l.Large() != large || !l.Written() || l.Filler() {
			t.Fatalf("link %#x", uint64(l))
		}
		key, value, room := r.IntN(MaxSmallKey+1), r.IntN(MaxSmallValue+1), r.IntN(MaxSmallValue/Align+1)*Align
		s := MakeState(key, value, room)
		if s.KeyLen() != key || s.ValueLen() != value || s.Capacity() != room || s.Busy() || s.Tombstone() || s.Invalid() {
			t.Fatalf("state %#x", uint64(s))
		}
		n := r.IntN(MaxSmallValue + 1)
		s = s.WithLock().WithSequence(1<<32 - 1).WithValueLen(n).Bump()
		if s.Locked() || s.Sequence() != 0 || s.ValueLen() != n || s.KeyLen() != key || s.Capacity() != room {
			t.Fatalf("changed state %#x", uint64(s))
		}
		if d := s.WithTombstone(); !d.Tombstone() || d.ValueLen() != 0 || d.WithValueLen(n) != s {
			t.Fatalf("tombstone %#x", uint64(d))
		}
		if q := s.WithSeal(); !q.Sealed() || !q.Busy() || q.Unseal() != s || q.OnDisk() != s.OnDisk() {
			t.Fatalf("sealed %#x", uint64(q))
		}
		bigKey, big, bigRoom := r.IntN(MaxKey+1), r.IntN(1<<MaxPageBits+1), r.IntN(1<<MaxPageBits/Align+1)*Align
		z := MakeSizes(bigKey, big, bigRoom)
		if z.KeyLen() != bigKey || z.ValueLen() != big || z.Capacity() != bigRoom || z.WithValueLen(n).ValueLen() != n {
			t.Fatalf("sizes %#x", uint64(z))
		}
		gap := (1 + r.IntN(1<<MaxPageBits/Align)) * Align
		if f := MakeFiller(gap, uint32(n)); !f.Filler() || f.FillerBytes() != gap || f.FillerCheck() != uint32(n) {
			t.Fatalf("filler %#x", uint64(f))
		}
	}
}

func TestSite_HoldsAddressSizeAndTombstone(t *testing.T) {
	for _, a := range []Address{FirstAddress, 1 << 20, MaxAddress - Align} {
		for _, size := range []int{Align, 24, 32, 1 << 10, 1<<20 - Align, 1 << 20, 1<<20 + Align, 5_000_008, 1 << MaxPageBits} {
			for _, tombstone := range []bool{false, true} {
				s := MakeSite(a, size, tombstone)
				if s.Address() != a || s.Tombstone() != tombstone {
					t.Fatalf("%#x, %v became %#x, %v", a, tombstone, s.Address(), s.Tombstone())
				}
				if over := s.Size() - int64(size); over < 0 || over > 0 && (size < 1<<20 || over >= 128) {
					t.Fatalf("%d bytes became %d", size, s.Size())
				}
				if again := JoinSite(s.Offset(), s.Kind()); again != s {
					t.Fatalf("%#x came apart and became %#x", uint64(s), uint64(again))
				}
				if s.Kind()>>SiteKindBits != 0 {
					t.Fatalf("kind %#x of %d bytes", s.Kind(), size)
				}
			}
		}
	}
}
