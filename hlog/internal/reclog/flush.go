package reclog

import (
	"fmt"
	"slices"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// FlushPieces is how many pieces of log, of a page at most, are on their way to the disk at a time: while they travel the
// next is checksummed. A checkpoint beside operations must not keep a processor while it waits for the disk, as ReadAhead
// does not. Small pieces may be more, maxPieces at the most, as many as there is room for in huge pages that four would not fill.
const (
	FlushPieces = 4
	maxPieces   = 16
)

// A piece is written in parts, each as soon as its records have their checksums: about an eighth of the piece, but not less
// than leastPart. So the disk has something to do while the first page of a checkpoint, often the only one, is being
// checksummed. The kernel has the parts of two pieces at a time. With fewer the disk would have nothing to do before the flusher
// has checksummed the next piece and looks what has ended; with more the reads of operations would wait behind them.
const (
	leastPart  = 64 << 10
	pieceParts = 8
	flushDepth = 2 * pieceParts
)

// flusher writes pieces of the log (D4). It belongs to flushMu.
type flusher struct {
	queue     *fsx.Queue
	leastPart int // smaller in tests
	buffers   buffers
	pieces    [maxPieces]piece // of which the first ring are a ring: the oldest on its way, and those behind it
	ring      int
	oldest    int
	under     int // on their way, or ended and not yet counted
	done      []*fsx.Request
	one       []*fsx.Request // for Submit
	teller    teller         // without a sink, it tells nobody
	tally     tally
}

// piece is a stretch of log that is being written, from a copy.
type piece struct {
	from, to uint64
	seg      *segment
	buf      []byte
	parts    []fsx.Request // of what was given to the queue, which is the beginning of the piece
	given    int           // bytes
	under    int           // parts on their way
	err      error         // the first that a part has failed with
}

// flush writes the log up to target, which lies at or below safeReadOnly and on a page or block boundary. The caller
// holds flushMu.
func (l *Log) flush(target uint64) error {
	f := &l.flusher
	from := l.durability.Written()
	if f.teller.sink != nil && from < target {
		f.teller.begin(from)
	}
	f.fit(l.hooks.Pieces, target-from, l.pageBytes)
	var failed error
	for a := from; a < target && failed == nil; {
		if f.under == f.ring {
			failed = l.endPiece()
			continue
		}
		to := min(target, l.pageEnd(a))
		if f.under == 0 && to == target && to-a <= uint64(f.leastPart) {
			failed = l.writePiece(a, to) // nothing to do meanwhile
		} else {
			failed = l.beginPiece(a, to, target)
		}
		a = to
	}
	for f.under > 0 {
		if err := l.endPiece(); failed == nil {
			failed = err
		}
	}
	if failed != nil {
		return fmt.Errorf("hlog: flush of log [%#x, %#x): %w", from, target, failed)
	}
	return nil
}

// fit makes the ring as large as it may be for a flush of so many bytes, and lets go of the buffers of other pieces. None is on
// its way.
func (f *flusher) fit(pieces func() (n int, huge bool), bytes, page uint64) {
	n, huge := FlushPieces, false
	if pieces != nil {
		n, huge = pieces()
		n = min(max(n, 1), FlushPieces)
	}
	if huge = huge && (bytes >= hugeFlush || f.buffers.huge != nil); huge {
		n = int(min(uint64(BufferBytes(n, int64(page), true))/page, maxPieces))
	}
	if n != f.ring {
		f.ring, f.oldest = n, 0
	}
	f.buffers.fit(n, page, huge)
}

// beginPiece begins to write [from, to) of one page, of a flush to target. One of the pieces is free.
func (l *Log) beginPiece(from, to, target uint64) error {
	f := &l.flusher
	i := (f.oldest + f.under) % f.ring
	p := &f.pieces[i]
	p.buf = l.copyPiece(i, from, to)
	buf := p.buf
	// Room is made for all that is to come: a file that is being written would have to be waited for.
	size := l.segments.size
	var err error
	if p.seg, err = l.segments.forWrite(from, min(target-from, size-from%size), l.durability.making); err != nil {
		return err
	}
	p.from, p.to, p.parts, p.given, p.under, p.err = from, to, p.parts[:0], 0, 0, nil
	part := partBytes(len(buf), f.leastPart)
	p.parts = slices.Grow(p.parts, pieceParts) // the queue refers to them
	f.under++
	err = l.sumPiece(buf, from, part, func(n int) (next int) {
		l.givePart(p, n/BlockBytes*BlockBytes)
		return p.given + part
	})
	if err == nil && p.given < len(buf) {
		l.givePart(p, len(buf))
	}
	return err // what was given to the queue is waited for all the same
}

// partBytes returns how long the parts of a piece of n bytes are, in whole blocks: all but the last, and least or more.
func partBytes(n, least int) int {
	return max((n/BlockBytes+pieceParts-1)/pieceParts*BlockBytes, least)
}

// givePart gives the bytes of p up to n, which do not change any more, to the queue.
func (l *Log) givePart(p *piece, n int) {
	f := &l.flusher
	p.parts = append(p.parts, fsx.Request{
		File: p.seg.file, P: p.buf[p.given:n], Off: int64(p.from%l.segments.size) + int64(p.given), Write: true, Owner: p,
	})
	p.given = n
	p.under++
	if invariant.Enabled {
		invariant.Check(len(p.parts) <= pieceParts, "%d parts of a piece, where there is room for %d", len(p.parts), pieceParts)
	}
	f.one = append(f.one[:0], &p.parts[len(p.parts)-1])
	f.queue.Submit(f.one)
}

// endPiece waits until the oldest piece is written, and counts it as flushed, unless one before it has failed.
func (l *Log) endPiece() error {
	f := &l.flusher
	p := &f.pieces[f.oldest]
	for tries := 0; p.under > 0; tries++ {
		f.done = f.queue.Wait(f.done[:0], patientWait(tries))
		for _, r := range f.done {
			of := r.Owner.(*piece)
			if of.under--; of.err == nil {
				of.err = r.Err
			}
		}
	}
	if p.err == nil && p.given == int(p.to-p.from) {
		l.durability.wrote(p.from, p.to, p.seg)
	}
	p.seg.release()
	clear(p.parts)
	p.seg, p.buf = nil, nil
	f.oldest = (f.oldest + 1) % f.ring
	f.under--
	return p.err
}

// writePiece writes [from, to) of one page, while no other piece is on its way.
func (l *Log) writePiece(from, to uint64) error {
	buf := l.copyPiece(0, from, to)
	if err := l.sumPiece(buf, from, len(buf), nil); err != nil {
		return err
	}
	g, err := l.segments.forWrite(from, to-from, l.durability.making)
	if err != nil {
		return err
	}
	defer g.release()
	if _, err := g.file.WriteAt(buf, int64(from%l.segments.size)); err != nil {
		return err
	}
	l.durability.wrote(from, to, g)
	return nil
}

// copyPiece returns a copy of [from, to) of one page, in the buffer of piece i.
func (l *Log) copyPiece(i int, from, to uint64) []byte {
	buf := l.flusher.buffers.piece(i, l.pageBytes)[:to-from]
	mem.CopyOutAll(buf, l.At(word.Address(from)))
	return buf
}

// sumPiece gives every record of a copied piece of log its checksum, clears what fillers cover, and tells the sink. When next
// bytes of the piece, or a few more, are as they are to stand on disk, it tells final how many are, which says when it wants
// to know again.
func (l *Log) sumPiece(buf []byte, from uint64, next int, final func(n int) (next int)) error {
	records, bytes, tombstones := int64(0), int64(0), int64(0)
	t, counts := &l.flusher.teller, &l.flusher.tally
	for off := 0; off < len(buf); {
		if off >= next {
			next = final(off)
		}
		m := record.Bytes(buf[off:])
		k := m.Link()
		if k.Filler() {
			n := k.FillerBytes()
			clear(buf[off+word.Align : min(off+n, len(buf))])
			off += n
			continue
		}
		n := m.Size()
		if !k.Written() || n == 0 || n > len(m) {
			// Never from outside: memory is not as this package left it.
			return fmt.Errorf("hlog: log at %#x is not a record", from+uint64(off))
		}
		st := m.State()
		if t.sink != nil {
			t.add(word.Address(from+uint64(off)), m[:n], k, st)
		}
		counts.add(k, st)
		m[:n].SetCheck(word.Address(from + uint64(off)))
		if invariant.Enabled {
			invariant.Check(m[:n].Verify(word.Address(from+uint64(off))), "W3: record at %#x does not verify", from+uint64(off))
		}
		if n > SmallPageBytes {
			sh, _ := m.Shape()
			l.FoundLarge(word.Address(from+uint64(off)), record.ShapeFor(sh.KeyLen, sh.ValueLen, 0).Size)
		}
		off += n
		records++
		if st.Tombstone() {
			tombstones++
		}
		bytes += int64(n)
	}
	if t.sink != nil {
		t.tell(from + uint64(len(buf)))
	}
	l.flushedRecords.Add(records)
	l.flushedBytes.Add(bytes)
	l.tombstones.Add(tombstones)
	return nil
}

// FlushTo writes the log up to target, which lies at or below SafeReadOnly on a block boundary, and begins to make it durable,
// for which SyncTo waits (D8). ErrNotDurable when it never will be durable.
func (l *Log) FlushTo(target uint64) error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	if err := l.flush(target); err != nil {
		return err
	}
	l.durability.beginSync()
	return l.durability.hopeless()
}

// SyncTo writes what FlushTo has not written yet up to target, and makes it durable. After an error it is not (D6);
// ErrNotDurable when it never will be.
func (l *Log) SyncTo(target uint64) error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	if err := l.flush(target); err != nil {
		return err
	}
	return l.durability.sync(target, l.holdHead)
}

// holdHead keeps the pager from moving the head until release is called.
func (l *Log) holdHead() (head uint64, release func()) {
	l.pageMu.Lock()
	return l.head.Load(), l.pageMu.Unlock
}

// Abandon gives up what was written since the last sync that succeeded, also what is only in memory: it never has to reach
// the disk. The owner goes back to what is durable, and no operation runs.
func (l *Log) Abandon() {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	l.durability.abandon(l.tail.Load())
}
