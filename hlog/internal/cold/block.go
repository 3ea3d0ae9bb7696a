package cold

import (
	"bytes"
	"encoding/binary"
)

// blocks goes over the records that begin in some blocks of a share which follow each other. It verifies each block
// before it looks at what is in it.
type blocks struct {
	s   *Share
	raw []byte // whole blocks
	n   int    // number of the first of them

	at    int // block of raw that is being looked at
	left  int // records that begin in it and are yet to come
	off   int // where the next one begins
	end   int // of what is used of it
	open  bool
	spill []byte // a record that lies in several blocks
	// begun is the block that the record began in which is not whole in raw.
	begun int
}

// reset begins anew, with blocks from n on.
func (b *blocks) reset(raw []byte, n int) {
	*b = blocks{s: b.s, raw: raw, n: n, spill: b.spill[:0]}
}

// step says how it went on.
type step int

const (
	stepRecord step = iota // to a record
	stepEnd                // to the end: no record begins that has not been told
	stepMore               // to a record that is not whole: block begun, and what follows it, are needed
)

// next returns the next record, whose bytes are of use until the one after it is asked for. Its order is not set.
func (b *blocks) next(r *Record) (step, error) {
	for !b.open || b.left == 0 {
		if b.open {
			b.at, b.open = b.at+1, false
		}
		if b.at*BlockBytes >= len(b.raw) {
			return stepEnd, nil
		}
		if err := b.openBlock(); err != nil {
			return stepEnd, err
		}
	}
	whole, ok, reason := parse(b.block()[b.off:b.end], r)
	if reason != "" {
		return stepEnd, b.corrupt("%s", reason)
	}
	if !ok {
		return b.across(r)
	}
	b.left--
	b.off += whole
	return stepRecord, nil
}

func (b *blocks) block() []byte { return b.raw[b.at*BlockBytes:][:BlockBytes] }

func (b *blocks) corrupt(format string, args ...any) error {
	return b.s.corrupt(blockAt(b.n+b.at)+int64(b.off), format, args...)
}

func (b *blocks) openBlock() (err error) {
	b.left, b.off, b.end, err = b.s.checkBlock(b.block(), b.n+b.at)
	b.open = err == nil
	return err
}

// across returns the record that begins at off, the last of its block, and goes on in the blocks behind it.
func (b *blocks) across(r *Record) (step, error) {
	if b.left != 1 || b.end != BlockBytes {
		return stepEnd, b.corrupt("a record is not whole")
	}
	b.begun = b.n + b.at
	b.spill = append(b.spill[:0], b.block()[b.off:]...)
	for {
		b.at++
		if b.at*BlockBytes >= len(b.raw) {
			return stepMore, nil
		}
		count, begin, end, err := b.s.checkBlock(b.block(), b.n+b.at)
		if err != nil {
			return stepEnd, err
		}
		b.spill = append(b.spill, b.block()[blockHead:begin]...)
		whole, ok, reason := parse(b.spill, r)
		if reason != "" || ok && whole != len(b.spill) || !ok && (count > 0 || end < BlockBytes) {
			return stepEnd, b.corrupt("a record that began in block %d does not end where it should", b.begun)
		}
		if ok {
			b.left, b.off, b.end, b.open = count, begin, end, true
			return stepRecord, nil
		}
	}
}

// parse returns the record that b begins with and how long it is; ok is false when b is too short for it.
func parse(b []byte, r *Record) (whole int, ok bool, reason string) {
	k, n := binary.Uvarint(b)
	if n < 0 || n == 0 && len(b) >= maxRecordHead {
		return 0, false, "length of a key"
	}
	if n == 0 {
		return 0, false, ""
	}
	r.Tombstone = k&1 != 0
	key, value := k>>1, uint64(0)
	if !r.Tombstone {
		v, m := binary.Uvarint(b[n:])
		if m < 0 || m == 0 && len(b) >= maxRecordHead {
			return 0, false, "length of a value"
		}
		if m == 0 {
			return 0, false, ""
		}
		value, n = v, n+m
	}
	if key == 0 || key > maxKey || value > maxValue {
		return 0, false, "impossible lengths"
	}
	if uint64(len(b)-n) < key+value {
		return 0, false, ""
	}
	r.Key, r.Value = b[n:][:key:key], nil
	n += int(key)
	if !r.Tombstone {
		r.Value = b[n:][:value:value]
	}
	return n + int(value), true, ""
}

const (
	maxKey   = 1<<16 - 1
	maxValue = 1<<32 - 1
)

// Found is what a share says of a key.
type Found int

const (
	Absent  Found = iota // nothing
	Live                 // it has a value
	Deleted              // it was deleted
)

// Find looks for key in b, which holds the extent e of the share: what [Share.Seek] has returned for the order of key, or
// what Find has asked for. A value is appended to dst. If a record goes on behind e, more is the extent that has to be
// read, and Find to be asked again with it.
//
// Errors are *[CorruptError].
func (s *Share) Find(dst []byte, b []byte, e Extent, key []byte) (value []byte, found Found, more Extent, err error) {
	n := int(e.Off/BlockBytes) - 1
	p := blocks{s: s}
	p.reset(b, n)
	var r Record
	for {
		st, err := p.next(&r)
		switch {
		case err != nil:
			return dst, Absent, Extent{}, err
		case st == stepEnd:
			return dst, Absent, Extent{}, nil
		case st == stepMore:
			return s.goOn(dst, p.spill, p.begun, n+len(b)/BlockBytes, key)
		case !bytes.Equal(r.Key, key):
		case r.Tombstone:
			return dst, Deleted, Extent{}, nil
		default:
			return append(dst, r.Value...), Live, Extent{}, nil
		}
	}
}

// goOn looks at the beginning of a record, which began in a block and has reached block next: another key's is left alone,
// and of this key's it says how far it goes.
func (s *Share) goOn(dst, begin []byte, begun, next int, key []byte) ([]byte, Found, Extent, error) {
	if next >= len(s.first) {
		return dst, Absent, Extent{}, s.corrupt(blockAt(begun), "the last record is not whole")
	}
	blocks := next - begun + 1
	k, n := binary.Uvarint(begin)
	v, m := uint64(0), 0
	if n > 0 && k&1 == 0 {
		v, m = binary.Uvarint(begin[n:])
	}
	if n > 0 && (m > 0 || k&1 != 0) {
		if have := begin[n+m:]; k>>1 != uint64(len(key)) || !bytes.Equal(have[:min(len(have), len(key))], key[:min(len(have), len(key))]) {
			return dst, Absent, Extent{}, nil // it is the last that begins in what Seek has named
		}
		rest := uint64(n+m) + k>>1 + v - uint64(len(begin))
		if rest > uint64(len(s.first)-next)*(BlockBytes-blockHead) {
			return dst, Absent, Extent{}, s.corrupt(blockAt(begun), "the last record is not whole")
		}
		blocks += int((rest - 1) / (BlockBytes - blockHead))
	}
	return dst, Absent, Extent{blockAt(begun), blocks * BlockBytes}, nil
}
