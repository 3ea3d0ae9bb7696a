package cold

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The format is in the package comment.
const (
	// BlockBytes is the unit that files are read, written and verified in.
	BlockBytes = 4096

	shareFormat = 1
	shareMagic  = "HLOGCLD\x00"
	shareEnd    = "HLOGCLDE"

	blockHead    = 16
	blockCountAt = 8
	blockBeginAt = 10
	blockEndAt   = 12

	shareTrailer = 128
	shareSum     = 120 // in the trailer

	// wholeBytes is the length up to which a record lies in one block.
	wholeBytes = 512
	// writeBytes is how many bytes of a share are written at a time.
	writeBytes = 256 << 10
	// maxRecordHead is the most bytes that the lengths of a record take.
	maxRecordHead = 2 * binary.MaxVarintLen32
)

// Record is what a cold segment says of a key.
type Record struct {
	Order     uint64 // of the hash of the key: its place in every file, see [index.Order]
	Key       []byte
	Value     []byte
	Tombstone bool // the key was deleted; there is no value
}

// bytes returns what the record takes in a block, its lengths included.
func (r *Record) bytes() int {
	n := uvarintBytes(uint64(len(r.Key))<<1) + len(r.Key)
	if !r.Tombstone {
		n += uvarintBytes(uint64(len(r.Value))) + len(r.Value)
	}
	return n
}

func uvarintBytes(v uint64) (n int) {
	for n = 1; v >= 1<<7; v >>= 7 {
		n++
	}
	return n
}

// shareSeed returns the seed for the sums of a share's blocks, which differ for each file.
func shareSeed(id, first uint64, from word.Address) uint64 {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 24), id)
	b = binary.LittleEndian.AppendUint64(b, first)
	return xxh3.Hash(binary.LittleEndian.AppendUint64(b, uint64(from)))
}

// shareWriter writes records as they come, and what describes them at the end. It holds a block, what is to be written
// next, and the filter, which is a byte for each record.
type shareWriter struct {
	w    io.WriterAt
	ref  index.ShareRef
	seed uint64
	err  error // of w

	buf   []byte // blocks that are not written yet
	off   int64  // of buf in the file
	block []byte // the block that is being made, in buf
	at    int    // where the next byte of it goes
	count int    // records that begin in it

	first  []uint64 // by block: the order of the first record that begins in it, or of the one that goes through it
	shared []byte   // a bit for each block: an earlier block has a record of that order
	last   uint64   // order of the last record

	orders  []uint64 // of the next block of filter
	filter  []byte   // whole blocks
	filters []uint64 // by block of filter: its first order
}

// newShareWriter begins a share of the hashes from first on, of the log [from, to), in the empty file w.
func newShareWriter(w io.WriterAt, id, first uint64, from, to word.Address) *shareWriter {
	s := &shareWriter{
		w: w, ref: index.ShareRef{ID: id, First: first, From: from, To: to}, seed: shareSeed(id, first, from),
		buf: mem.AlignedBytes(writeBytes+BlockBytes, BlockBytes)[:BlockBytes], orders: make([]uint64, 0, filterOrders),
	}
	copy(s.buf, shareMagic)
	binary.LittleEndian.PutUint32(s.buf[8:], shareFormat)
	return s
}

// bytes returns about how long the share would be if it ended now.
func (s *shareWriter) bytes() int64 {
	return s.off + int64(len(s.buf)+len(s.filter)+2*BlockBytes+9*len(s.first)+8*len(s.filters)+shareTrailer)
}

// add adds the next record in order. An error of the file is told at the end.
func (s *shareWriter) add(r *Record) {
	n := r.bytes()
	if room := BlockBytes - s.at; s.block != nil && n > room && (n <= wholeBytes || room < maxRecordHead) {
		s.endBlock()
	}
	if s.block == nil {
		s.beginBlock(r.Order)
	}
	if s.count++; s.count == 1 {
		s.begins(r.Order)
	}
	var head [maxRecordHead]byte
	h := binary.AppendUvarint(head[:0], uint64(len(r.Key))<<1|boolBit(r.Tombstone))
	if !r.Tombstone {
		h = binary.AppendUvarint(h, uint64(len(r.Value)))
		s.ref.Live += int64(n)
	}
	s.last = r.Order // before its bytes: a block that only goes on with it shares its order
	s.put(h)
	s.put(r.Key)
	if !r.Tombstone {
		s.put(r.Value)
	}
	s.ref.Triples++
	s.see(r.Order)
}

func boolBit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// beginBlock begins a block, of which the first record has an order, or goes through it.
func (s *shareWriter) beginBlock(order uint64) {
	if len(s.buf) >= writeBytes {
		s.flush()
	}
	n := len(s.buf)
	s.buf = s.buf[:n+BlockBytes]
	s.block = s.buf[n:]
	clear(s.block)
	s.at, s.count = blockHead, 0
	if len(s.first)%8 == 0 {
		s.shared = append(s.shared, 0)
	}
	if s.ref.Triples > 0 && s.last == order {
		s.shared[len(s.first)/8] |= 1 << (len(s.first) % 8)
	}
	s.first = append(s.first, order)
}

