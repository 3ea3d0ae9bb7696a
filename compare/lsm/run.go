package lsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sort"

	"github.com/hybridlog/hybridlog/compare/internal/cache"
	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/record"
	"github.com/zeebo/xxh3"
)

// A run is a file of records sorted by key, one per key, with its index at the end:
//
//	+---------+--------+--------+-----------------------------------------------------------------------+
//	| records | fences | filter | footer: fence offset, filter offset, filter hashes, xxh3 of fences and |
//	|         |        |        | filter, magic, xxh3 of the footer (8 bytes each)                       |
//	+---------+--------+--------+-----------------------------------------------------------------------+
//
// A fence stands for a block, which is density records, or fewer when these are long: the block's length and its first
// key's length as varints, and that key.
const (
	footerSize = 48
	runMagic   = 0x31_4e_55_52_4d_53_4c_48 // "HLSMRUN1"
	// maxBlock ends a block of long records early, so that a read does not fetch what it does not need.
	maxBlock = 16 << 10
)

// run is an open run with its fences and filter in memory. It may be read from any goroutine.
type run struct {
	file   *fileset.File
	fences []byte   // as in the file
	keyAt  []uint32 // of each block: where in fences its first key is
	keyLen []uint16
	prefix []uint64 // of each block's first key
	start  []int64  // of each block, and the end of the last
	filter filter
}

// memory returns the bytes of memory held.
func (r *run) memory() int64 {
	return int64(len(r.fences)+len(r.filter.bits)) + int64(len(r.start))*(4+2+8+8)
}

// records returns where the records end.
func (r *run) records() int64 { return r.start[len(r.start)-1] }

func (r *run) firstKey(block int) []byte {
	return r.fences[r.keyAt[block]:][:r.keyLen[block]]
}

// openRun reads the index of a run.
func openRun(f *fileset.File) (*run, error) {
	footer, err := f.Read(f.Length-footerSize, footerSize)
	if err != nil {
		return nil, err
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(footer[8*i:]) }
	end := uint64(f.Length - footerSize)
	if word(4) != runMagic || word(5) != xxh3.Hash(footer[:40]) || word(0) > word(1) || word(1) > end {
		return nil, f.Damaged(f.Length-footerSize, "footer does not match its checksum")
	}
	index, err := f.Read(int64(word(0)), int64(end-word(0)))
	if err != nil {
		return nil, err
	}
	if word(3) != xxh3.Hash(index) {
		return nil, f.Damaged(int64(word(0)), "fences and filter do not match their checksum")
	}
	return newRun(f, int64(word(0)), index, int(word(1)-word(0)), int(word(2)))
}

// newRun takes apart an index, of which the first bytes are fences and the rest is the filter.
func newRun(f *fileset.File, records int64, index []byte, fences, hashes int) (*run, error) {
	r := &run{file: f, fences: index[:fences:fences], filter: filter{bits: index[fences:], k: hashes}}
	var start int64
	for at := 0; at < fences; {
		length, n := binary.Uvarint(r.fences[at:])
		size, m := binary.Uvarint(r.fences[at+max(n, 0):])
		at += n + m
		if n <= 0 || m <= 0 || size > record.MaxKey || uint64(fences-at) < size || length > math.MaxInt32 {
			return nil, f.Damaged(records, "fences do not make sense")
		}
		r.keyAt = append(r.keyAt, uint32(at))
		r.keyLen = append(r.keyLen, uint16(size))
		r.prefix = append(r.prefix, prefixOf(r.fences[at:at+int(size)]))
		r.start = append(r.start, start)
		start += int64(length)
		at += int(size)
	}
	if r.start = append(r.start, start); start != records || fences > math.MaxUint32 || len(r.filter.bits) == 0 {
		return nil, f.Damaged(records, "fences do not cover the records")
	}
	return r, nil
}

// get returns key's value, which must not be changed and is empty for a tombstone.
func (r *run) get(key []byte, hash uint64, c *cache.Cache) (value []byte, ok bool, err error) {
	if !r.filter.has(hash) {
		return nil, false, nil
	}
	prefix := prefixOf(key)
	b := sort.Search(len(r.prefix), func(i int) bool {
		return r.prefix[i] > prefix || r.prefix[i] == prefix && bytes.Compare(r.firstKey(i), key) > 0
	}) - 1
	if b < 0 {
		return nil, false, nil
	}
	block, err := r.block(b, c)
	for err == nil && len(block) > 0 {
		k, v, size, err := record.Split(block) // Checked when it was read.
		if err != nil {
			return nil, false, r.file.Damaged(r.start[b], err.Error())
		}
		switch bytes.Compare(k, key) {
		case 0:
			return v, true, nil
		case 1:
			return nil, false, nil
		}
		block = block[size:]
	}
	return nil, false, err
}

// block returns the records of a block, every one of them verified.
func (r *run) block(b int, c *cache.Cache) ([]byte, error) {
	place := cache.Key{File: r.file.Number, Place: r.start[b]}
	if data := c.Get(place); data != nil {
		return data, nil
	}
	data, err := r.file.Read(r.start[b], r.start[b+1]-r.start[b])
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(data); {
		_, _, size, err := record.Parse(data[at:])
		if err != nil {
			return nil, r.file.Damaged(r.start[b]+int64(at), err.Error())
		}
		at += size
	}
	c.Put(place, data)
	return data, nil
}

// runWriter writes a run from records that are added in key order.
type runWriter struct {
	w              *fileset.Writer
	density        int
	falsePositives float64
	fences         []byte
	first          []byte // key of the block that is being filled
	blockStart     int64
	inBlock        int
	hashes         []uint64
}

// add appends an encoded record.
func (b *runWriter) add(key, raw []byte) error {
	length := b.w.Length() - b.blockStart
	if b.inBlock == b.density || b.inBlock > 0 && length+int64(len(raw)) > maxBlock {
		b.endBlock()
	}
	if b.inBlock == 0 {
		b.first = append(b.first[:0], key...)
	}
	if _, err := b.w.Append(raw); err != nil {
		return err
	}
	b.inBlock++
	b.hashes = append(b.hashes, xxh3.Hash(key))
	return nil
}

func (b *runWriter) endBlock() {
	b.fences = binary.AppendUvarint(b.fences, uint64(b.w.Length()-b.blockStart))
	b.fences = binary.AppendUvarint(b.fences, uint64(len(b.first)))
	b.fences = append(b.fences, b.first...)
	b.blockStart, b.inBlock = b.w.Length(), 0
}

// finish writes the index and returns the run, or nil when no record was added.
func (b *runWriter) finish(level int) (*run, error) {
	if len(b.hashes) == 0 {
		b.w.Abort()
		return nil, nil
	}
	b.endBlock()
	records := b.w.Length()
	f := newFilter(b.hashes, b.falsePositives)
	index := append(b.fences, f.bits...)
	footer := make([]byte, 0, footerSize)
	for _, word := range []uint64{uint64(records), uint64(records) + uint64(len(b.fences)), uint64(f.k), xxh3.Hash(index), runMagic} {
		footer = binary.LittleEndian.AppendUint64(footer, word)
	}
	footer = binary.LittleEndian.AppendUint64(footer, xxh3.Hash(footer))
	for _, part := range [][]byte{index, footer} {
		if _, err := b.w.Append(part); err != nil {
			return nil, err
		}
	}
	file, err := b.w.Seal(level)
	if err != nil {
		return nil, err
	}
	r, err := newRun(file, records, index, len(b.fences), f.k)
	if err != nil {
		return nil, fmt.Errorf("compare: a run just written does not open: %w", err)
	}
	return r, nil
}
