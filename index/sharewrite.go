package index

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// shareBuffer is how many bytes of a share are written at a time.
	shareBuffer = 64 << 10
	// maxBlockTriples bounds the triples of a block, which are collected before they are written.
	maxBlockTriples = shareBlock - shareBlockHead
)

// shareWriter writes the triples of a share as they come, and what describes them at the end.
type shareWriter struct {
	w     io.WriterAt
	ref   ShareRef
	shift uint
	own   bool // Logged.Own is true of the records of all triples
	seed  uint64
	err   error // of w

	block []Triple // that the next block will hold
	// The block has room for so many triples as long as orders stay up to maxOrder, and offsets and kinds within their
	// bounds.
	room            int
	maxOrder        uint64
	offsets, kinds  bounds
	widths          [3]int // of orders, offsets, kinds; in bytes
	buf             []byte // blocks that are not written yet
	off             int64  // of buf in the file
	directory       []byte // first orders of the blocks in the file
	live            []SegmentBytes
	firstSegment    uint64 // of live
	triples, blocks int64
	tombstones      int64 // of triples
	liveBytes       int64
}

// bounds are the least and the greatest of some numbers, and how far they may go before they need another width.
type bounds struct {
	low, high uint64
	span      uint64 // high - low may be as much
}

// newShareWriter begins a share of the hashes from first on, of the log [from, to), into the empty file w. Records are
// counted by segments of 2^shift bytes of log.
func newShareWriter(w io.WriterAt, id, first uint64, from, to word.Address, shift uint) *shareWriter {
	s := &shareWriter{
		w: w, ref: ShareRef{ID: id, First: first, From: from, To: to}, shift: shift, seed: shareSeed(id, first, from),
		block: make([]Triple, 0, 512), buf: make([]byte, 0, shareBuffer+2*shareBlock),
	}
	s.buf = append(s.buf, shareMagic...)
	s.buf = binary.LittleEndian.AppendUint32(s.buf, shareFormat)
	s.buf = binary.LittleEndian.AppendUint32(s.buf, 0)
	return s
}

// bytes returns about how long the share would be if it ended now.
func (s *shareWriter) bytes() int64 {
	return s.off + int64(len(s.buf)) + 8*s.blocks + shareBlock + int64(len(s.live))*shareSegment + shareTrailer
}

// add adds the next triple in order. An error of the file is told at the end.
func (s *shareWriter) add(t Triple) {
	offset, kind := t.site.Offset(), t.site.Kind()
	if len(s.block) == 0 {
		s.begin(t)
	} else {
		offsets, kinds := s.offsets.with(offset), s.kinds.with(kind)
		if t.order > s.maxOrder || offsets.over() || kinds.over() {
			s.widen(t.order, offsets, kinds)
		} else {
			s.offsets, s.kinds = offsets, kinds
		}
		if len(s.block) >= s.room {
			s.endBlock()
			s.begin(t)
		}
	}
	s.block = append(s.block, t)
	s.count(t)
}

// begin makes t, the first triple of a block, its bounds.
func (s *shareWriter) begin(t Triple) {
	s.widths = [3]int{}
	s.maxOrder = t.order
	s.offsets = bounds{t.site.Offset(), t.site.Offset(), 0}
	s.kinds = bounds{t.site.Kind(), t.site.Kind(), 0}
	s.room = maxBlockTriples
}

func (b bounds) with(n uint64) bounds { return bounds{min(b.low, n), max(b.high, n), b.span} }
func (b bounds) over() bool           { return b.high-b.low > b.span }

// widen makes the fields of the block as wide as the bounds ask for, unless the triples that are there, and one more,
// would not fit into it any more: then the block is full.
func (s *shareWriter) widen(order uint64, offsets, kinds bounds) {
	widths := [3]int{byteWidth(order - s.block[0].order), byteWidth(offsets.high - offsets.low), byteWidth(kinds.high - kinds.low)}
	for i := range widths {
		widths[i] = max(widths[i], s.widths[i])
	}
	room := maxBlockTriples / (widths[0] + widths[1] + widths[2])
	if room <= len(s.block) {
		s.room = 0
		return
	}
	s.room, s.widths = room, widths
	s.maxOrder = s.block[0].order + min(widthMask(widths[0]), ^uint64(0)-s.block[0].order)
	s.offsets, s.kinds = offsets, kinds
	s.offsets.span, s.kinds.span = widthMask(widths[1]), widthMask(widths[2])
}

func byteWidth(n uint64) int { return (bits.Len64(n) + 7) / 8 }