// begins notes that the first record that begins in the block does so here, and has an order.
func (s *shareWriter) begins(order uint64) {
	binary.LittleEndian.PutUint16(s.block[blockBeginAt:], uint16(s.at))
	n := len(s.first) - 1
	s.first[n] = order
	s.shared[n/8] &^= 1 << (n % 8)
	if s.ref.Triples > 0 && s.last == order {
		s.shared[n/8] |= 1 << (n % 8)
	}
}

// put appends b, going on in further blocks where one is full.
func (s *shareWriter) put(b []byte) {
	for len(b) > 0 {
		if s.at == BlockBytes {
			s.endBlock()
			s.beginBlock(s.last)
			s.shared[(len(s.first)-1)/8] |= 1 << ((len(s.first) - 1) % 8)
		}
		n := copy(s.block[s.at:], b)
		s.at, b = s.at+n, b[n:]
	}
}

// endBlock ends the block that is being made.
func (s *shareWriter) endBlock() {
	b := s.block
	binary.LittleEndian.PutUint16(b[blockCountAt:], uint16(s.count))
	binary.LittleEndian.PutUint16(b[blockEndAt:], uint16(s.at))
	binary.LittleEndian.PutUint64(b, xxh3.HashSeed(b[8:], s.seed+uint64(len(s.first)-1)))
	s.block = nil
}

// see adds an order to the filter.
func (s *shareWriter) see(order uint64) {
	n := len(s.orders)
	if n > 0 && s.orders[n-1] == order {
		return
	}
	if n == filterOrders {
		s.endFilter(order - 1)
	}
	s.orders = append(s.orders, order)
}

// endFilter makes the orders seen a block of filter, for orders up to last.
func (s *shareWriter) endFilter(last uint64) {
	if len(s.orders) == 0 {
		return
	}
	n := len(s.filter)
	s.filter = append(s.filter, make([]byte, BlockBytes)...)
	makeFilter(s.filter[n:], s.orders, s.orders[0], last, s.filterSeed(len(s.filters)))
	s.filters = append(s.filters, s.orders[0])
	s.orders = s.orders[:0]
}

// filterSeed returns the seed of block n of the filter: those of the blocks of records come before it.
func (s *shareWriter) filterSeed(n int) uint64 { return ^s.seed - uint64(n) }

// flush writes buf.
func (s *shareWriter) flush() {
	if s.err == nil {
		_, s.err = s.w.WriteAt(s.buf, s.off)
	}
	s.off += int64(len(s.buf))
	s.buf = s.buf[:0]
}

// tail appends b to the file.
func (s *shareWriter) tail(b []byte) {
	for len(b) > 0 {
		if len(s.buf) >= writeBytes {
			s.flush()
		}
		n := min(len(b), writeBytes-len(s.buf))
		s.buf, b = append(s.buf, b[:n]...), b[n:]
	}
}

// finish ends the share, which holds the hashes up to last.
func (s *shareWriter) finish(last uint64) (index.ShareRef, error) {
	if s.block != nil {
		s.endBlock()
	}
	s.endFilter(last)
	s.tail(s.filter)
	directory := make([]byte, 0, 9*len(s.first)+8*len(s.filters)+8)
	for _, o := range s.first {
		directory = binary.LittleEndian.AppendUint64(directory, o)
	}
	for _, o := range s.filters {
		directory = binary.LittleEndian.AppendUint64(directory, o)
	}
	directory = append(directory, s.shared...)
	// The file is whole blocks: zeros before the trailer fill up the last.
	fill := -(len(directory) + shareTrailer) & (BlockBytes - 1)
	r := &s.ref
	r.Last = last
	r.Bytes = s.off + int64(len(s.buf)+len(directory)+fill+shareTrailer)
	t := make([]byte, 0, shareTrailer)
	t = append(t, shareEnd...)
	t = binary.LittleEndian.AppendUint32(t, shareFormat)
	t = binary.LittleEndian.AppendUint32(t, 0)
	for _, n := range []uint64{uint64(r.Bytes), r.ID, r.First, r.Last, uint64(r.From), uint64(r.To)} {
		t = binary.LittleEndian.AppendUint64(t, n)
	}
	t = binary.LittleEndian.AppendUint32(t, uint32(len(s.first)))
	t = binary.LittleEndian.AppendUint32(t, uint32(len(s.filters)))
	for _, n := range []uint64{uint64(r.Triples), uint64(r.Live), xxh3.HashSeed(directory, s.seed)} {
		t = binary.LittleEndian.AppendUint64(t, n)
	}
	t = append(t, make([]byte, shareSum-len(t))...)
	t = binary.LittleEndian.AppendUint64(t, xxh3.Hash(t))
	s.tail(directory)
	s.tail(make([]byte, fill))
	s.tail(t)
	s.flush()
	if s.err != nil {
		return index.ShareRef{}, fmt.Errorf("cold: writing a share: %w", s.err)
	}
	return *r, nil
}
