package word

// A record begins with a header of two words, of three when the key or the value is large:
//
//	word 0  Link    previous address, version, form; never changes once the record is published, but for its heat
//	word 1  State   lock, seal, tombstone, lengths, sequence; what an in-place update changes
//	word 2  Sizes   lengths of a large record
//
// then the key, padded to 8 bytes, then the value and its spare capacity. On disk the sequence is replaced by a
// checksum (see package hlog).

// Link is the first word of a record.
//
//	63      62       61      60   59  58 57         45 44                    0
//	+-------+--------+-------+---+------+-------------+-----------------------+
//	|written| filler | large | 0 | heat |   version   | previous address >> 3 |
//	+-------+--------+-------+---+------+-------------+-----------------------+
//
// written is set in every record, so that a zero word is never a record. heat says how often the record was used, up to
// [MaxHeat]; on disk it is 0. A filler is one word that covers a gap:
//
//	63      62       61       60     53 52                      32 31        0
//	+-------+--------+--------+--------+--------------------------+-----------+
//	|   1   |   1    |   0    |   0    |     length in words      |   check   |
//	+-------+--------+--------+--------+--------------------------+-----------+
type Link uint64

const (
	// VersionBits is the width of a record's version. It counts checkpoints and wraps; only neighbouring versions
	// are ever compared.
	VersionBits = 13
	versionMask = 1<<VersionBits - 1

	writtenBit = 1 << 63
	fillerBit  = 1 << 62
	largeBit   = 1 << 61

	heatShift = 58
	heatMask  = Link(MaxHeat) << heatShift

	// MaxHeat is the most that the heat of a record counts to.
	MaxHeat = 3

	fillerWordBits = 21
	fillerMask     = 1<<fillerWordBits - 1
)

// RecordVersion is the version a record was written in, modulo 2^[VersionBits].
type RecordVersion uint16

// MakeRecordVersion reduces a counter of versions to what fits into a record.
func MakeRecordVersion(n uint64) RecordVersion { return RecordVersion(n & versionMask) }

// Next returns the version after v.
func (v RecordVersion) Next() RecordVersion { return (v + 1) & versionMask }

// MakeLink returns the first word of a record.
func MakeLink(prev Address, v RecordVersion, large bool) Link {
	l := Link(writtenBit | uint64(v)<<packedBits | prev.pack())
	if large {
		l |= largeBit
	}
	return l
}

// MakeFiller returns the word that covers n bytes of log, with the given check.
func MakeFiller(n int, check uint32) Link {
	return Link(writtenBit | fillerBit | uint64(n/Align)<<32 | uint64(check))
}

// Written reports whether l begins a record or a filler.
func (l Link) Written() bool { return l&writtenBit != 0 }

// Filler reports whether l covers a gap.
func (l Link) Filler() bool { return l&fillerBit != 0 }

// FillerBytes returns the length of a filler, in bytes, its own word included.
func (l Link) FillerBytes() int { return int(l>>32&fillerMask) * Align }

// FillerCheck returns the check of a filler.
func (l Link) FillerCheck() uint32 { return uint32(l) }

// Large reports whether the lengths stand in a third word.
func (l Link) Large() bool { return l&largeBit != 0 }

// Heat returns how often the record was used, up to [MaxHeat].
func (l Link) Heat() int { return int(l>>heatShift) & MaxHeat }

// WithHeat returns l with another heat.
func (l Link) WithHeat(n int) Link { return l&^heatMask | Link(n)<<heatShift }

// Prev returns the address of the next older record of the chain.
func (l Link) Prev() Address { return unpack(uint64(l)) }

// Version returns the version that the record was written in.
func (l Link) Version() RecordVersion { return RecordVersion(l>>packedBits) & versionMask }

// OfVersion reports whether the record was written in the version that counter counts up to. What counter has above the
// bits of a [RecordVersion] does not matter.
func (l Link) OfVersion(counter uint64) bool { return (uint64(l)>>packedBits^counter)&versionMask == 0 }

// State is the second word of a record.
//
//	63   62     61        60      59     52 51      41 40      33 32  31         0
//	+----+------+---------+-------+--------+----------+----------+---+-----------+
//	|lock|sealed|tombstone|invalid|key len |value len | capacity | 0 | sequence  |
//	+----+------+---------+-------+--------+----------+----------+---+-----------+
//
// Lengths are in bytes, the capacity of the value is in words. In a large record they are 0 here and stand in
// [Sizes]. The sequence counts changes: a reader that sees the same unlocked word before and after copying has
// copied a whole value.
type State uint64

const (
	lockedBit    State = 1 << 63
	sealedBit    State = 1 << 62
	tombstoneBit State = 1 << 61
	invalidBit   State = 1 << 60

	// KeyLenShift and ValueLenShift are exported for the mask that the hot path compares a whole state with.
	KeyLenShift   = 52
	keyLenMask    = 1<<8 - 1
	ValueLenShift = 41
	valueLenMask  = 1<<11 - 1
	capShift      = 33
	capMask       = 1<<8 - 1
	sequenceMask  = 1<<32 - 1
	carryBit      = 1 << 32 // what the sequence overflows into, always 0

	// MaxSmallKey is the longest key of a record with a header of two words, in bytes.
	MaxSmallKey = keyLenMask
	// MaxSmallValue is the largest value, and capacity, of a record with a header of two words, in bytes.
	MaxSmallValue = capMask * Align
)