// count adds the record of t to what its segment holds.
func (s *shareWriter) count(t Triple) {
	s.triples++
	n := uint64(t.site.Address()) >> s.shift
	if len(s.live) == 0 {
		s.firstSegment, s.live = n, append(s.live, SegmentBytes{Segment: uint32(n)})
	}
	for n < s.firstSegment {
		more := s.firstSegment - n
		s.live = append(make([]SegmentBytes, more, more+uint64(len(s.live))), s.live...)
		s.firstSegment = n
	}
	for n >= s.firstSegment+uint64(len(s.live)) {
		s.live = append(s.live, SegmentBytes{})
	}
	if at := &s.live[n-s.firstSegment]; t.site.Tombstone() {
		at.Tombstones += t.Size()
		s.tombstones++
	} else {
		at.Live += t.Size()
		s.liveBytes += t.Size()
	}
}

// endBlock writes the block that is being made, if there is one.
func (s *shareWriter) endBlock() {
	if len(s.block) == 0 {
		return
	}
	first := s.block[0].order
	at := len(s.buf)
	s.buf = append(s.buf, make([]byte, shareBlock+8)...) // 8 more, since the last fields are written as whole words
	b := s.buf[at:]
	binary.LittleEndian.PutUint16(b[8:], uint16(len(s.block)))
	b[10], b[11], b[12] = byte(s.widths[0]), byte(s.widths[1]), byte(s.widths[2])
	binary.LittleEndian.PutUint64(b[16:], first)
	binary.LittleEndian.PutUint64(b[24:], s.offsets.low)
	binary.LittleEndian.PutUint64(b[32:], s.kinds.low)
	wo, wa, wk := s.widths[0], s.widths[1], s.widths[2]
	p := shareBlockHead
	for _, t := range s.block {
		binary.LittleEndian.PutUint64(b[p:], t.order-first)
		binary.LittleEndian.PutUint64(b[p+wo:], t.site.Offset()-s.offsets.low)
		binary.LittleEndian.PutUint64(b[p+wo+wa:], t.site.Kind()-s.kinds.low)
		p += wo + wa + wk
	}
	clear(b[p:])
	s.buf = s.buf[:at+shareBlock]
	binary.LittleEndian.PutUint64(b, xxh3.HashSeed(b[8:shareBlock], s.seed+uint64(s.blocks)))
	s.directory = binary.LittleEndian.AppendUint64(s.directory, first)
	s.blocks++
	s.block = s.block[:0]
	if len(s.buf) >= shareBuffer {
		s.flush()
	}
}

// flush writes buf.
func (s *shareWriter) flush() {
	if s.err == nil {
		_, s.err = s.w.WriteAt(s.buf, s.off)
	}
	s.off += int64(len(s.buf))
	s.buf = s.buf[:0]
}

// finish ends the share, which holds the hashes up to last.
func (s *shareWriter) finish(last uint64) (Written, error) {
	s.endBlock()
	at := len(s.buf)
	s.buf = append(s.buf, s.directory...)
	segments := s.live[:0]
	for i, g := range s.live {
		if g.Segment = uint32(s.firstSegment + uint64(i)); g.Live > 0 || g.Tombstones > 0 {
			segments = append(segments, g)
			s.buf = binary.LittleEndian.AppendUint32(s.buf, g.Segment)
			s.buf = binary.LittleEndian.AppendUint64(s.buf, uint64(g.Live)|uint64(g.Tombstones)<<48)
			s.buf = binary.LittleEndian.AppendUint32(s.buf, uint32(g.Tombstones>>16))
		}
	}
	sum := xxh3.HashSeed(s.buf[at:], s.seed)
	r := &s.ref
	r.Last, r.Triples, r.Live = last, s.triples, s.liveBytes
	r.Bytes = s.off + int64(len(s.buf)) + shareTrailer
	at = len(s.buf)
	s.buf = append(s.buf, shareEnd...)
	s.buf = binary.LittleEndian.AppendUint32(s.buf, shareFormat)
	s.buf = binary.LittleEndian.AppendUint32(s.buf, uint32(s.shift))
	for _, n := range []uint64{uint64(r.Bytes), r.ID, r.First, r.Last, uint64(r.From), uint64(r.To)} {
		s.buf = binary.LittleEndian.AppendUint64(s.buf, n)
	}
	s.buf = binary.LittleEndian.AppendUint32(s.buf, uint32(s.blocks))
	s.buf = binary.LittleEndian.AppendUint32(s.buf, uint32(len(segments)))
	for _, n := range []uint64{uint64(r.Triples), uint64(r.Live), sum, uint64(s.tombstones)} {
		s.buf = binary.LittleEndian.AppendUint64(s.buf, n)
	}
	if s.own {
		s.buf = append(s.buf, 1)
	}
	s.buf = append(s.buf, make([]byte, at+shareSum-len(s.buf))...)
	s.buf = binary.LittleEndian.AppendUint64(s.buf, xxh3.Hash(s.buf[at:]))
	s.flush()
	if s.err != nil {
		return Written{}, fmt.Errorf("index: writing a share: %w", s.err)
	}
	return Written{*r, segments, s.shift, s.tombstones, s.own}, nil
}
