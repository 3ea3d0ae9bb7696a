package record

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// diskRecord returns a record as it stands on disk at a.
func diskRecord(a, prev word.Address, v word.RecordVersion, key, value []byte, capacity int, tombstone bool) []byte {
	sh := ShapeFor(len(key), len(value), capacity)
	region := mem.AlignedBytes(sh.Size, 4096)
	Write(mem.Ptr(&region[0]), sh, prev, v, word.MaxHeat, key, value, tombstone)
	b := Bytes(bytes.Clone(region))
	b.SetCheck(a)
	return b
}

// How often a record was used is not written down: what is flushed twice is the same twice.
func TestSetCheck_LeavesHeatOut(t *testing.T) {
	b := diskRecord(8192, 4096, 3, []byte("key"), []byte("value"), 0, false) // which is written with heat
	if k := Bytes(b).Link(); k != word.MakeLink(4096, 3, false) {
		t.Errorf("link %#x on disk, heat %d", uint64(k), k.Heat())
	}
}

// FuzzRecord gives parse any bytes: it must not panic nor read past them, what it accepts must be a record or a filler
// that this package would have written there, and no single flipped bit of that is accepted as another one.
func FuzzRecord(f *testing.F) {
	const at = word.Address(3 * 4096)
	long := bytes.Repeat([]byte("k"), 300)
	for _, r := range [][]byte{
		diskRecord(at, 0, 1, []byte("key"), []byte("value"), 0, false),
		diskRecord(at, at-8, 2, []byte("8 bytes!"), nil, 40, false),
		diskRecord(at, at-800, 8191, []byte("gone"), nil, 0, true),
		diskRecord(at, 4096, 7, long, bytes.Repeat([]byte("v"), 3000), 0, false),
		diskRecord(at, 4096, 7, long[:255], bytes.Repeat([]byte("v"), word.MaxSmallValue), 0, false),
	} {
		f.Add(uint64(at), uint32(len(r)), r)
		f.Add(uint64(at), uint32(1<<20), append(r, r...))
		f.Add(uint64(at), uint32(len(r)-8), r)
		f.Add(uint64(at), uint32(1<<20), r[:len(r)-1])
	}
	filler := binary.LittleEndian.AppendUint64(nil, uint64(word.MakeFiller(4096, fillerCheck(at, 4096))))
	f.Add(uint64(at), uint32(4096), filler)
	f.Add(uint64(at), uint32(4088), filler)
	f.Fuzz(func(t *testing.T, where uint64, room uint32, b []byte) {
		a := word.Address(where % uint64(word.MaxAddress) / word.Align * word.Align)
		before := bytes.Clone(b)
		var sp, other Parsed
		short, reason := Parse(&sp, b[:min(len(b), int(room))], a, int(room), true)
		if !bytes.Equal(b, before) {
			t.Fatal("parse has changed what it parsed")
		}
		b = b[:min(len(b), int(room))]
		switch {
		case reason != "" && short:
			t.Fatalf("short, and %s", reason)
		case reason != "":
			return
		case short:
			if sp.Size <= len(b) {
				t.Fatalf("%d bytes are asked for, there are %d", sp.Size, len(b))
			}
			return
		case sp.Size <= 0 || sp.Size > int(room) || sp.Size%word.Align != 0:
			t.Fatalf("%d bytes of at most %d", sp.Size, room)
		}
		if sp.Filler {
			if got := Bytes(b).Link(); got != word.MakeFiller(sp.Size, fillerCheck(a, sp.Size)) {
				t.Fatalf("filler %#x of %d bytes", uint64(got), sp.Size)
			}
			checkFlips(t, b[:word.Align], a, int(room), sp)
			return
		}
		rec := Bytes(b[:sp.Size])
		key, value := rec.Key(sp.Shape), rec.Value(sp.Shape)
		if len(key) == 0 || len(key) != sp.Shape.KeyLen || len(value) != sp.Shape.ValueLen {
			t.Fatalf("key of %d bytes, value of %d, shape %+v", len(key), len(value), sp.Shape)
		}
		if _, reason := Parse(&other, b, a+word.Align, int(room), true); reason == "" && other.Size == sp.Size {
			t.Fatal("accepted at another address, too")
		}
		checkFlips(t, rec, a, int(room), sp)
	})
}

// checkFlips flips one bit after the other.
func checkFlips(t *testing.T, b []byte, a word.Address, room int, sp Parsed) {
	c, got := bytes.Clone(b), Parsed{}
	for i := 0; i < len(c)*8; i += 1 + len(c)/64 {
		c[i/8] ^= 1 << (i % 8)
		if short, reason := Parse(&got, c, a, room, true); reason == "" && !short {
			t.Fatalf("bit %d flipped: accepted as %+v, it was %+v", i, got, sp)
		}
		c[i/8] ^= 1 << (i % 8)
	}
}

// TestRecord_FoundAgain: what is written is read back as it was, in every form.
func TestRecord_FoundAgain(t *testing.T) {
	const a = word.Address(1 << 30)
	for _, keyLen := range []int{1, 7, 8, 9, 254, 255, 256, 1000, word.MaxKey} {
		for _, valueLen := range []int{0, 1, 7, 8, 9, 2039, 2040, 2041, 5000} {
			for _, slack := range []int{0, 1, 64} {
				key, value := bytes.Repeat([]byte{'k'}, keyLen), bytes.Repeat([]byte{'v'}, valueLen)
				b := diskRecord(a, a-word.Align, 5, key, value, valueLen+slack, false)
				var sp Parsed
				short, reason := Parse(&sp, b, a, len(b), true)
				if short || reason != "" || sp.Size != len(b) || sp.Filler {
					t.Fatalf("key of %d, value of %d: %+v, short %v, %s", keyLen, valueLen, sp, short, reason)
				}
				rec := Bytes(b)
				if !bytes.Equal(rec.Key(sp.Shape), key) || !bytes.Equal(rec.Value(sp.Shape), value) ||
					rec.Link().Prev() != a-word.Align || rec.Link().Version() != 5 || rec.State().Tombstone() {
					t.Fatalf("key of %d, value of %d: another record", keyLen, valueLen)
				}
			}
		}
	}
}
