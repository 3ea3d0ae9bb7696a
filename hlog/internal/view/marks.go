package view

import (
	"encoding/binary"
	"math/bits"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// markUnit is how many bytes of log share a bit: less than the shortest record takes, whose header is as long and followed by
// a key, so that no two records begin in one.
const markUnit = 16

// marks is a bit for each unit of a stretch of log: set if the record that begins there is the newest of its hash (Z4).
type marks struct {
	region   *mem.Region
	bits     []byte
	at, end  uint64 // the stretch
	cut      uint64 // where the last one ends
	set, met int    // bits
	told     int64  // records that setAll was told of since open,
	bytes    int64  // and their length
}

// open takes memory for the log from begin to cut, but no more than a number of bytes: then there are several stretches.
func (m *marks) open(begin, cut uint64, most int) (err error) {
	m.cut = cut
	if begin >= cut {
		return nil
	}
	need := (cut-begin)/(8*markUnit) + 2
	if m.region, err = mem.MapSparse(int(min(need, max(uint64(most), 1)))); err == nil {
		m.bits = m.region.Bytes(0, m.region.Size())
	}
	return err
}

// begin begins the stretch at a. No bit is set.
func (m *marks) begin(a uint64) {
	m.at = a &^ (markUnit - 1)
	m.end = min(m.at+8*markUnit*uint64(len(m.bits)), max(m.cut, a))
	m.set, m.met = 0, 0
}

// setAll sets the bits of records, as far as they are in the stretch.
func (m *marks) setAll(triples []index.Triple) {
	b := m.bits
	m.told += int64(len(triples))
	for i := range triples {
		a := uint64(triples[i].Address())
		m.bytes += triples[i].Size()
		if a < m.at || a >= m.end {
			continue
		}
		n := (a - m.at) / markUnit
		m.set += int(^b[n/8] >> (n % 8) & 1)
		b[n/8] |= 1 << (n % 8)
	}
}

// take reports whether the bit of the record at a is set, and clears it.
func (m *marks) take(a word.Address) bool {
	n := (uint64(a) - m.at) / markUnit
	b := &m.bits[n/8]
	if *b>>(n%8)&1 == 0 {
		return false
	}
	*b &^= 1 << (n % 8)
	m.met++
	return true
}

// first returns the first address of a unit whose bit is set, if there is one.
func (m *marks) first() (a uint64, left bool) {
	if m.set == m.met {
		return 0, false
	}
	for i, b := range m.bits {
		if b != 0 {
			return m.at + markUnit*uint64(8*i+bits.TrailingZeros8(b)), true
		}
	}
	return 0, false
}

func (m *marks) close() {
	if m.region != nil {
		m.region.Unmap() // nothing can be done about an error
		m.region = nil
	}
}

const (
	owes      = 1 // in a slot: the key is owed a record
	owedSlot  = 8 // bytes
	fewSlots  = 1 << 9
	leastOwed = 8 // slots that there may be always
)

// owed is a set of keys, by their prints, that are owed a record, or were and have got one (Z5). It is a table with open
// addressing: a slot is 0 or a print, whose lowest bit is free, with owes.
type owed struct {
	region *mem.Region
	table  []byte // all of it
	mask   uint64
	used   int // slots
	owing  int // of them: those that are owed a record
	max    int // slots that there may be
	expect int // about how many keys come
}

// slot returns the slot of a print, or the one where it has its place, and what is in it.
func (o *owed) slot(p uint64) (slot []byte, w uint64) {
	for n := p >> 1; ; n++ {
		slot = o.table[n&o.mask*owedSlot:][:owedSlot]
		if w = mem.Load64(slot); w == 0 || w&^owes == p {
			return slot, w
		}
	}
}

func (o *owed) prefetch(p uint64) { mem.Prefetch(o.region.At(uintptr(p >> 1 & o.mask * owedSlot))) }

// pay notes that a record has come for a key, if one is owed.
func (o *owed) pay(p uint64) {
	if o.owing == 0 {
		return
	}
	if slot, w := o.slot(p); w&owes != 0 {
		binary.LittleEndian.PutUint64(slot, p)
		o.owing--
	}
}

// owe notes that a record is owed to a key. ok is false when there is no room.
func (o *owed) owe(p uint64) (ok bool, err error) {
	if o.region == nil || o.used >= int(o.mask+1)/4*3 {
		if ok, err := o.grow(); !ok || err != nil {
			return false, err
		}
	}
	slot, w := o.slot(p)
	switch {
	case w == 0:
		o.used++
	case w&owes != 0:
		return true, nil
	}
	o.owing++
	binary.LittleEndian.PutUint64(slot, p|owes)
	return true, nil
}

// grow makes the table anew, without those that have got what was owed to them, and at most half full. ok is false when it would
// be larger than it may.
func (o *owed) grow() (ok bool, err error) {
	slots := max(fewSlots, 1<<bits.Len(uint(max(2*o.owing, o.expect/2*3))))
	if most := max(o.max, leastOwed); slots > most {
		if slots = 1 << (bits.Len(uint(most)) - 1); o.owing > slots/2 {
			return false, nil
		}
	}
	region, err := mem.Map(slots * owedSlot)
	if err != nil {
		return false, err
	}
	old := *o
	o.region, o.table, o.mask, o.used, o.owing = region, region.Bytes(0, slots*owedSlot), uint64(slots-1), 0, 0
	old.each(func(p uint64) {
		slot, _ := o.slot(p)
		binary.LittleEndian.PutUint64(slot, p|owes)
		o.used++
		o.owing++
	})
	old.close()
	return true, nil
}

// each calls fn for all keys that are owed a record.
func (o *owed) each(fn func(p uint64)) {
	if o.owing == 0 {
		return
	}
	for n := range o.mask + 1 {
		if w := mem.Load64(o.table[n*owedSlot:]); w&owes != 0 {
			fn(w &^ owes)
		}
	}
}

// clear makes the set empty.
func (o *owed) clear() {
	o.region.Release(0, o.region.Size())
	o.used, o.owing = 0, 0
}

func (o *owed) close() {
	if o.region != nil {
		o.region.Unmap() // nothing can be done about an error
		o.region = nil
	}
}
