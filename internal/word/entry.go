package word

import "math/bits"

// Entry is one slot of an index bucket.
//
//	63          62                    45 44                     0
//	+-----------+-----------------------+------------------------+
//	| tentative |       tag field       |   address >> 3         |
//	+-----------+-----------------------+------------------------+
//
// The tag field holds up to 17 bits of the hash under a leading one, so it also says how many of them it holds:
// 1_bbbbb... Bits are counted from the bucket's own: in a table of 2^k buckets a new entry holds the hash bits
// k .. k+16. When the table doubles, bit k moves into the bucket number and leaves the tag, so that an entry splits
// without anybody reading the record it points at; an entry that has lost all its bits (tag field 1) matches every
// hash of its bucket.
//
// A zero word is a free slot. A word with a tag and address [None] is a slot that is claimed and has no chain yet.
type Entry uint64

const (
	// TagBits is the number of hash bits that a fresh entry holds.
	TagBits = 17

	tagFieldBits = TagBits + 1
	tagShift     = packedBits
	tagFieldMask = 1<<tagFieldBits - 1
	tentativeBit = 1 << 63
)

// The three fields fill the word exactly; a gap would let two different pictures compare equal.
const _ = uint(64-(1+tagFieldBits+packedBits)) + uint((1+tagFieldBits+packedBits)-64)

// Tag is the tag field of an entry: hash bits under a leading one. 0 is no tag.
type Tag uint32

// CatchAll is the tag that matches every hash of its bucket.
const CatchAll Tag = 1

// Frozen replaces an entry that has been moved to the next table. It has no tag and an address that no log reaches:
// a compare-and-swap that expects any real entry fails on it.
const Frozen Entry = packedMask

// MakeTag returns the full tag of hash h in a table of 2^k buckets.
func MakeTag(h uint64, k uint) Tag { return Tag(h>>k)&(1<<TagBits-1) | 1<<TagBits }

// Query is a hash seen from a table of 2^k buckets, ready to be compared with many tags.
type Query uint64

// MakeQuery returns the query for hash h in a table of 2^k buckets.
func MakeQuery(h uint64, k uint) Query { return Query(h>>k)&(1<<TagBits-1) | 1<<(TagBits+1) }

// Matches reports whether the bits that t holds agree with q. The zero tag, of a free or a frozen slot, matches
// everything: callers look at it after the hit, where it costs nothing.
func (q Query) Matches(t Tag) bool {
	d := uint64(q) ^ uint64(t)
	// The lowest differing bit lies at or above the leading one of t exactly if all bits below it agree.
	return 2*(d&-d) > uint64(t)
}

// MakeEntry returns an entry.
func MakeEntry(t Tag, a Address) Entry { return Entry(uint64(t)<<tagShift | a.pack()) }

// Tag returns the tag field.
func (e Entry) Tag() Tag { return Tag(e>>tagShift) & tagFieldMask }

// Address returns the newest address of the chain.
func (e Entry) Address() Address { return unpack(uint64(e)) }

// Tentative reports whether the entry is being inserted and may yet be withdrawn.
func (e Entry) Tentative() bool { return e&tentativeBit != 0 }

// WithTentative returns e, marked as being inserted.
func (e Entry) WithTentative() Entry { return e | tentativeBit }

// WithAddress returns e pointing at a.
func (e Entry) WithAddress(a Address) Entry { return e&^packedMask | Entry(a.pack()) }

// WithTag returns e under the tag t.
func (e Entry) WithTag(t Tag) Entry {
	return e&^(tagFieldMask<<tagShift) | Entry(t)<<tagShift
}

// Bits returns how many hash bits t holds, -1 for no tag.
func (t Tag) Bits() int { return bits.Len32(uint32(t)) - 1 }

// Split returns what becomes of a tag when its table doubles: the half it goes to (0 or 1), and the tag it has
// there. both is true for [CatchAll], which goes to both halves unchanged.
func (t Tag) Split() (half uint64, rest Tag, both bool) {
	if t == CatchAll {
		return 0, CatchAll, true
	}
	return uint64(t & 1), t >> 1, false
}
