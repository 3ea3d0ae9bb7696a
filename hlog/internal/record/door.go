package record

import (
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Seen is a record in memory as an operation has found it: where it is, and its first two words as they were then. The
// zero Seen is no record.
type Seen struct {
	a  word.Address
	p  mem.Ptr
	k  word.Link
	st word.State
}

// See looks at the record at address a, whose place in memory is p.
func See(a word.Address, p mem.Ptr) Seen {
	return Seen{a: a, p: p, k: word.Link(mem.LoadPlain(p)), st: StateAt(p)}
}

// Address returns where the record is, [word.None] if x is no record.
func (x Seen) Address() word.Address { return x.a }

// State returns the state that the record was seen in.
func (x Seen) State() word.State { return x.st }

// Busy reports whether the record was locked or sealed.
func (x Seen) Busy() bool { return x.st.Busy() }

// Capacity returns the room for the record's value, in bytes. The record is still in memory.
func (x Seen) Capacity() int {
	if x.k.Large() {
		return sizesAt(x.p).Capacity()
	}
	return x.st.Capacity()
}

// Unchanged reports whether the value, or the deletion, is still what it was when the record was seen. The record is still
// in memory.
func (x Seen) Unchanged() bool { return StateAt(x.p).Unseal() == x.st.Unseal() }

// Touch adds one to the heat of the record, which is still in memory. It may fail when others touch it, too: heat is a
// hint.
func (x Seen) Touch() {
	if n := x.k.Heat(); n < word.MaxHeat {
		mem.CompareAndSwap(x.p, uint64(x.k), uint64(x.k.WithHeat(n+1)))
	}
}

// Warm gives the record, which is still in memory, this heat unless it has been touched since it was seen.
func (x Seen) Warm(heat int) { mem.CompareAndSwap(x.p, uint64(x.k), uint64(x.k.WithHeat(heat))) }

// Heat returns the heat that the record was seen with, 0 if x is no record.
func (x Seen) Heat() int { return x.k.Heat() }

// Door is the right of an operation to change records in place, for one stay in the epoch: those at or above readOnly that
// were written in the operation's version. It is the only way to a Locked.
type Door struct {
	readOnly uint64
	counter  uint64
}

// DoorOf returns the door of an operation that is inside the epoch and has found the log read-only below readOnly since it
// entered. counter counts versions up to that of the operation; its low bits are what records carry, and only they count.
func DoorOf(readOnly, counter uint64) Door { return Door{readOnly: readOnly, counter: counter} }

// Mutable reports whether a record at a may be changed in place as far as its address tells. If so it is in memory.
func (d Door) Mutable(a word.Address) bool { return uint64(a) >= d.readOnly }

// Admits reports whether x may be changed in place when nobody else holds it.
func (d Door) Admits(x Seen) bool { return d.Mutable(x.a) && x.k.OfVersion(d.counter) }

// Lock locks a record that the door admits. It fails, too, when the record is no longer in the state that it was seen in,
// or was locked or sealed then. Whoever has locked a record calls one of the methods of Locked at once: nothing else ends
// the lock.
func (d Door) Lock(x Seen) (l Locked, ok bool) {
	// The tests are spelled out so that Lock is small enough to be inlined.
	if uint64(x.a) < d.readOnly || !x.k.OfVersion(d.counter) || x.st.Busy() ||
		!mem.CompareAndSwap(mem.Add(x.p, stateOffset), uint64(x.st), uint64(x.st.WithLock())) {
		return l, false
	}
	return Locked{x.p, x.st}, true
}

// Locked is a record that the operation has locked. Each of its methods ends the lock.
type Locked struct {
	p  mem.Ptr
	st word.State // before it was locked
}

// SetWord makes value the value of a pair (see [Seen.IsPair]).
func (l Locked) SetWord(value uint64) {
	mem.StoreRelease(valueOfWord(l.p), value)
	storeState(l.p, l.st.Bump())
}

// SetSmall makes value the value of a small record that has room for it.
func (l Locked) SetSmall(value []byte) {
	copyIn(smallValue(l.p, l.st), value)
	storeState(l.p, l.st.WithValueLen(len(value)).Bump())
}

// Set makes value the value of a record that has room for it.
func (l Locked) Set(value []byte) {
	k := LinkAt(l.p)
	if !k.Large() {
		l.SetSmall(value)
		return
	}
	sh := ShapeAt(l.p, k, l.st)
	mem.StoreRelease(mem.Add(l.p, sizesOffset), uint64(sizesAt(l.p).WithValueLen(len(value))))
	mem.CopyIn(mem.Add(l.p, uintptr(sh.ValueOff)), value)
	storeState(l.p, l.st.WithValueLen(0).Bump())
}

// Delete makes the record a tombstone.
func (l Locked) Delete() {
	if LinkAt(l.p).Large() {
		mem.StoreRelease(mem.Add(l.p, sizesOffset), uint64(sizesAt(l.p).WithValueLen(0)))
	}
	storeState(l.p, l.st.WithTombstone().Bump())
}

// Seal forbids changes in place of a record that is about to be superseded by a copy (W4). It fails when the record is no
// longer in the state that it was seen in, or was locked or sealed then. Of no record it is nothing, and succeeds.
func (x Seen) Seal() (s Sealed, ok bool) {
	switch {
	case x.p == nil:
		return Sealed{}, true
	case x.st.Busy() || !mem.CompareAndSwap(mem.Add(x.p, stateOffset), uint64(x.st), uint64(x.st.WithSeal())):
		return Sealed{}, false
	}
	return Sealed{x.p, x.st}, true
}

// Sealed is a record that the operation has sealed. The zero Sealed is none.
type Sealed struct {
	p  mem.Ptr
	st word.State // before it was sealed
}

// Undo makes the record what it was before it was sealed: no copy of it has been published.
func (s Sealed) Undo() {
	if s.p != nil {
		storeState(s.p, s.st)
	}
}

// storeState publishes the state word of a record that the caller has locked or sealed, or not yet published.
func storeState(p mem.Ptr, s word.State) {
	mem.StoreRelease(mem.Add(p, stateOffset), uint64(s))
}
