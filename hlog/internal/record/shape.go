package record

import (
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	smallHeader = 16
	largeHeader = 24

	stateOffset = 8
	sizesOffset = 16
)

// Shape is the geometry of one record: lengths and offsets in bytes, offsets from its first word.
type Shape struct {
	Large    bool
	KeyLen   int
	ValueLen int
	Capacity int // of the value, a multiple of word.Align
	KeyOff   int
	ValueOff int
	Size     int // of the whole record
}

// ShapeFor returns the shape of a record with room for capacity bytes of value, or for valueLen if that is more.
func ShapeFor(keyLen, valueLen, capacity int) Shape {
	sh := Shape{KeyLen: keyLen, ValueLen: valueLen, Capacity: word.AlignUp(max(capacity, valueLen)), KeyOff: smallHeader}
	if keyLen > word.MaxSmallKey || sh.Capacity > word.MaxSmallValue {
		sh.Large, sh.KeyOff = true, largeHeader
	}
	sh.ValueOff = sh.KeyOff + word.AlignUp(keyLen)
	sh.Size = sh.ValueOff + sh.Capacity
	return sh
}

// MaxSize returns the most bytes that a record with such a key and value takes if it has no spare capacity.
func MaxSize(keyLen, valueLen int) int {
	return largeHeader + word.AlignUp(keyLen) + word.AlignUp(valueLen)
}

// ShapeAt returns the shape of the record at p in memory, as it is under state s.
func ShapeAt(p mem.Ptr, l word.Link, s word.State) (sh Shape) {
	z := word.Sizes(0)
	if l.Large() {
		z = sizesAt(p)
	}
	sh.set(l, s, z)
	return sh
}

// set makes sh the shape of a record from its words; z is looked at only if the record is large.
func (sh *Shape) set(l word.Link, s word.State, z word.Sizes) {
	if sh.Large = l.Large(); sh.Large {
		sh.KeyOff = largeHeader
		sh.KeyLen, sh.ValueLen, sh.Capacity = z.KeyLen(), z.ValueLen(), z.Capacity()
	} else {
		sh.KeyOff = smallHeader
		sh.KeyLen, sh.ValueLen, sh.Capacity = s.KeyLen(), s.ValueLen(), s.Capacity()
	}
	sh.ValueOff = sh.KeyOff + word.AlignUp(sh.KeyLen)
	sh.Size = sh.ValueOff + sh.Capacity
}
