package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The format is in the package comment.
const (
	shareFormat = 1
	shareMagic  = "HLOGSHR\x00"
	shareEnd    = "HLOGSHRE"

	shareHead      = 16
	shareTrailer   = 128
	shareSum       = 120 // in the trailer
	shareOwn       = 104
	shareBlock     = 4096
	shareBlockHead = 40
	shareSegment   = 16 // bytes: number of the segment, and the live bytes and those of tombstones there

	maxOrderWidth  = 8
	maxOffsetWidth = (word.AddressBits - 3 + 7) / 8
	maxKindWidth   = (word.SiteKindBits + 7) / 8

	// shareTail is how much of a share is read to open it: most often all but the blocks.
	shareTail = 16 << 10
	// shareAhead is how much of a share is read at a time by those who read all of it.
	shareAhead = 64 << 10
	fewBlocks  = 4 // that are read at a time by those who read many shares side by side
)

// ShareRef names a share file and says what it stands for: the newest record of each hash of a range, in a stretch of
// the log. First and Last are places of hashes in the order of all files.
type ShareRef struct {
	ID          uint64
	Bytes       int64        // length of the file
	First, Last uint64       // range of the hashes; the file may hold more
	From, To    word.Address // of the log; the file may have been written for more
	Level       int          // 0 is what came from the log; a merge makes one more than what goes into it
	Triples     int64        // in the range; an estimate when the file holds more
	Live        int64        // bytes of those of their records that are no tombstones
}

// SegmentBytes is what the records take that the triples of a share lead to, in one segment of log.
type SegmentBytes struct {
	Segment          uint32 // [Segment << shift, (Segment+1) << shift)
	Live, Tombstones int64  // bytes
}

// Share is a share file that is open for reading. Its methods are safe for concurrent use.
type Share struct {
	ref     ShareRef
	r       io.ReaderAt
	seed    uint64   // of the sums of blocks
	first   []uint64 // by block: its first order
	last    uint64   // of all
	triples int64    // in the file
	// tombstones is how many of them are of tombstones; 0 also if the file was written by a release that did not count them.
	tombstones int64
	own        bool  // Logged.Own is true of the records of all triples
	end        int64 // where the blocks end
	shift      uint  // of segments
	segments   []SegmentBytes
}

// shareSeed returns the seed for the sums of a share's blocks, which differ for each file.
func shareSeed(id, first uint64, from word.Address) uint64 {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 24), id)
	b = binary.LittleEndian.AppendUint64(b, first)
	return xxh3.Hash(binary.LittleEndian.AppendUint64(b, uint64(from)))
}

// OpenShare opens the share r that ref names. It reads what describes it and none of its blocks.
//
// Errors are *[CorruptError], [ErrFormat], and those of r.
func OpenShare(r io.ReaderAt, ref ShareRef) (*Share, error) {
	s := &Share{ref: ref, r: r}
	if err := s.open(); err != nil {
		return nil, ofShare(err, ref.ID)
	}
	return s, nil
}

