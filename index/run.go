package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The format is in the package comment.
const (
	runFormat = 1
	runMagic  = "HLOGRUN\x00"

	runEntryBytes = 12 // order of the hash, and the address less that of the run in units of 8

	partEntries = 256 // in a part, about
	maxPartBits = 40
	partRef     = 16 // bytes: entries up to the part's end, and its checksum

	// pieceParts is how many parts a piece of the directory describes. It is read and verified as a whole.
	pieceParts = 128
	pieceExtra = 16 // bytes: entries before the first part, and the piece's checksum

	// MaxRunSpan is how far above its beginning the addresses of a run may lie.
	MaxRunSpan = 1 << 35
)

// Record is what a replay is told of one record of the log.
type Record struct {
	Hash    uint64
	Address word.Address
}

// order maps a hash to its place in a run (I12): the bits that name a block of an image, lowest first, then the others.
// So the hashes of a block are neighbours, of however many buckets the image is.
func order(h uint64) uint64 { return bits.Reverse64(bits.RotateLeft64(h, -blockBits)) }

// unorder undoes order.
func unorder(o uint64) uint64 { return bits.RotateLeft64(bits.Reverse64(o), blockBits) }

// blockRange returns the first and the last place of the hashes of an image's block; the image has 2^k buckets.
func blockRange(block uint64, k uint) (first, last uint64) {
	named := k - min(k, blockBits) // bits that name a block
	first = bits.Reverse64(block)
	return first, first | (1<<(64-named) - 1) // all of them if no bit does
}

// Run is a run that is open for reading. Its methods are safe for concurrent use.
type Run struct {
	From, To word.Address // the stretch of log that it stands for
	Entries  int64
	r        io.ReaderAt
	partBits uint
	sum      uint64 // of the header; everything below depends on it

	// What was read last is likely to be asked for next when blocks are loaded in the order of runs.
	lastPiece atomic.Pointer[runPiece]
	lastPart  atomic.Pointer[runPart]
}

// runPiece is a verified piece of a directory.
type runPiece struct {
	number uint64
	b      []byte
}

// runPart is the verified entries of a part.
type runPart struct {
	number uint64
	b      []byte
}

// layout of a file with 2^partBits parts.
func runParts(partBits uint) uint64  { return 1 << partBits }
func piecesOf(partBits uint) uint64  { return (runParts(partBits) + pieceParts - 1) / pieceParts }
func inPiece(partBits uint) uint64   { return min(runParts(partBits), pieceParts) }
func pieceBytes(partBits uint) int64 { return int64(pieceExtra + partRef*inPiece(partBits)) }
func entriesAt(partBits uint) int64 {
	return headerBytes + int64(piecesOf(partBits))*pieceBytes(partBits)
}
func (r *Run) pieceAt(n uint64) int64 { return headerBytes + int64(n)*pieceBytes(r.partBits) }
func (r *Run) entryAt(n uint64) int64 { return entriesAt(r.partBits) + int64(n)*runEntryBytes }
func (r *Run) partOf(o uint64) uint64 { return o >> (64 - r.partBits) } // a shift by 64 gives 0

// pieceSum returns the checksum of piece n, which differs for each place in each run.
func pieceSum(b []byte, header, n uint64) uint64 { return xxh3.HashSeed(b, header+n) }

// OpenRun opens the run r of size bytes. It reads the header and nothing else. r is used until the index that it is
// opened with has loaded all blocks or is closed.
//
// Errors are *[CorruptError], [ErrFormat], and those of r.
func OpenRun(r io.ReaderAt, size int64) (*Run, error) {
	if size < headerBytes {
		return nil, &CorruptError{Offset: 0, Reason: fmt.Sprintf("%d bytes are too few for a run", size)}
	}
	b := make([]byte, headerBytes)
	if err := readAt(r, b, 0); err != nil {
		return nil, err
	}
	if string(b[:8]) != runMagic {
		return nil, &CorruptError{Offset: 0, Reason: "not a run"}
	}
	if f := binary.LittleEndian.Uint32(b[8:]); f > runFormat {
		return nil, fmt.Errorf("%w: run of format %d, known is %d", ErrFormat, f, runFormat)
	}
	if mem.Load64(b[sumOffset:]) != xxh3.Hash(b[:sumOffset]) || binary.LittleEndian.Uint32(b[8:]) != runFormat {
		return nil, &CorruptError{Offset: 0, Reason: "header does not fit its checksum"}
	}
	run := &Run{
		From: word.Address(mem.Load64(b[16:])), To: word.Address(mem.Load64(b[24:])), Entries: int64(mem.Load64(b[32:])),
		r: r, partBits: uint(binary.LittleEndian.Uint32(b[12:])), sum: mem.Load64(b[sumOffset:]),
	}
	switch {
	case run.partBits > maxPartBits || entriesAt(run.partBits) > size:
		return nil, &CorruptError{Offset: 12, Reason: fmt.Sprintf("2^%d parts in %d bytes", run.partBits, size)}
	case run.From > run.To || run.To > word.MaxAddress:
		return nil, &CorruptError{Offset: 16, Reason: fmt.Sprintf("log from %d to %d", run.From, run.To)}
	case run.Entries < 0 || run.Entries != (size-entriesAt(run.partBits))/runEntryBytes ||
		run.entryAt(uint64(run.Entries)) != size || int64(mem.Load64(b[40:])) != size:
		return nil, &CorruptError{Offset: 32, Reason: fmt.Sprintf("%d entries, %d bytes, but there are %d bytes", run.Entries, mem.Load64(b[40:]), size)}
	}
	return run, nil
}

