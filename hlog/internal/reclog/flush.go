package reclog

import (
	"fmt"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// FlushPieces is how many pieces of log, of a page at most, are on their way to the disk at a time: while they travel the
// next is checksummed. A checkpoint beside operations must not keep a processor while it waits for the disk, as ReadAhead
// does not.
const FlushPieces = 4

// flusher writes pieces of the log (D4). It belongs to flushMu.
type flusher struct {
	queue  *fsx.Queue
	pieces [FlushPieces]piece // a ring: the oldest on its way, and those behind it
	oldest int
	under  int // on their way, or ended and not yet counted
	done   []*fsx.Request
	one    []*fsx.Request // for Submit
}

// piece is a stretch of log that is being written, from a copy.
type piece struct {
	to    uint64 // where it ends
	seg   *segment
	write fsx.Request
	buf   []byte
	ended bool
}

// flush writes the log up to target, which lies at or below safeReadOnly and on a page or block boundary. The caller
// Holds flushMu.
func (l *Log) flush(target uint64) error {
	f := &l.flusher
	from := l.flushed.Load()
	var failed error
	for a := from; a < target && failed == nil; {
		if f.under == FlushPieces {
			failed = l.endPiece()
			continue
		}
		to := min(target, l.pageEnd(a))
		if f.under == 0 && to == target {
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

// beginPiece begins to write [from, to) of one page, of a flush to target. One of the pieces is free.
func (l *Log) beginPiece(from, to, target uint64) error {
	f := &l.flusher
	p := &f.pieces[(f.oldest+f.under)%FlushPieces]
	buf, err := l.copyPiece(p, from, to)
	if err != nil {
		return err
	}
	// Room is made for all that is to come: a file that is being written would have to be waited for.
	size := l.segments.size
	if p.seg, err = l.segments.forWrite(from, min(target-from, size-from%size)); err != nil {
		return err
	}
	p.to, p.ended = to, false
	p.write = fsx.Request{File: p.seg.file, P: buf, Off: int64(from % size), Write: true, Owner: p}
	f.under++
	f.one = append(f.one[:0], &p.write)
	f.queue.Submit(f.one)
	return nil
}

// endPiece waits until the oldest piece is written, and counts it as flushed, unless one before it has failed.
func (l *Log) endPiece() error {
	f := &l.flusher
	p := &f.pieces[f.oldest]
	for tries := 0; !p.ended; tries++ {
		f.done = f.queue.Wait(f.done[:0], patientWait(tries))
		for _, r := range f.done {
			r.Owner.(*piece).ended = true
		}
	}
	p.seg.release()
	p.seg, p.write.File = nil, nil
	f.oldest = (f.oldest + 1) % FlushPieces
	f.under--
	if p.write.Err == nil && l.flushed.Load() == p.to-uint64(len(p.write.P)) {
		l.flushed.Store(p.to)
	}
	return p.write.Err
}

// writePiece writes [from, to) of one page, while no other piece is on its way.
func (l *Log) writePiece(from, to uint64) error {
	buf, err := l.copyPiece(&l.flusher.pieces[0], from, to)
	if err == nil {
		err = l.segments.write(buf, from)
	}
	if err == nil {
		l.flushed.Store(to)
	}
	return err
}

// copyPiece returns [from, to) of one page as it is to stand on disk, in the buffer of p.
func (l *Log) copyPiece(p *piece, from, to uint64) ([]byte, error) {
	if p.buf == nil {
		p.buf = mem.AlignedBytes(int(l.pageBytes), BlockBytes)
	}
	buf := p.buf[:to-from]
	mem.CopyOut(buf, l.At(word.Address(from)))
	return buf, l.sealPiece(buf, from)
}

// sealPiece gives every record of a copied piece of log its checksum and clears what fillers cover.
func (l *Log) sealPiece(buf []byte, from uint64) error {
	records, bytes, tombstones := int64(0), int64(0), int64(0)
	for off := 0; off < len(buf); {
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
		m[:n].SetCheck(word.Address(from + uint64(off)))
		if invariant.Enabled {
			invariant.Check(m[:n].Verify(word.Address(from+uint64(off))), "W3: record at %#x does not verify", from+uint64(off))
		}
		off += n
		records++
		if m.State().Tombstone() {
			tombstones++
		}
		bytes += int64(n)
	}
	l.flushedRecords.Add(records)
	l.flushedBytes.Add(bytes)
	l.tombstones.Add(tombstones)
	return nil
}

// SyncTo writes the log up to target and makes it durable.
func (l *Log) SyncTo(target uint64) error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	if err := l.flush(target); err != nil {
		return err
	}
	if l.durable.Load() >= target {
		return nil
	}
	upTo := l.flushed.Load()
	if l.durable.Load() == lostDurability {
		return fmt.Errorf("%w: %w", ErrNotDurable, l.lostTo)
	}
	if err := l.segments.sync(); err != nil {
		l.rewindFlush(err)
		return fmt.Errorf("hlog: sync of log up to %#x: %w", upTo, err)
	}
	l.durable.Store(upTo)
	return nil
}

// lostDurability as the durable offset says that no later sync can be believed.
const lostDurability = 1

// rewindFlush forgets what was written since the last sync that succeeded: the system may have dropped it, and a
// later sync would not tell (G8). What is still in memory is written again; if some of it is not, the log can never
// be durable again. cause is what the sync failed with. The caller holds flushMu.
func (l *Log) rewindFlush(cause error) {
	l.pageMu.Lock()
	defer l.pageMu.Unlock()
	d := l.durable.Load()
	if l.head.Load() > d {
		l.lostTo = cause
		l.durable.Store(lostDurability)
		return
	}
	l.flushed.Store(d)
}

// Abandon gives up what was written since the last sync, also what is only in memory: it never has to reach the disk. The
// owner goes back to what was committed, and no operation runs.
func (l *Log) Abandon() {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	tail := l.tail.Load()
	l.flushed.Store(tail)
	l.durable.Store(tail)
}