func (s *Share) open() error {
	size := s.ref.Bytes
	if size < shareHead+shareTrailer {
		return &CorruptError{Reason: fmt.Sprintf("%d bytes are too few for a share", size)}
	}
	tail := make([]byte, min(size, shareTail))
	at := size - int64(len(tail))
	if err := readAt(s.r, tail, at); err != nil {
		return err
	}
	t := tail[len(tail)-shareTrailer:]
	if string(t[:8]) != shareEnd || binary.LittleEndian.Uint32(t[8:]) != shareFormat || mem.Load64(t[shareSum:]) != xxh3.Hash(t[:shareSum]) {
		return s.notShare()
	}
	blocks, segments := int64(binary.LittleEndian.Uint32(t[64:])), int64(binary.LittleEndian.Uint32(t[68:]))
	own := ShareRef{
		ID: mem.Load64(t[24:]), Bytes: int64(mem.Load64(t[16:])), First: mem.Load64(t[32:]), Last: mem.Load64(t[40:]),
		From: word.Address(mem.Load64(t[48:])), To: word.Address(mem.Load64(t[56:])), Triples: int64(mem.Load64(t[72:])),
	}
	directory := 8*blocks + shareSegment*segments
	s.end = size - shareTrailer - directory
	bad := ""
	switch {
	case own.Bytes != size || own.ID != s.ref.ID || own.From != s.ref.From || own.To < s.ref.To:
		bad = fmt.Sprintf("share %d of the log from %#x to %#x, %d bytes", own.ID, own.From, own.To, own.Bytes)
	case own.First > s.ref.First || own.Last < s.ref.Last || s.ref.First > s.ref.Last:
		bad = fmt.Sprintf("share of the hashes from %#x to %#x", own.First, own.Last)
	case s.end != shareHead+shareBlock*blocks || own.Triples < blocks:
		bad = fmt.Sprintf("%d triples in %d blocks and %d segments, %d bytes", own.Triples, blocks, segments, size)
	}
	if bad != "" {
		return &CorruptError{Offset: size - shareTrailer, Reason: bad}
	}
	if s.end < at {
		tail = make([]byte, size-s.end)
		if at = s.end; readAt(s.r, tail, at) != nil {
			return readAt(s.r, tail, at)
		}
	}
	s.seed, s.last, s.triples, s.tombstones = shareSeed(own.ID, own.First, own.From), own.Last, own.Triples, int64(mem.Load64(t[96:]))
	s.shift, s.own = uint(binary.LittleEndian.Uint32(t[12:])), t[shareOwn] == 1
	return s.directory(tail[s.end-at:][:directory], blocks, own, mem.Load64(t[88:]))
}

// notShare says why a file whose trailer is not one of a share cannot be opened.
func (s *Share) notShare() error {
	head := make([]byte, shareHead)
	if err := readAt(s.r, head, 0); err != nil {
		return err
	}
	if f := binary.LittleEndian.Uint32(head[8:]); string(head[:8]) == shareMagic && f > shareFormat {
		return fmt.Errorf("%w: share of format %d, known is %d", ErrFormat, f, shareFormat)
	}
	return &CorruptError{Offset: s.ref.Bytes - shareTrailer, Reason: "trailer of a share does not fit its checksum"}
}

// directory takes over what lies between blocks and trailer.
func (s *Share) directory(b []byte, blocks int64, own ShareRef, sum uint64) error {
	if xxh3.HashSeed(b, s.seed) != sum {
		return &CorruptError{Offset: s.end, Reason: "directory of a share does not fit its checksum"}
	}
	s.first = make([]uint64, blocks)
	for i := range s.first {
		s.first[i] = mem.Load64(b[8*i:])
		if s.first[i] < own.First || s.first[i] > own.Last || i > 0 && s.first[i] <= s.first[i-1] {
			return &CorruptError{Offset: s.end + int64(8*i), Reason: fmt.Sprintf("block %d begins at %#x", i, s.first[i])}
		}
	}
	b = b[8*blocks:]
	s.segments = make([]SegmentBytes, len(b)/shareSegment)
	for i := range s.segments {
		e := b[i*shareSegment:]
		s.segments[i] = SegmentBytes{
			Segment: binary.LittleEndian.Uint32(e), Live: int64(mem.Load64(e[4:]) & (1<<48 - 1)), Tombstones: int64(mem.Load64(e[8:]) >> 16),
		}
	}
	return nil
}

// Segments returns what the records take that the share's triples lead to, by segment of 2^shift bytes of log. It must
// not be changed.
func (s *Share) Segments() (segments []SegmentBytes, shift uint) { return s.segments, s.shift }

// blockAt returns where block n begins.
func blockAt(n int) int64 { return shareHead + shareBlock*int64(n) }

// within returns which blocks may hold orders between first and last: i..j-1.
func (s *Share) within(first, last uint64) (i, j int) {
	i = sort.Search(len(s.first), func(i int) bool { return s.first[i] > first })
	j = sort.Search(len(s.first), func(j int) bool { return s.first[j] > last })
	return max(i-1, 0), j
}