// piece returns piece n of the directory.
func (r *Run) piece(n uint64) (*runPiece, error) {
	if p := r.lastPiece.Load(); p != nil && p.number == n {
		return p, nil
	}
	b := make([]byte, pieceBytes(r.partBits))
	at := r.pieceAt(n)
	if err := readAt(r.r, b, at); err != nil {
		return nil, err
	}
	body := len(b) - mem.WordBytes
	if mem.Load64(b[body:]) != pieceSum(b[:body], r.sum, n) {
		return nil, &CorruptError{Offset: at, Reason: "piece of the directory does not fit its checksum"}
	}
	p := &runPiece{n, b}
	end := mem.Load64(b)
	if n == 0 && end != 0 {
		return nil, &CorruptError{Offset: at, Reason: "entries of no part"}
	}
	for i := range inPiece(r.partBits) {
		next := p.end(i)
		if next < end || next > uint64(r.Entries) {
			return nil, &CorruptError{Offset: at, Reason: fmt.Sprintf("part %d ends at entry %d", n*pieceParts+i, next)}
		}
		end = next
	}
	r.lastPiece.Store(p)
	return p, nil
}

// start, end and sum tell of the i-th part of a piece: which entries it holds, and what they must hash to.
func (p *runPiece) end(i uint64) uint64 { return mem.Load64(p.b[8+i*partRef:]) }
func (p *runPiece) sum(i uint64) uint64 { return mem.Load64(p.b[16+i*partRef:]) }
func (p *runPiece) start(i uint64) uint64 {
	if i == 0 {
		return mem.Load64(p.b)
	}
	return p.end(i - 1)
}

// part returns the entries of part n, as they are in the file.
func (r *Run) part(n uint64) ([]byte, error) {
	if p := r.lastPart.Load(); p != nil && p.number == n {
		return p.b, nil
	}
	p, err := r.piece(n / pieceParts)
	if err != nil {
		return nil, err
	}
	i := n % pieceParts
	start, end := p.start(i), p.end(i)
	b := make([]byte, (end-start)*runEntryBytes)
	if len(b) > 0 {
		if err := readAt(r.r, b, r.entryAt(start)); err != nil {
			return nil, err
		}
	}
	if err := r.verify(n, b, start, p.sum(i)); err != nil {
		return nil, err
	}
	r.lastPart.Store(&runPart{n, b})
	return b, nil
}

// verify returns what is wrong with b, the bytes of part n, whose first entry is number start.
func (r *Run) verify(n uint64, b []byte, start, sum uint64) error {
	if xxh3.Hash(b) != sum {
		return &CorruptError{Offset: r.entryAt(start), Reason: "entries of a run do not fit their checksum"}
	}
	last := uint64(0)
	for i := 0; i < len(b); i += runEntryBytes {
		o, a := r.entry(b[i:])
		if r.partOf(o) != n || i > 0 && o <= last || a == word.None || !a.Valid() || a < r.From || a >= r.To {
			return &CorruptError{Offset: r.entryAt(start) + int64(i), Reason: fmt.Sprintf("entry %#x, %#x of a run", o, a)}
		}
		last = o
	}
	return nil
}

// entry takes the entry apart that b begins with.
func (r *Run) entry(b []byte) (o uint64, a word.Address) {
	return mem.Load64(b), r.From + word.Address(binary.LittleEndian.Uint32(b[8:]))*mem.WordBytes
}

// each calls fn for every entry between the places first and last.
func (r *Run) each(first, last uint64, fn func(h uint64, a word.Address) error) error {
	for n := r.partOf(first); n <= r.partOf(last); n++ {
		b, err := r.part(n)
		if err != nil {
			return err
		}
		for ; len(b) > 0; b = b[runEntryBytes:] {
			o, a := r.entry(b)
			if o < first {
				continue
			}
			if o > last {
				return nil
			}
			if err := fn(unorder(o), a); err != nil {
				return err
			}
		}
	}
	return nil
}

// ofRun says of an error that it is of the n-th run, counted from 1.
func ofRun(err error, n int) error {
	var c *CorruptError
	if errors.As(err, &c) {
		return &CorruptError{Run: n, Offset: c.Offset, Reason: c.Reason}
	}
	return err
}

// replayRuns replays the records of block b that the image's runs hold. Nobody else uses the block yet.
func (x *Index) replayRuns(t *table, im *image, b uint64) error {
	first, last := blockRange(b, im.bits)
	for i, r := range im.runs {
		err := r.each(first, last, func(h uint64, a word.Address) error {
			if a < im.drop {
				return nil
			}
			return x.raise(t, h, a)
		})
		if err != nil {
			return ofRun(err, i+1)
		}
	}
	return nil
}
