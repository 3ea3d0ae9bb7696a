package record

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/word"
)

// On disk a record is verified by itself: the sequence of its state word is replaced by 32 bits of the xxh3 of the
// record, with that field zero, seeded by its address (W3).

// recordCheck returns the checksum of a record's bytes whose check field is zero.
func recordCheck(rec []byte, a word.Address) uint32 {
	return uint32(xxh3.HashSeed(rec, uint64(a)))
}

// fillerCheck returns the check of a filler of n bytes at a.
func fillerCheck(a word.Address, n int) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(a))
	binary.LittleEndian.PutUint64(b[8:], uint64(n))
	return uint32(xxh3.Hash(b[:]))
}

// Bytes are a record as it stands on disk, or a copy of one from memory: little-endian words. They may be longer than
// the record, but for SetCheck and Verify. The methods that return words panic when there is no whole header.
type Bytes []byte

// Link returns the first word.
func (b Bytes) Link() word.Link { return word.Link(binary.LittleEndian.Uint64(b)) }

// State returns the second word.
func (b Bytes) State() word.State {
	return word.State(binary.LittleEndian.Uint64(b[stateOffset:]))
}

func (b Bytes) sizes() word.Sizes {
	return word.Sizes(binary.LittleEndian.Uint64(b[sizesOffset:]))
}

// Shape returns the geometry that the header claims; ok is false when there are too few bytes to tell.
func (b Bytes) Shape() (sh Shape, ok bool) {
	ok = sh.read(b)
	return sh, ok
}

// read makes sh what b.Shape returns, without a copy.
func (sh *Shape) read(b Bytes) (ok bool) {
	if len(b) < smallHeader {
		return false
	}
	l, z := b.Link(), word.Sizes(0)
	if l.Large() {
		if len(b) < largeHeader {
			return false
		}
		z = b.sizes()
	}
	sh.set(l, b.State(), z)
	return true
}

// Size returns the bytes that the header claims for the record, 0 when there are too few bytes to tell.
func (b Bytes) Size() int {
	if len(b) < smallHeader {
		return 0
	}
	if s := b.State(); !b.Link().Large() {
		return smallHeader + word.AlignUp(s.KeyLen()) + s.Capacity()
	}
	sh, _ := b.Shape()
	return sh.Size
}

// Key returns the key of the record, whose shape is sh. It shares b's memory, as Value does.
func (b Bytes) Key(sh Shape) []byte { return b[sh.KeyOff : sh.KeyOff+sh.KeyLen] }

// OnlyKey returns the key of a whole record whose shape nobody has asked for.
func (b Bytes) OnlyKey() []byte {
	if b.Link().Large() {
		return b[largeHeader : largeHeader+b.sizes().KeyLen()]
	}
	return b[smallHeader : smallHeader+b.State().KeyLen()]
}

// Value returns the value of the record, whose shape is sh.
func (b Bytes) Value(sh Shape) []byte { return b[sh.ValueOff : sh.ValueOff+sh.ValueLen] }

// SetCheck turns the bytes of exactly one record, copied from memory, into what stands on disk at a: without heat, lock,
// seal and sequence, and with its checksum.
func (b Bytes) SetCheck(a word.Address) {
	b.Cool()
	s := b.State()
	binary.LittleEndian.PutUint64(b[stateOffset:], uint64(s.WithSequence(recordCheck(b, a))))
}

// Cool takes from the bytes of a record, copied from memory, what says how it is used there: heat, lock, seal and sequence.
func (b Bytes) Cool() {
	binary.LittleEndian.PutUint64(b, uint64(b.Link().WithHeat(0)))
	binary.LittleEndian.PutUint64(b[stateOffset:], uint64(b.State().OnDisk()))
}

// Verify reports whether b, of exactly one record, is what was written at a. The bytes are unchanged when it returns,
// but must not be shared while it runs.
func (b Bytes) Verify(a word.Address) bool {
	s := b.State()
	binary.LittleEndian.PutUint64(b[stateOffset:], uint64(s.OnDisk()))
	sum := recordCheck(b, a)
	binary.LittleEndian.PutUint64(b[stateOffset:], uint64(s))
	return s == s.OnDisk().WithSequence(sum)
}

// Parsed is what Parse has found at the beginning of a piece of log.
type Parsed struct {
	Size   int   // bytes to the next record or filler
	Filler bool  // nothing here
	Shape  Shape // of the record, if it is one
}

// Parse looks at the first record or filler of b, which stands at address a on disk, and tells found about it; room is
// how much of the log follows up to the end of the page or extent, at least len(b). It reports a reason when the bytes
// are no record. With short true more bytes than b are needed: found.Size says how many. Bytes copied from memory carry
// no checksum: for them verify is false.
func Parse(found *Parsed, b []byte, a word.Address, room int, verify bool) (short bool, reason string) {
	found.Filler = false
	if len(b) < word.Align {
		found.Size = smallHeader
		return true, ""
	}
	l := Bytes(b).Link()
	switch {
	case !l.Written():
		return false, "no record here"
	case l.Filler():
		n := l.FillerBytes()
		if n < word.Align || n > room || l != word.MakeFiller(n, fillerCheck(a, n)) {
			return false, "filler fails its check"
		}
		found.Size, found.Filler = n, true
		return false, ""
	}
	sh := &found.Shape
	if !sh.read(b) {
		found.Size = largeHeader
		return true, ""
	}
	if sh.Size > room || sh.KeyLen == 0 || sh.ValueLen > sh.Capacity {
		return false, "record header is impossible"
	}
	found.Size = sh.Size
	if sh.Size > len(b) {
		return true, ""
	}
	if verify && !Bytes(b[:sh.Size]).Verify(a) {
		return false, "record fails its checksum"
	}
	return false, ""
}
