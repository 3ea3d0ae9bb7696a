package lsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/hybridlog/hybridlog/compare/internal/cache"
	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/record"
	"github.com/hybridlog/hybridlog/compare/internal/sorted"
	"github.com/zeebo/xxh3"
)

// A run is an indexed file of records sorted by key, one per key. Its index is:
//
//	+--------+--------+--------------------------------------------------+
//	| fences | filter | bytes of fences, hashes of filter (4 bytes each) |
//	+--------+--------+--------------------------------------------------+
//
// A fence stands for a block, which is density records, or fewer when these are long: the block's length and its first
// key's length as varints, and that key.
const (
	runMagic = 0x32_4e_55_52_4d_53_4c_48 // "HLSMRUN2"
	// maxBlock ends a block of long records early, so that a read does not fetch what it does not need.
	maxBlock = 16 << 10
)

// run is an open run with its fences and filter in memory. It may be read from any goroutine.
type run struct {
	file   *fileset.File
	fences []byte // as in the file
	blocks []block
	end    int64 // of the records
	filter filter
}

// block is where a block of a run is, and where in fences its first key is.
type block struct {
	prefix uint64 // of the first key
	start  int64
	keyAt  uint32
	keyLen uint16
}

const blockBytes = 24

// memory returns the bytes of memory held.
func (r *run) memory() int64 {
	return int64(len(r.fences)+len(r.filter.bits)) + int64(len(r.blocks))*blockBytes
}

// openRun reads the index of a run.
func openRun(f *fileset.File) (*run, error) {
	index, end, err := f.Index(runMagic)
	if err != nil {
		return nil, err
	}
	return newRun(f, index, end)
}

func newRun(f *fileset.File, index []byte, end int64) (*run, error) {
	n := len(index) - 8
	if n < 0 {
		return nil, f.Damaged(end, "index is cut short")
	}
	fences, hashes := int(binary.LittleEndian.Uint32(index[n:])), int(binary.LittleEndian.Uint32(index[n+4:]))
	if fences >= n {
		return nil, f.Damaged(end, "index is cut short")
	}
	r := &run{file: f, end: end, fences: index[:fences:fences], filter: filter{bits: index[fences:n], k: hashes}}
	var start int64
	for at := 0; at < fences; {
		length, n := binary.Uvarint(r.fences[at:])
		size, m := binary.Uvarint(r.fences[at+max(n, 0):])
		at += n + m
		if n <= 0 || m <= 0 || size > record.MaxKey || uint64(fences-at) < size || length > math.MaxInt32 {
			return nil, f.Damaged(end, "fences do not make sense")
		}
		key := r.fences[at : at+int(size)]
		r.blocks = append(r.blocks, block{sorted.Prefix(key), start, uint32(at), uint16(size)})
		start += int64(length)
		at += int(size)
	}
	if start != end {
		return nil, f.Damaged(end, "fences do not cover the records")
	}
	return r, nil
}

// get returns key's value, which must not be changed and is empty for a tombstone.
func (r *run) get(key []byte, hash uint64, c *cache.Cache) (value []byte, ok bool, err error) {
	if !r.filter.has(hash) {
		return nil, false, nil
	}
	prefix := sorted.Prefix(key)
	i := sort.Search(len(r.blocks), func(i int) bool {
		b := &r.blocks[i]
		return b.prefix > prefix || b.prefix == prefix && bytes.Compare(r.fences[b.keyAt:][:b.keyLen], key) > 0
	}) - 1
	if i < 0 {
		return nil, false, nil
	}
	data, err := r.read(i, c)
	for err == nil && len(data) > 0 {
		k, v, size, err := record.Split(data) // Checked when it was read.
		if err != nil {
			return nil, false, r.file.Damaged(r.blocks[i].start, err.Error())
		}
		switch bytes.Compare(k, key) {
		case 0:
			return v, true, nil
		case 1:
			return nil, false, nil
		}
		data = data[size:]
	}
	return nil, false, err
}

// read returns the records of a block, every one of them verified.
func (r *run) read(i int, c *cache.Cache) ([]byte, error) {
	start, end := r.blocks[i].start, r.end
	if i+1 < len(r.blocks) {
		end = r.blocks[i+1].start
	}
	place := cache.Key{File: r.file.Number, Place: start}
	if data := c.Get(place); data != nil {
		return data, nil
	}
	data, err := r.file.Lookup(start, end-start)
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(data); {
		_, _, size, err := record.Parse(data[at:])
		if err != nil {
			return nil, r.file.Damaged(start+int64(at), err.Error())
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
	if len(b.fences) > math.MaxInt32 {
		return nil, errors.New("compare: the fences of a run take more than 2 GiB")
	}
	index := append(b.fences, f.bits...)
	index = binary.LittleEndian.AppendUint32(index, uint32(len(b.fences)))
	index = binary.LittleEndian.AppendUint32(index, uint32(f.k))
	file, err := b.w.FinishIndexed(level, index, runMagic)
	if err != nil {
		return nil, err
	}
	r, err := newRun(file, index, records)
	if err != nil {
		return nil, fmt.Errorf("compare: a run just written does not open: %w", err)
	}
	return r, nil
}
