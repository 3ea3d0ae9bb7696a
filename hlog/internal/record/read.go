package record

import (
	"encoding/binary"
	"runtime"
	"slices"
	"time"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Functions that take a [mem.Ptr] look at a record in memory: p is where its first word is, and the caller keeps the
// memory from being used again as long as they run. They are small enough to be inlined where the speed of an operation
// depends on them.

// LinkAt returns the first word of the record at p.
func LinkAt(p mem.Ptr) word.Link { return word.Link(mem.Load(p)) }

// StateAt returns the second word of the record at p.
func StateAt(p mem.Ptr) word.State { return word.State(mem.Load(mem.Add(p, stateOffset))) }

func sizesAt(p mem.Ptr) word.Sizes { return word.Sizes(mem.Load(mem.Add(p, sizesOffset))) }

// CapacityAt returns the room for the value of the record at p, in bytes.
func CapacityAt(p mem.Ptr, k word.Link, st word.State) int {
	if k.Large() {
		return sizesAt(p).Capacity()
	}
	return st.Capacity()
}

// HasKey reports whether the record at p has the given key. Key and key length never change.
func HasKey(p mem.Ptr, k word.Link, key []byte) bool {
	if k.Large() {
		return sizesAt(p).KeyLen() == len(key) && mem.Equal(mem.Add(p, largeHeader), key)
	}
	if StateAt(p).KeyLen() != len(key) {
		return false
	}
	if len(key) == word.Align {
		return mem.Load(mem.Add(p, smallHeader)) == mem.Load64(key)
	}
	return mem.Equal(mem.Add(p, smallHeader), key)
}

// IsSmallOfWord reports whether the record at p is a small one whose key is the 8 bytes of key, in whatever state. The
// state of a large record says that its key is empty, which no key is.
func IsSmallOfWord(p mem.Ptr, key uint64) bool {
	return mem.Load(mem.Add(p, smallHeader)) == key && StateAt(p).KeyLen() == word.Align
}

// IsLargeOfWord reports whether the record at p, whose link is k, is a large one whose key is the 8 bytes of key.
func IsLargeOfWord(p mem.Ptr, k word.Link, key uint64) bool {
	return k.Large() && sizesAt(p).KeyLen() == word.Align && mem.Load(mem.Add(p, largeHeader)) == key
}

const (
	// flagsAndKey covers the flags and the length of the key in a state.
	flagsAndKey = ^(word.State(1)<<word.KeyLenShift - 1)
	plainKey    = word.State(word.Align) << word.KeyLenShift

	// flagsAndLengths covers the length of the value, too. The capacity may be larger.
	flagsAndLengths = ^(word.State(1)<<word.ValueLenShift - 1)
	plainPair       = plainKey | word.State(word.Align)<<word.ValueLenShift
)

// IsPlain reports whether the record at p, in state st, is a small one of this key, alive and neither locked nor sealed.
func IsPlain(p mem.Ptr, st word.State, key []byte) bool {
	if len(key) == word.Align {
		return st&flagsAndKey == plainKey && mem.Load(mem.Add(p, smallHeader)) == mem.Load64(key)
	}
	return st.Plain() && len(key) == st.KeyLen() && len(key) > 0 && mem.Equal(mem.Add(p, smallHeader), key)
}

// IsPlainOfWord is IsPlain for the key of 8 bytes that key is.
func IsPlainOfWord(p mem.Ptr, st word.State, key uint64) bool {
	return st&flagsAndKey == plainKey && mem.Load(mem.Add(p, smallHeader)) == key
}

// IsPlainPair is IsPlainOfWord for a record whose value has 8 bytes, too.
func IsPlainPair(p mem.Ptr, st word.State, key uint64) bool {
	return mem.Load(mem.Add(p, smallHeader)) == key && st&flagsAndLengths == plainPair
}

// SmallValue returns where the value of the small record at p begins.
func SmallValue(p mem.Ptr, st word.State) mem.Ptr {
	return mem.Add(p, uintptr(smallHeader+word.AlignUp(st.KeyLen())))
}

// ValueOfWord returns where the value of the small record at p begins, whose key has 8 bytes.
func ValueOfWord(p mem.Ptr) mem.Ptr { return mem.Add(p, smallHeader+word.Align) }

// CopyOut is [mem.CopyOut], without a call for a single word.
func CopyOut(dst []byte, src mem.Ptr) {
	if len(dst) == word.Align {
		binary.LittleEndian.PutUint64(dst, mem.Load(src))
		return
	}
	mem.CopyOut(dst, src)
}

// AppendValue appends the value of the record at p to dst; nothing if it is a tombstone. It returns the state under
// which the value was whole (W1), and the room that the record has for its value, in bytes. It waits while the record is
// locked.
func AppendValue(dst []byte, p mem.Ptr) (value []byte, st word.State, capacity int) {
	k := LinkAt(p)
	n := len(dst)
	if st := StateAt(p); !st.Locked() && !st.Tombstone() && !k.Large() {
		v, size := SmallValue(p, st), st.ValueLen()
		dst = slices.Grow(dst, size)[:n+size]
		CopyOut(dst[n:], v)
		if StateAt(p) == st {
			return dst, st, st.Capacity()
		}
	}
	for tries := 0; ; tries++ {
		st := StateAt(p)
		if !st.Locked() {
			sh := ShapeAt(p, k, st)
			if st.Tombstone() {
				return dst[:n], st, sh.Capacity
			}
			dst = slices.Grow(dst[:n], sh.ValueLen)[:n+sh.ValueLen]
			mem.CopyOut(dst[n:], mem.Add(p, uintptr(sh.ValueOff)))
			if StateAt(p) == st {
				return dst, st, sh.Capacity
			}
		}
		BackOff(tries)
	}
}

// BackOff gives way to whoever holds a record, or was faster to change it; tries counts the attempts so far. Holders
// hold records for nanoseconds unless they have been descheduled, which only yielding can end.
func BackOff(tries int) {
	switch {
	case tries < 4:
	case tries < 64:
		runtime.Gosched()
	default:
		time.Sleep(10 * time.Microsecond)
	}
}
