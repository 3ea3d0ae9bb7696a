package hlog

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	smallHeader = 16
	largeHeader = 24

	stateOffset = 8
	sizesOffset = 16
)

// shape is the geometry of one record, in bytes from its first word.
type shape struct {
	large    bool
	keyLen   int
	valueLen int
	capacity int // of the value, a multiple of word.Align
	keyOff   int
	valueOff int
	size     int // of the whole record
}

// shapeFor returns the shape of a record with room for capacity bytes of value.
func shapeFor(keyLen, valueLen, capacity int) shape {
	sh := shape{keyLen: keyLen, valueLen: valueLen, capacity: word.AlignUp(max(capacity, valueLen)), keyOff: smallHeader}
	if keyLen > word.MaxSmallKey || sh.capacity > word.MaxSmallValue {
		sh.large, sh.keyOff = true, largeHeader
	}
	sh.valueOff = sh.keyOff + word.AlignUp(keyLen)
	sh.size = sh.valueOff + sh.capacity
	return sh
}

// holds reports whether a page has room for a record of the same key and value as one of shape sh.
func (l *hybridLog) holds(sh shape) bool {
	return shapeFor(sh.keyLen, sh.valueLen, 0).size <= int(l.pageBytes)
}

// shapeOf returns the shape of a record from its words; z is read only if the record is large.
func shapeOf(l word.Link, s word.State, z word.Sizes) (sh shape) {
	sh.set(l, s, z)
	return sh
}

// set makes sh what shapeOf returns, without a copy.
func (sh *shape) set(l word.Link, s word.State, z word.Sizes) {
	if sh.large = l.Large(); sh.large {
		sh.keyOff = largeHeader
		sh.keyLen, sh.valueLen, sh.capacity = z.KeyLen(), z.ValueLen(), z.Capacity()
	} else {
		sh.keyOff = smallHeader
		sh.keyLen, sh.valueLen, sh.capacity = s.KeyLen(), s.ValueLen(), s.Capacity()
	}
	sh.valueOff = sh.keyOff + word.AlignUp(sh.keyLen)
	sh.size = sh.valueOff + sh.capacity
}

func linkAt(p mem.Ptr) word.Link   { return word.Link(mem.Load(p)) }
func stateAt(p mem.Ptr) word.State { return word.State(mem.Load(mem.Add(p, stateOffset))) }
func sizesAt(p mem.Ptr) word.Sizes { return word.Sizes(mem.Load(mem.Add(p, sizesOffset))) }

// shapeAt returns the shape of the record at p in memory, as it is under state s.
func shapeAt(p mem.Ptr, l word.Link, s word.State) shape {
	if l.Large() {
		return shapeOf(l, s, sizesAt(p))
	}
	return shapeOf(l, s, 0)
}

// capacityAt returns the room for the value of the record at p, in bytes.
func capacityAt(p mem.Ptr, k word.Link, st word.State) int {
	if k.Large() {
		return sizesAt(p).Capacity()
	}
	return st.Capacity()
}

// smallValue returns where the value of a small record at p begins.
func smallValue(p mem.Ptr, st word.State) mem.Ptr {
	return mem.Add(p, uintptr(smallHeader+word.AlignUp(st.KeyLen())))
}

// copyOut is mem.CopyOut, without a call for a single word.
func copyOut(dst []byte, src mem.Ptr) {
	if len(dst) == word.Align {
		binary.LittleEndian.PutUint64(dst, mem.Load(src))
		return
	}
	mem.CopyOut(dst, src)
}

// copyIn is mem.CopyIn, without a call for a single word.
func copyIn(dst mem.Ptr, src []byte) {
	if len(src) == word.Align {
		mem.StorePlain(dst, mem.Load64(src))
		return
	}
	mem.CopyIn(dst, src)
}

// hasKey reports whether the record at p has the given key. Key and key length never change.
func hasKey(p mem.Ptr, l word.Link, key []byte) bool {
	if l.Large() {
		return sizesAt(p).KeyLen() == len(key) && mem.Equal(mem.Add(p, largeHeader), key)
	}
	if stateAt(p).KeyLen() != len(key) {
		return false
	}
	if len(key) == 8 {
		return mem.Load(mem.Add(p, smallHeader)) == mem.Load64(key)
	}
	return mem.Equal(mem.Add(p, smallHeader), key)
}

// isSmall reports whether the record at p, in state st, is a small one of this key, alive and neither locked nor sealed.
// The state of a large record says that its key is empty, which no key is.
func isSmall(p mem.Ptr, st word.State, key []byte) bool {
	if len(key) == word.Align {
		return st&smallMask == word.Align<<word.KeyLenShift && mem.Load(mem.Add(p, smallHeader)) == mem.Load64(key)
	}
	return st.Plain() && len(key) == st.KeyLen() && len(key) > 0 && mem.Equal(mem.Add(p, smallHeader), key)
}

// smallMask covers what isSmall looks at in a state: the flags and the length of the key.
const smallMask = ^(word.State(1)<<word.KeyLenShift - 1)

// casState replaces the state word of the record at p.
func casState(p mem.Ptr, old, new word.State) bool {
	return mem.Word(mem.Add(p, stateOffset)).CompareAndSwap(uint64(old), uint64(new))
}

// storeState publishes the state word of a record whose lock or seal the caller holds.
func storeState(p mem.Ptr, s word.State) {
	mem.StoreRelease(mem.Add(p, stateOffset), uint64(s))
}