// decode appends to triples those of b, which is block n, that lie between first and last.
func (s *Share) decode(triples []Triple, b []byte, n int, first, last uint64) ([]Triple, error) {
	end := s.last
	if n+1 < len(s.first) {
		end = s.first[n+1] - 1
	}
	if mem.Load64(b[16:]) != s.first[n] && s.verifies(b, n) {
		return triples, ofShare(&CorruptError{Offset: blockAt(n), Reason: fmt.Sprintf("block begins at %#x", mem.Load64(b[16:]))}, s.ref.ID)
	}
	return s.decodeUpTo(triples, b, n, end, first, last)
}

// verifies reports whether b is block n.
func (s *Share) verifies(b []byte, n int) bool {
	return mem.Load64(b) == xxh3.HashSeed(b[8:], s.seed+uint64(n))
}

// decodeUpTo is decode for a block whose orders end at end at the latest; it needs no directory.
func (s *Share) decodeUpTo(triples []Triple, b []byte, n int, end, first, last uint64) ([]Triple, error) {
	fail := func(format string, args ...any) ([]Triple, error) {
		return triples, ofShare(&CorruptError{Offset: blockAt(n), Reason: fmt.Sprintf(format, args...)}, s.ref.ID)
	}
	if !s.verifies(b, n) {
		return fail("block of a share does not fit its checksum")
	}
	count := int(binary.LittleEndian.Uint16(b[8:]))
	wo, wa, wk := int(b[10]), int(b[11]), int(b[12])
	width := wo + wa + wk
	order, offset, kind := mem.Load64(b[16:]), mem.Load64(b[24:]), mem.Load64(b[32:])
	if count == 0 || wo > maxOrderWidth || wa > maxOffsetWidth || wk > maxKindWidth || shareBlockHead+count*width > len(b) {
		return fail("block of %d triples of %d, %d and %d bytes from %#x", count, wo, wa, wk, order)
	}
	// All triples but the last few are taken apart by loads of whole words, which may reach into what follows.
	var spill [maxOrderWidth + maxOffsetWidth + maxKindWidth + 8]byte
	p, prev := b[shareBlockHead:], uint64(0)
	mo, ma, mk := widthMask(wo), widthMask(wa), widthMask(wk)
	for i := range count {
		if len(p) < width+8 {
			copy(spill[:], p)
			p = spill[:]
		}
		o := order + mem.Load64(p)&mo
		site := word.JoinSite(offset+mem.Load64(p[wo:])&ma, kind+mem.Load64(p[wo+wa:])&mk)
		if p = p[width:]; i > 0 && o <= prev || o > end || o < order {
			return fail("triple %d has the order %#x after %#x", i, o, prev)
		}
		if a := site.Address(); !a.Valid() || a < s.ref.From || a >= s.ref.To {
			return fail("triple %d has the address %#x", i, a)
		}
		prev = o
		if o >= first && o <= last {
			triples = append(triples, Triple{o, site})
		}
	}
	return triples, nil
}

func widthMask(bytes int) uint64 {
	if bytes == 8 {
		return ^uint64(0)
	}
	return 1<<(8*bytes) - 1
}

// ofShare says of an error that it is of the share with an id.
func ofShare(err error, id uint64) error {
	var c *CorruptError
	if errors.As(err, &c) {
		return &CorruptError{Share: id, InShare: true, Offset: c.Offset, Reason: c.Reason}
	}
	return err
}

// read reads blocks i..j-1 into raw and appends those of their triples to triples that lie between first and last.
func (s *Share) read(triples []Triple, raw []byte, i, j int, first, last uint64) ([]Triple, error) {
	raw = raw[:(j-i)*shareBlock]
	if err := readAt(s.r, raw, blockAt(i)); err != nil {
		return triples, ofShare(err, s.ref.ID)
	}
	for n := i; n < j; n++ {
		var err error
		if triples, err = s.decode(triples, raw[(n-i)*shareBlock:][:shareBlock], n, first, last); err != nil {
			return triples, err
		}
	}
	return triples, nil
}
