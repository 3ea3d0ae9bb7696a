package cold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// shareEndBytes is how much of a share is read to open it: most often all but blocks and filter.
const shareEndBytes = 32 << 10

// farEndBytes is how much of a share that was only named may be read at a time: as much as filter and directory take in the
// longest of the smallest records, so that it takes one request to know whether a key may be in it.
const farEndBytes = 640 << 10

// ErrFormat reports a cold file of a newer format.
var ErrFormat = errors.New("cold: unknown format")

// CorruptError says where a cold file is damaged.
type CorruptError struct {
	Share  uint64 // id
	Offset int64  // in the file
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("cold: share %d: at %d: %s", e.Share, e.Offset, e.Reason)
}

// Share is a share file that is open for reading. Its methods are safe for concurrent use.
type Share struct {
	ref     index.ShareRef // as its version names it: a part of what the file stands for, or all
	r       io.ReaderAt
	seed    uint64
	first   []uint64 // by block: see shareWriter
	shared  []byte
	filters []uint64        // by block of filter: its first order
	slots   []atomic.Uint32 // by block of filter: where [Filters] has it, and 0 nowhere
	last    uint64          // of all orders
	records int64           // in the file

	opening chan struct{} // holds a token while somebody opens a share that was only named; nil: it was opened at once
	opened  atomic.Bool   // of a share that was only named

	forgotten bool // of Filters.mu: nothing is kept of its filter any more
}

// OpenShare opens the share r that ref names. It reads what describes it, and neither records nor filters.
//
// Errors are *[CorruptError], [ErrFormat], and those of r.
func OpenShare(r io.ReaderAt, ref index.ShareRef) (*Share, error) {
	s := &Share{ref: ref, r: r}
	if err := s.open(&ending{}); err != nil {
		return nil, err
	}
	return s, nil
}

// NameShare returns the share r that ref names, and reads nothing of it: who uses it opens it before. The methods of a Tier
// say which of them ask for that.
func NameShare(r io.ReaderAt, ref index.ShareRef) *Share {
	return &Share{ref: ref, r: r, opening: make(chan struct{}, 1)}
}

// Open opens a share that was only named, once, whoever asks; after an error the next call tries again. The errors are those
// of OpenShare.
func (s *Share) Open() error {
	_, err := s.openNamed()
	return err
}

// ending is what was read of a share from at on, to open it; empty when it was open already.
type ending struct {
	b  []byte
	at int64
}

// openNamed is Open that returns what it has read.
func (s *Share) openNamed() (e ending, err error) {
	if s.isOpen() {
		return e, nil
	}
	s.opening <- struct{}{}
	defer func() { <-s.opening }()
	if s.isOpen() {
		return e, nil
	}
	if err = s.open(&e); err == nil {
		s.opened.Store(true)
	}
	return e, err
}

func (s *Share) isOpen() bool { return s.opening == nil || s.opened.Load() }

// openAtATime is how many shares are opened, or read, side by side.
const openAtATime = 64

// OpenAll opens shares that were only named, many at a time, and returns the first error in their order.
func OpenAll(shares []*Share) error {
	return together(len(shares), func(i int) error { return shares[i].Open() })
}

