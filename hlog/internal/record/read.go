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

// Is reports whether x is a small record of this key, alive and neither locked nor sealed. The state of a large record
// says that its key is empty, which no key is.
func (x Seen) Is(key []byte) bool {
	if len(key) == word.Align {
		return x.IsOfWord(mem.Load64(key))
	}
	return x.st.Plain() && len(key) == x.st.KeyLen() && len(key) > 0 && mem.Equal(mem.Add(x.p, smallHeader), key)
}

// IsOfWord is Is for the key of 8 bytes that key is.
func (x Seen) IsOfWord(key uint64) bool {
	return x.st&flagsAndKey == plainKey && mem.Load(mem.Add(x.p, smallHeader)) == key
}

// IsPair is IsOfWord for a record whose value has 8 bytes, too.
func (x Seen) IsPair(key uint64) bool {
	return mem.Load(mem.Add(x.p, smallHeader)) == key && x.st&flagsAndLengths == plainPair
}

// Word returns the value of a pair. ok false means that the record has changed since it was seen (W1).
func (x Seen) Word() (value uint64, ok bool) {
	value = mem.Load(valueOfWord(x.p))
	return value, StateAt(x.p) == x.st
}

// AppendFor appends the value to dst if x is what [Seen.Is] tells of, dst has room, and the record has not changed since it
// was seen (W1).
func (x Seen) AppendFor(key, dst []byte) (value []byte, ok bool) {
	n, size := len(dst), x.st.ValueLen()
	if !x.Is(key) || cap(dst)-n < size {
		return dst, false
	}
	value = dst[:n+size]
	copyOut(value[n:], smallValue(x.p, x.st))
	return value, StateAt(x.p) == x.st
}

// ReadOfWord copies the value of a record that [Seen.IsOfWord] tells of into dst, which is as long. ok false means that the
// record has changed since it was seen, and that dst holds nothing of use (W1).
func (x Seen) ReadOfWord(dst []byte) (ok bool) {
	copyOut(dst, valueOfWord(x.p))
	return StateAt(x.p) == x.st
}

// smallValue returns where the value of the small record at p begins.
func smallValue(p mem.Ptr, st word.State) mem.Ptr {
	return mem.Add(p, uintptr(word.AlignUp(smallHeader+st.KeyLen())))
}

// valueOfWord returns where the value of the small record at p begins, whose key has 8 bytes.
func valueOfWord(p mem.Ptr) mem.Ptr { return mem.Add(p, smallHeader+word.Align) }

// copyOut is [mem.CopyOut], without a call for a single word.
func copyOut(dst []byte, src mem.Ptr) {
	if len(dst) == word.Align {
		binary.LittleEndian.PutUint64(dst, mem.Load(src))
		return
	}
	mem.CopyOut(dst, src)
}

// AppendValue appends the value of the record at address a, whose place in memory is p, to dst; nothing if it is a
// tombstone. The record is returned as it was while the value was whole (W1). It waits while the record is locked.
func AppendValue(dst []byte, a word.Address, p mem.Ptr) ([]byte, Seen) {
	n := len(dst)
	for tries := 0; ; tries++ {
		x := See(a, p)
		switch {
		case x.st.Locked():
		case x.st.Tombstone():
			return dst[:n], x
		default:
			from, size := smallValue(p, x.st), x.st.ValueLen()
			if x.k.Large() {
				sh := ShapeAt(p, x.k, x.st)
				from, size = mem.Add(p, uintptr(sh.ValueOff)), sh.ValueLen
			}
			dst = slices.Grow(dst[:n], size)[:n+size]
			copyOut(dst[n:], from)
			if StateAt(p) == x.st {
				return dst, x
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
