package hlog

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// diskRecord returns a record as it stands on disk at a.
func diskRecord(a, prev word.Address, v word.RecordVersion, key, value []byte, capacity int, tombstone bool) []byte {
	sh := shapeFor(len(key), len(value), capacity)
	region := mem.AlignedBytes(sh.size, blockBytes)
	writeRecord(mem.Ptr(&region[0]), sh, prev, v, key, value, tombstone)
	b := image(bytes.Clone(region))
	b.sealForDisk(a)
	return b
}

// FuzzRecord gives parse any bytes: it must not panic nor read past them, what it accepts must be a record or a filler
// that this package would have written there, and no single flipped bit of that is accepted as another one.
func FuzzRecord(f *testing.F) {
	const at = word.Address(3 * blockBytes)
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
		var sp, other span
		short, reason := parse(&sp, b[:min(len(b), int(room))], a, int(room), true)
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
			if sp.size <= len(b) {
				t.Fatalf("%d bytes are asked for, there are %d", sp.size, len(b))
			}
			return
		case sp.size <= 0 || sp.size > int(room) || sp.size%word.Align != 0:
			t.Fatalf("%d bytes of at most %d", sp.size, room)
		}
		if sp.filler {
			if got := image(b).link(); got != word.MakeFiller(sp.size, fillerCheck(a, sp.size)) {
				t.Fatalf("filler %#x of %d bytes", uint64(got), sp.size)
			}
			checkFlips(t, b[:word.Align], a, int(room), sp)
			return
		}
		rec := image(b[:sp.size])
		key, value := rec.key(sp.shape), rec.value(sp.shape)
		if len(key) == 0 || len(key) != sp.shape.keyLen || len(value) != sp.shape.valueLen {
			t.Fatalf("key of %d bytes, value of %d, shape %+v", len(key), len(value), sp.shape)
		}
		if _, reason := parse(&other, b, a+word.Align, int(room), true); reason == "" && other.size == sp.size {
			t.Fatal("accepted at another address, too")
		}
		checkFlips(t, rec, a, int(room), sp)
	})
}

// checkFlips flips one bit after the other.
func checkFlips(t *testing.T, b []byte, a word.Address, room int, sp span) {
	c, got := bytes.Clone(b), span{}
	for i := 0; i < len(c)*8; i += 1 + len(c)/64 {
		c[i/8] ^= 1 << (i % 8)
		if short, reason := parse(&got, c, a, room, true); reason == "" && !short {
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
				var sp span
				short, reason := parse(&sp, b, a, len(b), true)
				if short || reason != "" || sp.size != len(b) || sp.filler {
					t.Fatalf("key of %d, value of %d: %+v, short %v, %s", keyLen, valueLen, sp, short, reason)
				}
				rec := image(b)
				if !bytes.Equal(rec.key(sp.shape), key) || !bytes.Equal(rec.value(sp.shape), value) ||
					rec.link().Prev() != a-word.Align || rec.link().Version() != 5 || rec.state().Tombstone() {
					t.Fatalf("key of %d, value of %d: another record", keyLen, valueLen)
				}
			}
		}
	}
}
