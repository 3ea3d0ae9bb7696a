package hlog

import (
	"slices"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// find follows a chain from a down to the newest record of key at or above stop, which is at or above head. When
// there is none it returns the first address below stop, None at the end of the chain.
func (l *hybridLog) find(a word.Address, key []byte, stop uint64) (word.Address, mem.Ptr, bool) {
	if len(key) == word.Align {
		return l.findWord(a, mem.Load64(key), stop)
	}
	for uint64(a) >= stop {
		p := l.at(a)
		k := linkAt(p)
		l.checkRecord(a, k)
		if hasKey(p, k, key) {
			return a, p, true
		}
		a = k.Prev()
	}
	return a, nil, false
}

// findWord is find for a key of 8 bytes, the commonest.
func (l *hybridLog) findWord(a word.Address, key uint64, stop uint64) (word.Address, mem.Ptr, bool) {
	for uint64(a) >= stop {
		p := l.at(a)
		// The state of a large record holds no key length.
		if mem.Load(mem.Add(p, smallHeader)) == key && stateAt(p).KeyLen() == word.Align {
			return a, p, true
		}
		k := linkAt(p)
		l.checkRecord(a, k)
		if k.Large() && sizesAt(p).KeyLen() == word.Align && mem.Load(mem.Add(p, largeHeader)) == key {
			return a, p, true
		}
		a = k.Prev()
	}
	return a, nil, false
}

// readValue appends the value of the record at p to dst. alive is false for a tombstone. The state it returns is the
// one under which the value was whole.
func readValue(dst []byte, p mem.Ptr) (value []byte, st word.State, capacity int) {
	k := linkAt(p)
	n := len(dst)
	if st := stateAt(p); !st.Locked() && !st.Tombstone() && !k.Large() {
		v, size := smallValue(p, st), st.ValueLen()
		dst = slices.Grow(dst, size)[:n+size]
		copyOut(dst[n:], v)
		if stateAt(p) == st {
			return dst, st, st.Capacity()
		}
	}
	for tries := 0; ; tries++ {
		st := stateAt(p)
		if !st.Locked() {
			if st.Tombstone() {
				return dst, st, shapeAt(p, k, st).capacity
			}
			sh := shapeAt(p, k, st)
			dst = slices.Grow(dst[:n], sh.valueLen)[:n+sh.valueLen]
			mem.CopyOut(dst[n:], mem.Add(p, uintptr(sh.valueOff)))
			if stateAt(p) == st {
				return dst, st, sh.capacity
			}
		}
		backOff(tries)
	}
}

// writeValue replaces the value of the record at p, which the caller has locked under st, and releases it.
func writeValue(p mem.Ptr, k word.Link, st word.State, value []byte) {
	if k.Large() {
		sh := shapeAt(p, k, st)
		mem.StoreRelease(mem.Add(p, sizesOffset), uint64(sizesAt(p).WithValueLen(len(value))))
		mem.CopyIn(mem.Add(p, uintptr(sh.valueOff)), value)
		storeState(p, st.WithValueLen(0).Bump())
		return
	}
	copyIn(smallValue(p, st), value)
	storeState(p, st.WithValueLen(len(value)).Bump())
}

// writeTombstone turns the record at p, which the caller has locked under st, into a deletion and releases it.
func writeTombstone(p mem.Ptr, k word.Link, st word.State) {
	if k.Large() {
		mem.StoreRelease(mem.Add(p, sizesOffset), uint64(sizesAt(p).WithValueLen(0)))
	}
	storeState(p, st.WithTombstone().Bump())
}