// writeRecord fills the allocation at p with a new record, spare capacity zeroed. It is not visible to anybody
// before its address is published.
func writeRecord(p mem.Ptr, sh shape, prev word.Address, v word.RecordVersion, key, value []byte, tombstone bool) {
	s := word.MakeState(sh.keyLen, sh.valueLen, sh.capacity)
	if sh.large {
		s = 0
		mem.StorePlain(mem.Add(p, sizesOffset), uint64(word.MakeSizes(sh.keyLen, sh.valueLen, sh.capacity)))
	}
	if tombstone {
		s = s.WithTombstone()
	}
	mem.StorePlain(mem.Add(p, stateOffset), uint64(s))
	mem.CopyIn(mem.Add(p, uintptr(sh.keyOff)), key)
	mem.CopyIn(mem.Add(p, uintptr(sh.valueOff)), value)
	for off := sh.valueOff + word.AlignUp(len(value)); off < sh.size; off += word.Align {
		mem.StorePlain(mem.Add(p, uintptr(off)), 0)
	}
	mem.StorePlain(p, uint64(word.MakeLink(prev, v, sh.large)))
}

// abandonRecord marks an allocation whose publication failed. It stays a well-formed record that no chain reaches.
func abandonRecord(p mem.Ptr) {
	storeState(p, stateAt(p).WithInvalid())
}

// writeFiller covers n bytes of log at a.
func writeFiller(p mem.Ptr, a word.Address, n int) {
	mem.StorePlain(p, uint64(word.MakeFiller(n, fillerCheck(a, n))))
}

// On disk a record is verified by itself: the sequence of its state word is replaced by 32 bits of the xxh3 of the
// record, with that field zero, seeded by its address, so that neither a changed bit nor a whole record in the wrong
// place goes unnoticed.

// recordCheck returns the checksum of a record image whose check field is zero.
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

// image is a record as it stands on disk, or a copy of one from memory: little-endian words.
type image []byte

func (m image) link() word.Link { return word.Link(binary.LittleEndian.Uint64(m)) }
func (m image) state() word.State {
	return word.State(binary.LittleEndian.Uint64(m[stateOffset:]))
}
func (m image) sizes() word.Sizes {
	return word.Sizes(binary.LittleEndian.Uint64(m[sizesOffset:]))
}

// shape returns the geometry that the image's header claims; ok is false when the image is too short to tell.
func (m image) shape() (sh shape, ok bool) {
	ok = sh.read(m)
	return sh, ok
}

// read makes sh what m.shape returns, without a copy.
func (sh *shape) read(m image) (ok bool) {
	if len(m) < smallHeader {
		return false
	}
	l, z := m.link(), word.Sizes(0)
	if l.Large() {
		if len(m) < largeHeader {
			return false
		}
		z = m.sizes()
	}
	sh.set(l, m.state(), z)
	return true
}

// size returns the bytes that the image's header claims for the record, 0 when the image is too short to tell.
func (m image) size() int {
	if len(m) < smallHeader {
		return 0
	}
	if s := m.state(); !m.link().Large() {
		return smallHeader + word.AlignUp(s.KeyLen()) + s.Capacity()
	}
	sh, _ := m.shape()
	return sh.size
}

func (m image) key(sh shape) []byte   { return m[sh.keyOff : sh.keyOff+sh.keyLen] }
func (m image) value(sh shape) []byte { return m[sh.valueOff : sh.valueOff+sh.valueLen] }

// seal turns the image of a record, copied from memory, into what stands on disk at a.
func (m image) sealForDisk(a word.Address) {
	s := m.state().Durable()
	binary.LittleEndian.PutUint64(m[stateOffset:], uint64(s))
	binary.LittleEndian.PutUint64(m[stateOffset:], uint64(s.WithSequence(recordCheck(m, a))))
}

// verify reports whether the image, of exactly one record, is what was written at a. The image is unchanged when it
// returns, but must not be shared while it runs.
func (m image) verify(a word.Address) bool {
	s := m.state()
	binary.LittleEndian.PutUint64(m[stateOffset:], uint64(s.Durable()))
	sum := recordCheck(m, a)
	binary.LittleEndian.PutUint64(m[stateOffset:], uint64(s))
	return s == s.Durable().WithSequence(sum)
}

// span describes what begins at one place of a piece of log.
type span struct {
	size   int   // bytes to the next record or filler
	filler bool  // nothing here
	shape  shape // of the record, if it is one
}

// parse looks at the first record or filler of b, which stands at address a on disk, and tells sp about it; room is how
// much of the log follows up to the end of the page or extent, at least len(b). It reports a reason when the bytes are no
// record. With short true more bytes than b are needed: size says how many. Bytes copied from memory carry no checksum,
// which verify tells.
func parse(sp *span, b []byte, a word.Address, room int, verify bool) (short bool, reason string) {
	sp.filler = false
	if len(b) < word.Align {
		sp.size = smallHeader
		return true, ""
	}
	l := image(b).link()
	switch {
	case !l.Written():
		return false, "no record here"
	case l.Filler():
		n := l.FillerBytes()
		if n < word.Align || n > room || l != word.MakeFiller(n, fillerCheck(a, n)) {
			return false, "filler fails its check"
		}
		sp.size, sp.filler = n, true
		return false, ""
	}
	sh := &sp.shape
	if !sh.read(b) {
		sp.size = largeHeader
		return true, ""
	}
	if sh.size > room || sh.keyLen == 0 || sh.valueLen > sh.capacity {
		return false, "record header is impossible"
	}
	sp.size = sh.size
	if sh.size > len(b) {
		return true, ""
	}
	if verify && !image(b[:sh.size]).verify(a) {
		return false, "record fails its checksum"
	}
	return false, ""
}
