// Package word holds the packed 64-bit words of the store, one type per file: the log [Address], the hash index
// [Entry] and the record [Header]. Each type has its bit picture, high to low, and tiny pure methods; nothing
// outside this package shifts or masks.
package word

// Address is a byte offset in the log. The log is linear: an address is never used twice, and address order is the
// order of effect along every chain.
//
//	63      48 47                                3 2  0
//	+---------+-----------------------------------+----+
//	|    0    |              offset               | 0  |
//	+---------+-----------------------------------+----+
//
// Addresses are multiples of [Align].
type Address uint64

const (
	// Align is the alignment of every record, in bytes.
	Align = 8
	// AddressBits is the width of an address.
	AddressBits = 48
	// MaxAddress is the first address that does not exist.
	MaxAddress Address = 1 << AddressBits

	// addressShift drops the bits that alignment makes zero.
	addressShift = 3
	// packedBits is the width of an address inside another word.
	packedBits = AddressBits - addressShift
	packedMask = 1<<packedBits - 1
)

// None is the address of nothing: the end of a chain. It is 0 because the log begins at [FirstAddress], so that a
// zeroed word can never be mistaken for a link to a record.
const None Address = 0

// FirstAddress is where the log begins: one disk block in, which leaves 0 free to mean [None].
const FirstAddress Address = 4096

// Valid reports whether a could be the address of a record.
func (a Address) Valid() bool { return a >= FirstAddress && a < MaxAddress && a%Align == 0 }

// AlignUp rounds n up to the next multiple of [Align].
func AlignUp(n int) int { return (n + Align - 1) &^ (Align - 1) }

// Pack returns a as the low bits of another word.
func (a Address) pack() uint64 { return uint64(a) >> addressShift }

func unpack(w uint64) Address { return Address(w&packedMask) << addressShift }
