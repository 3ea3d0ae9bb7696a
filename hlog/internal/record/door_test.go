package record

import (
	"bytes"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	testAddress = word.Address(1 << 20)
	testVersion = 7
)

// newRecord returns a record of version testVersion in memory of its own, as if it stood at testAddress.
func newRecord(key, value []byte, capacity int) mem.Ptr {
	sh := ShapeFor(len(key), len(value), capacity)
	b := mem.AlignedBytes(sh.Size, 4096)
	p := mem.Ptr(&b[0])
	Write(p, sh, word.None, testVersion, 0, key, value, false)
	return p
}

// door is one that admits what newRecord makes.
func door() Door { return DoorOf(uint64(testAddress), testVersion) }

var word8 = []byte("8 bytes.")

func TestDoor_Admits(t *testing.T) {
	p := newRecord(word8, word8, 0)
	for _, c := range []struct {
		name string
		door Door
		want bool
	}{
		{"its region and version", door(), true},
		{"a region that reaches further down", DoorOf(uint64(testAddress)-8, testVersion), true},
		{"a region that begins behind it", DoorOf(uint64(testAddress)+8, testVersion), false},
		{"the version before", DoorOf(uint64(testAddress), testVersion-1), false},
		{"the version after", DoorOf(uint64(testAddress), testVersion+1), false},
		{"a counter with the same low bits", DoorOf(uint64(testAddress), testVersion+5<<word.VersionBits), true},
	} {
		x := See(testAddress, p)
		if got := c.door.Admits(x); got != c.want {
			t.Errorf("%s: admitted: %v", c.name, got)
		}
		r, locked := c.door.Lock(x)
		if locked != c.want || locked != StateAt(p).Locked() {
			t.Errorf("%s: locked: %v", c.name, locked)
		}
		if locked {
			r.SetWord(1)
		}
	}
}

// Nobody gets at a record that somebody has locked or sealed, or has changed since it was seen; and a door that stays shut
// leaves the record what it was.
func TestDoor_HeldOrChangedSince(t *testing.T) {
	p := newRecord(word8, word8, 0)
	old := See(testAddress, p)
	r, _ := door().Lock(old)
	refuse := func(what string, x Seen) {
		t.Helper()
		before := StateAt(p)
		if _, locked := door().Lock(x); locked {
			t.Errorf("%s is locked", what)
		}
		if _, sealed := x.Seal(); sealed {
			t.Errorf("%s is sealed", what)
		}
		if StateAt(p) != before {
			t.Errorf("%s has become %#x, it was %#x", what, StateAt(p), before)
		}
	}
	refuse("what was locked since", old)
	refuse("what was seen locked", See(testAddress, p))
	r.SetWord(2)
	refuse("what was changed since", old)
	now := See(testAddress, p)
	s, sealed := now.Seal()
	if !sealed {
		t.Fatal("a free record is not sealed")
	}
	refuse("what was sealed since", now)
	refuse("what was seen sealed", See(testAddress, p))
	s.Undo()
	if r, locked := door().Lock(now); !locked {
		t.Error("a record is not what it was before it was sealed")
	} else {
		r.Delete()
	}
	refuse("what was deleted since", now)
	if _, sealed := (Seen{}).Seal(); !sealed {
		t.Error("no record cannot be sealed")
	}
}

// A value that was read in place counts only if the record is in the state in which it was seen (W1).
func TestSeen_ReadOnlyIfUnchanged(t *testing.T) {
	p := newRecord(word8, word8, 0)
	key := mem.Load64(word8)
	for _, free := range []bool{true, false} {
		x := See(testAddress, p)
		if !x.Is(word8) || !x.IsOfWord(key) || !x.IsPair(key) {
			t.Fatal("the record is not found")
		}
		r, _ := door().Lock(x)
		if locked := See(testAddress, p); locked.Is(word8) || locked.IsOfWord(key) || locked.IsPair(key) {
			t.Error("a locked record is found")
		}
		if free {
			r.SetWord(key + 1)
		}
		buf := make([]byte, 8)
		if _, ok := x.Word(); ok {
			t.Errorf("free %v: the word of what was seen before", free)
		}
		if x.ReadOfWord(buf) {
			t.Errorf("free %v: the value of what was seen before", free)
		}
		if _, ok := x.AppendFor(word8, buf[:0]); ok {
			t.Errorf("free %v: the appended value of what was seen before", free)
		}
		if x.Unchanged() && free {
			t.Error("unchanged")
		}
		if !free {
			continue
		}
		x = See(testAddress, p)
		w, ok := x.Word()
		if v, fits := x.AppendFor(word8, buf[:0]); !ok || !fits || w != key+1 || mem.Load64(v) != w || !x.ReadOfWord(buf) {
			t.Errorf("%#x, %v; %x, %v", w, ok, v, fits)
		}
		if _, fits := x.AppendFor(word8, make([]byte, 1, 8)); fits {
			t.Error("appended where there is no room")
		}
	}
}

// What is written through the door is read back, as long as it fits, in every form.
func TestLocked_Forms(t *testing.T) {
	for _, keyLen := range []int{1, 8, 255, 256} {
		for _, capacity := range []int{8, 64, 2040, 2048} {
			key := bytes.Repeat([]byte{'k'}, keyLen)
			p := newRecord(key, nil, capacity)
			for _, n := range []int{0, 1, 7, 8, 9, capacity} {
				value := bytes.Repeat([]byte{byte('a' + n%26)}, n)
				r, locked := door().Lock(See(testAddress, p))
				if !locked {
					t.Fatal("not locked")
				}
				r.Set(value)
				got, x := AppendValue([]byte("before "), testAddress, p)
				if string(got) != "before "+string(value) || x.Capacity() != capacity || x.Busy() || x.State().Tombstone() || !HasKey(p, LinkAt(p), key) {
					t.Fatalf("key of %d, value of %d in %d: %q, state %#x", keyLen, n, capacity, got, uint64(x.State()))
				}
				r, _ = door().Lock(x)
				r.Delete()
				if got, x = AppendValue(nil, testAddress, p); len(got) > 0 || !x.State().Tombstone() || x.Busy() || x.Capacity() != capacity {
					t.Fatalf("key of %d: a deleted value of %d bytes, state %#x", keyLen, len(got), uint64(x.State()))
				}
			}
		}
	}
}
