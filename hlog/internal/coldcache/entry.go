package coldcache

import (
	"math/bits"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Beyond is the first address that is not one of the log. From there to twice as much they are for entries of another kind,
// of which several may have the same address: such an entry tells by itself what it is.
const Beyond = word.MaxAddress

// header is the word before each record in the ring. One without an address is that of a gap: an entry that has been
// taken, with the words that it had.
//
//	63   61  60   59          46 45                     0
//	+------+-----+--------------+------------------------+
//	| heat |guest|    words     |   address >> 3         |
//	+------+-----+--------------+------------------------+
//
// heat is how often the record was read, up to [MaxHeat], less the rounds that it has made since. A guest is one that nobody
// has asked for before it came (guests.go), in its first round.
type header uint64

const (
	headerAddressBits = word.AddressBits + 1 - 3 // an address is a multiple of 8, and may lie beyond the log
	headerWordsBits   = headerGuestShift - headerAddressBits
	headerGuestShift  = headerHeatShift - 1
	headerHeatShift   = 61
	maxHeaderWords    = 1<<headerWordsBits - 1
)

// MaxHeat is the most that heat counts to: a record that was read seven times stays for as many rounds.
const MaxHeat = 1<<(64-headerHeatShift) - 1

func makeHeader(a word.Address, words, heat int) header {
	return header(heat)<<headerHeatShift | header(words)<<headerAddressBits | header(a/word.Align)
}

func (h header) address() word.Address {
	return word.Address(h&(1<<headerAddressBits-1)) * word.Align
}
func (h header) gap() bool  { return h.address() == word.None }
func (h header) words() int { return int(h >> headerAddressBits & maxHeaderWords) }
func (h header) heat() int  { return int(h >> headerHeatShift) }

func (h header) guest() bool     { return h>>headerGuestShift&1 == 1 }
func (h header) asGuest() header { return h | 1<<headerGuestShift }
func (h header) settled() header { return h &^ (1 << headerGuestShift) }
func (h header) withHeat(n int) header {
	return h&(1<<headerHeatShift-1) | header(n)<<headerHeatShift
}

// slot leads to an entry. 0 is an empty slot, which is why the position is kept plus one. It takes as many bits as the ring
// needs; the others are low bits of the hash, and spare most looks at the headers of other entries.
//
//	31             positionBits             0
//	+--------------+------------------------+
//	|     hash     |      position + 1      |
//	+--------------+------------------------+
type slot uint32

const slotBytes = 4

// slotForm is how the slots of a shard are made up.
type slotForm struct{ positionBits uint }

// formFor returns the form of slots for a ring of so many words.
func formFor(words int) slotForm { return slotForm{uint(bits.Len(uint(words)))} }

func (f slotForm) slot(hash uint32, pos int) slot { return slot(hash<<f.positionBits | uint32(pos+1)) }
func (f slotForm) position(s slot) int            { return int(s&(1<<f.positionBits-1)) - 1 }

// like reports whether s may lead to an entry with this hash.
func (f slotForm) like(s slot, hash uint32) bool {
	return uint32(s)>>f.positionBits == hash<<f.positionBits>>f.positionBits
}

// hash is the hash of an address. Its high bits choose the shard, bits 20 to 51 the slot and the ghost's word, the low
// bits are what the ghost remembers.
type hash uint64

// hashOf mixes an address by two foldings of a 128-bit product; the multipliers are odd numbers with balanced bits.
func hashOf(a word.Address) hash {
	hi, lo := bits.Mul64(uint64(a)^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	hi, lo = bits.Mul64(hi^lo, 0xa0761d6478bd642f)
	return hash(hi ^ lo)
}

func (h hash) slot() uint32 { return uint32(h >> 20) }
func (h hash) ghost() uint16 {
	return max(uint16(h), 1) // 0 is nothing
}

// scale maps a hash evenly to [0, n), in order.
func scale(hash uint32, n int) int {
	hi, _ := bits.Mul64(uint64(hash)<<32, uint64(n))
	return int(hi)
}