// together calls do for 0 to n-1, many at a time, and returns the first error in their order.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	places := make(chan struct{}, openAtATime)
	var all sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		all.Go(func() {
			errs[i] = do(i)
			<-places
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Ref returns what the share stands for.
func (s *Share) Ref() index.ShareRef { return s.ref }

func (s *Share) corrupt(off int64, format string, args ...any) error {
	return &CorruptError{s.ref.ID, off, fmt.Sprintf(format, args...)}
}

// endBytes returns how much of the share is read to open it. One that was only named may lie far away: there, what a filter of
// moderate size takes is better read with the directory than asked for afterwards.
func (s *Share) endBytes() int64 {
	n := int64(shareEndBytes)
	if s.opening != nil {
		filter := (s.ref.Triples/filterOrders + 2) * BlockBytes
		if all := filter + s.ref.Bytes/BlockBytes*9 + 2*BlockBytes; all <= farEndBytes {
			n = max(n, (all+BlockBytes-1)/BlockBytes*BlockBytes)
		}
	}
	return n
}

func (s *Share) open(e *ending) error {
	size := s.ref.Bytes
	if size < 2*BlockBytes || size%BlockBytes != 0 {
		return s.corrupt(0, "%d bytes are no share", size)
	}
	e.b = mem.AlignedBytes(int(min(size, s.endBytes())), BlockBytes)
	e.at = size - int64(len(e.b))
	if err := s.readAt(e.b, e.at); err != nil {
		return err
	}
	t := e.b[len(e.b)-shareTrailer:]
	if string(t[:8]) != shareEnd || binary.LittleEndian.Uint32(t[8:]) != shareFormat || mem.Load64(t[shareSum:]) != xxh3.Hash(t[:shareSum]) {
		return s.notShare()
	}
	blocks, filters := int64(binary.LittleEndian.Uint32(t[64:])), int64(binary.LittleEndian.Uint32(t[68:]))
	own := index.ShareRef{
		ID: mem.Load64(t[24:]), Bytes: int64(mem.Load64(t[16:])), First: mem.Load64(t[32:]), Last: mem.Load64(t[40:]),
		From: word.Address(mem.Load64(t[48:])), To: word.Address(mem.Load64(t[56:])), Triples: int64(mem.Load64(t[72:])),
	}
	directory := 8*(blocks+filters) + (blocks+7)/8
	from := BlockBytes * (1 + blocks + filters)
	switch {
	case own.Bytes != size || own.ID != s.ref.ID || own.From != s.ref.From || own.To < s.ref.To:
		return s.corrupt(size-shareTrailer, "share %d of the log from %#x to %#x, %d bytes", own.ID, own.From, own.To, own.Bytes)
	case own.First > s.ref.First || own.Last < s.ref.Last || s.ref.First > s.ref.Last:
		return s.corrupt(size-shareTrailer, "share of the hashes from %#x to %#x", own.First, own.Last)
	case (from+directory+shareTrailer+BlockBytes-1)/BlockBytes*BlockBytes != size || own.Triples < 0 || (own.Triples == 0) != (blocks == 0) || (blocks == 0) != (filters == 0):
		return s.corrupt(size-shareTrailer, "%d records in %d blocks, with %d of filter, %d bytes", own.Triples, blocks, filters, size)
	}
	if from < e.at {
		e.b, e.at = mem.AlignedBytes(int(size-from), BlockBytes), from
		if err := s.readAt(e.b, from); err != nil {
			return err
		}
	}
	for i, b := range e.b[from-e.at+directory : int64(len(e.b))-shareTrailer] {
		if b != 0 {
			return s.corrupt(from+directory+int64(i), "a byte between directory and trailer is %#x", b)
		}
	}
	s.seed, s.last, s.records = shareSeed(own.ID, own.First, own.From), own.Last, own.Triples
	return s.directory(e.b[from-e.at:][:directory], int(blocks), int(filters), own, mem.Load64(t[88:]))
}

// notShare says why a file whose trailer is not one of a share cannot be opened.
func (s *Share) notShare() error {
	head := mem.AlignedBytes(BlockBytes, BlockBytes)
	if err := s.readAt(head, 0); err != nil {
		return err
	}
	if f := binary.LittleEndian.Uint32(head[8:]); string(head[:8]) == shareMagic && f > shareFormat {
		return fmt.Errorf("%w: cold share of format %d, known is %d", ErrFormat, f, shareFormat)
	}
	return s.corrupt(s.ref.Bytes-shareTrailer, "trailer of a share does not fit its checksum")
}

// directory takes over what lies between filter and trailer.
func (s *Share) directory(b []byte, blocks, filters int, own index.ShareRef, sum uint64) error {
	at := int64(BlockBytes) * int64(1+blocks+filters)
	if xxh3.HashSeed(b, s.seed) != sum {
		return s.corrupt(at, "directory of a share does not fit its checksum")
	}
	s.first, s.filters, s.slots = make([]uint64, blocks), make([]uint64, filters), make([]atomic.Uint32, filters)
	s.shared = append([]byte(nil), b[8*(blocks+filters):]...)
	for i := range s.first {
		s.first[i] = mem.Load64(b[8*i:])
		if s.first[i] < own.First || s.first[i] > own.Last || i > 0 && s.first[i] < s.first[i-1] {
			return s.corrupt(at+int64(8*i), "block %d begins at %#x", i, s.first[i])
		}
	}
	for i := range s.filters {
		s.filters[i] = mem.Load64(b[8*(blocks+i):])
		if s.filters[i] < own.First || s.filters[i] > own.Last || i > 0 && s.filters[i] <= s.filters[i-1] {
			return s.corrupt(at+int64(8*(blocks+i)), "block %d of the filter begins at %#x", i, s.filters[i])
		}
	}
	return nil
}

// readAt fills b from the file.
func (s *Share) readAt(b []byte, off int64) error {
	n, err := s.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return s.corrupt(off+int64(n), "file ends after %d of %d bytes", off+int64(n), s.ref.Bytes)
	}
	return err
}

// MemoryBytes returns what the open share takes of the heap.
func (s *Share) MemoryBytes() int64 {
	if !s.isOpen() {
		return 256
	}
	return int64(8*len(s.first)+len(s.shared)+12*len(s.filters)) + 256
}

// blockAt returns where block n of the records begins.
func blockAt(n int) int64 { return BlockBytes * int64(1+n) }

// filterAt returns where block n of the filter begins.
func (s *Share) filterAt(n int) int64 { return BlockBytes * int64(1+len(s.first)+n) }

// Extent is a piece of a share: whole blocks.
type Extent struct {
	Off int64
	N   int // bytes
}

// sharedOrder reports whether a block before n has a record of the order that is the first of n.
func (s *Share) sharedOrder(n int) bool { return s.shared[n/8]>>(n%8)&1 != 0 }

// Seek returns which blocks the records of an order begin in; none if N is 0. The last of them may go on in what follows,
// which [Share.Find] tells.
func (s *Share) Seek(order uint64) Extent {
	if order < s.ref.First || order > s.ref.Last {
		return Extent{}
	}
	end := sort.Search(len(s.first), func(i int) bool { return s.first[i] > order })
	if end == 0 {
		return Extent{}
	}
	i := end - 1
	for i > 0 && s.first[i] == order && s.sharedOrder(i) {
		i--
	}
	return Extent{blockAt(i), (end - i) * BlockBytes}
}

// checkBlock returns an error unless b is block n.
func (s *Share) checkBlock(b []byte, n int) (count, begin, end int, err error) {
	if mem.Load64(b) != xxh3.HashSeed(b[8:BlockBytes], s.seed+uint64(n)) {
		return 0, 0, 0, s.corrupt(blockAt(n), "block of a share does not fit its checksum")
	}
	count, begin, end = int(binary.LittleEndian.Uint16(b[blockCountAt:])), int(binary.LittleEndian.Uint16(b[blockBeginAt:])), int(binary.LittleEndian.Uint16(b[blockEndAt:]))
	if begin == 0 && count == 0 {
		begin = end
	}
	if begin < blockHead || begin > end || end > BlockBytes || count > end-begin {
		return 0, 0, 0, s.corrupt(blockAt(n), "%d records from %d to %d", count, begin, end)
	}
	return count, begin, end, nil
}
