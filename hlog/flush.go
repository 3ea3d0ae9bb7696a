package hlog

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// flushWriters is how many pages are prepared and written at a time: one is checksummed while another travels.
const flushWriters = 2

// errNotDurable is why no version can be committed after a sync failed whose pages had left memory. It comes with the
// error of that sync.
var errNotDurable = errors.New("hlog: an earlier sync failed after its pages had been dropped from memory; the log can no longer be made durable")

// flushTo writes the log up to target, which lies at or below safeReadOnly and on a page or block boundary.
func (l *hybridLog) flushTo(target uint64) error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	return l.flushLocked(target)
}

func (l *hybridLog) flushLocked(target uint64) error {
	for from := l.flushed.Load(); from < target; {
		// A batch of pages at a time, so that the first can be evicted while the last is being written.
		to := min(target, l.pageStart(from)+2*flushWriters*l.pageBytes)
		if err := l.writeRange(from, to); err != nil {
			return fmt.Errorf("hlog: flush of log [%#x, %#x): %w", from, to, err)
		}
		l.flushed.Store(to)
		from = to
	}
	return nil
}

// writeRange writes [from, to) page by page. The caller holds flushMu.
func (l *hybridLog) writeRange(from, to uint64) error {
	for len(l.buffers) < flushWriters {
		l.buffers = append(l.buffers, mem.AlignedBytes(int(l.pageBytes), blockBytes))
	}
	pieces := int((l.pageEnd(to-1) - l.pageStart(from)) / l.pageBytes)
	writers := flushWriters
	if l.steps != nil {
		writers = 1
	}
	if pieces == 1 {
		return l.writePiece(from, to, l.buffers[0])
	}
	var next atomic.Int64
	errs := make([]error, flushWriters)
	work := func(w int) {
		for {
			i := uint64(next.Add(1) - 1)
			if i >= uint64(pieces) || errs[w] != nil {
				return
			}
			start := l.pageStart(from) + i*l.pageBytes
			errs[w] = l.writePiece(max(start, from), min(start+l.pageBytes, to), l.buffers[w])
		}
	}
	var wg sync.WaitGroup
	for w := 1; w < writers; w++ {
		wg.Go(func() { work(w) })
	}
	work(0)
	wg.Wait()
	return errors.Join(errs...)
}

// writePiece writes [from, to) of one page through buf.
func (l *hybridLog) writePiece(from, to uint64, buf []byte) error {
	buf = buf[:to-from]
	mem.CopyOut(buf, l.at(word.Address(from)))
	if err := l.sealPiece(buf, from); err != nil {
		return err
	}
	return l.segments.write(buf, from)
}

// sealPiece gives every record of a copied piece of log its checksum and clears what fillers cover.
func (l *hybridLog) sealPiece(buf []byte, from uint64) error {
	records, bytes, tombstones := int64(0), int64(0), int64(0)
	for off := 0; off < len(buf); {
		m := image(buf[off:])
		k := m.link()
		if k.Filler() {
			n := k.FillerBytes()
			clear(buf[off+word.Align : min(off+n, len(buf))])
			off += n
			continue
		}
		n := m.size()
		if !k.Written() || n == 0 || n > len(m) {
			// Never from outside: memory is not as this package left it.
			return fmt.Errorf("hlog: log at %#x is not a record", from+uint64(off))
		}
		m[:n].sealForDisk(word.Address(from + uint64(off)))
		if invariant.Enabled {
			invariant.Check(m[:n].verify(word.Address(from+uint64(off))), "H9: record at %#x does not verify", from+uint64(off))
		}
		off += n
		records++
		if m.state().Tombstone() {
			tombstones++
		}
		bytes += int64(n)
	}
	l.flushedRecords.Add(records)
	l.flushedBytes.Add(bytes)
	l.tombstones.Add(tombstones)
	return nil
}

// syncTo writes the log up to target and makes it durable.
func (l *hybridLog) syncTo(target uint64) error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	if err := l.flushLocked(target); err != nil {
		return err
	}
	if l.durable.Load() >= target {
		return nil
	}
	upTo := l.flushed.Load()
	if l.durable.Load() == lostDurability {
		return fmt.Errorf("%w: %w", errNotDurable, l.lostTo)
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
func (l *hybridLog) rewindFlush(cause error) {
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