// A value that fills the capacity of a small record must be expressible as a length.
const _ = uint(valueLenMask - MaxSmallValue)

// MakeState returns the second word of a small record. capacity is in bytes, a multiple of [Align].
func MakeState(keyLen, valueLen, capacity int) State {
	return State(keyLen)<<KeyLenShift | State(valueLen)<<ValueLenShift | State(capacity/Align)<<capShift
}

// Locked reports whether an in-place update is going on.
func (s State) Locked() bool { return s&lockedBit != 0 }

// Sealed reports whether the record is being, or has been, superseded by a copy.
func (s State) Sealed() bool { return s&sealedBit != 0 }

// Busy reports whether the record is locked or sealed.
func (s State) Busy() bool { return s&(lockedBit|sealedBit) != 0 }

// Plain reports whether the record is alive and neither locked nor sealed nor abandoned.
func (s State) Plain() bool { return s&(lockedBit|sealedBit|tombstoneBit|invalidBit) == 0 }

// Tombstone reports whether the record deletes its key.
func (s State) Tombstone() bool { return s&tombstoneBit != 0 }

// Invalid reports whether the record was abandoned before it was published.
func (s State) Invalid() bool { return s&invalidBit != 0 }

// KeyLen returns the length of the key of a small record.
func (s State) KeyLen() int { return int(s >> KeyLenShift & keyLenMask) }

// ValueLen returns the length of the value of a small record.
func (s State) ValueLen() int { return int(s >> ValueLenShift & valueLenMask) }

// Capacity returns the room for the value of a small record, in bytes.
func (s State) Capacity() int { return int(s>>capShift&capMask) * Align }

// Sequence returns the count of changes; on disk, the checksum.
func (s State) Sequence() uint32 { return uint32(s) }

// WithSequence returns s with another sequence or checksum.
func (s State) WithSequence(n uint32) State { return s&^sequenceMask | State(n) }

// WithLock returns s, locked.
func (s State) WithLock() State { return s | lockedBit }

// WithSeal returns s, sealed and unlocked.
func (s State) WithSeal() State { return s&^lockedBit | sealedBit }

// Unseal returns s, neither sealed nor locked.
func (s State) Unseal() State { return s &^ (lockedBit | sealedBit) }

// WithTombstone returns s as a deletion, with a value of no length.
func (s State) WithTombstone() State { return s&^(valueLenMask<<ValueLenShift) | tombstoneBit }

// WithInvalid returns s as an abandoned record.
func (s State) WithInvalid() State { return s | invalidBit }

// WithValueLen returns s with another length of value, alive.
func (s State) WithValueLen(n int) State {
	return s&^(valueLenMask<<ValueLenShift|tombstoneBit) | State(n)<<ValueLenShift
}

// Bump returns s unlocked, with the next sequence.
func (s State) Bump() State { return (s + 1) &^ (lockedBit | carryBit) }

// OnDisk returns s as it stands on disk before its checksum is set: no lock, no seal, no sequence.
func (s State) OnDisk() State { return s &^ (lockedBit | sealedBit | sequenceMask) }

// Sizes is the third word of a large record.
//
//	63  61 60             40 39               16 15       0
//	+-----+-----------------+-------------------+----------+
//	|  0  | capacity, words | value len, bytes  | key len  |
//	+-----+-----------------+-------------------+----------+
type Sizes uint64

const (
	largeValueShift = 16
	largeValueMask  = 1<<24 - 1
	largeCapShift   = 40
	largeCapMask    = 1<<21 - 1

	// MaxKey is the longest key, in bytes.
	MaxKey = 1<<16 - 1
	// MaxPageBits bounds the page size: lengths of a large record, and of a filler, must be able to say a page.
	MaxPageBits = 23
)

const _ = uint(largeValueMask-1<<MaxPageBits) + uint(fillerMask-1<<MaxPageBits/Align)

// MakeSizes returns the third word of a large record. capacity is in bytes, a multiple of [Align].
func MakeSizes(keyLen, valueLen, capacity int) Sizes {
	return Sizes(keyLen) | Sizes(valueLen)<<largeValueShift | Sizes(capacity/Align)<<largeCapShift
}

// KeyLen returns the length of the key, in bytes.
func (z Sizes) KeyLen() int { return int(z & MaxKey) }

// ValueLen returns the length of the value, in bytes.
func (z Sizes) ValueLen() int { return int(z >> largeValueShift & largeValueMask) }

// Capacity returns the room for the value, in bytes.
func (z Sizes) Capacity() int { return int(z>>largeCapShift&largeCapMask) * Align }

// WithValueLen returns z with another length of value.
func (z Sizes) WithValueLen(n int) Sizes {
	return z&^(largeValueMask<<largeValueShift) | Sizes(n)<<largeValueShift
}
