package index

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// runBuffer is how many bytes of a run are written, or read of one that is merged, at a time.
const runBuffer = 64 << 10

// WriteRun writes a run of the log [from, to) to w, which is empty. It holds what the older runs hold, which stand for a
// part of that log, and records, in any order, which it uses up. Of the records of one hash only the newest is
// kept: the others would change nothing in a replay. All lie less than [MaxRunSpan] above from. It returns the length
// of the run.
//
// What it reads of the older runs is verified; *[CorruptError] says which is damaged. After an error, be it that of ctx
// or of w, what was written is useless.
func WriteRun(ctx context.Context, w io.WriterAt, from, to word.Address, records []Record, older ...*Run) (int64, error) {
	sources := []cursor{newRecords(records)}
	most := int64(len(records))
	for i, r := range older {
		sources = append(sources, &runCursor{r: r, number: i + 1})
		most += r.Entries
	}
	rw := newRunWriter(w, from, to, most)
	for n := 0; ; n++ {
		if n%(1<<14) == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		o, a, ok, err := takeLeast(sources)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		if err := rw.add(o, a); err != nil {
			return 0, err
		}
	}
	return rw.finish()
}

// cursor goes over entries in the order of a run. peek returns the next one; ok is false after the last.
type cursor interface {
	peek() (o uint64, a word.Address, ok bool, err error)
	advance()
}

// takeLeast returns the next entry of all sources, with the greatest address that any of them has for it, and goes past
// it in each.
func takeLeast(sources []cursor) (least uint64, newest word.Address, found bool, err error) {
	for _, c := range sources {
		o, a, ok, err := c.peek()
		switch {
		case err != nil:
			return 0, 0, false, err
		case !ok:
		case !found || o < least:
			least, newest, found = o, a, true
		case o == least:
			newest = max(newest, a)
		}
	}
	for _, c := range sources {
		if o, _, ok, _ := c.peek(); ok && o == least {
			c.advance()
		}
	}
	return least, newest, found, nil
}

// recordCursor goes over records in memory, whose hashes have become orders.
type recordCursor struct{ rest []Record }

// newRecords sorts records, newest first among those of one hash.
func newRecords(records []Record) *recordCursor {
	for i := range records {
		records[i].Hash = order(records[i].Hash) // once, not with every comparison
	}
	sortRecords(records)
	return &recordCursor{records}
}

const (
	digitBits = 10
	// fewRecords is up to how many records are not worth being spread over digits first.
	fewRecords = 8 << digitBits
)

// sortRecords sorts by hash, newest first: in place by the first bits (American flag sort), which for hashes makes
// groups of about one size, then each group.
func sortRecords(records []Record) {
	if len(records) <= fewRecords {
		sortGroup(records)
		return
	}
	digit := func(r Record) uint64 { return r.Hash >> (64 - digitBits) }
	var next, ends [1 << digitBits]int
	for _, r := range records {
		ends[digit(r)]++
	}
	at := 0
	for d, n := range ends {
		next[d] = at
		at += n
		ends[d] = at
	}
	for d := range uint64(len(ends)) {
		for next[d] < ends[d] {
			r := records[next[d]]
			for e := digit(r); e != d; e = digit(r) { // put it where it belongs, take what was there
				i := next[e]
				records[i], r = r, records[i]
				next[e]++
			}
			records[next[d]] = r
			next[d]++
		}
	}
	at = 0
	for _, end := range ends {
		sortGroup(records[at:end])
		at = end
	}
}

func sortGroup(records []Record) {
	slices.SortFunc(records, func(a, b Record) int {
		if a.Hash != b.Hash {
			return cmp.Compare(a.Hash, b.Hash)
		}
		return cmp.Compare(b.Address, a.Address)
	})
}

func (c *recordCursor) peek() (uint64, word.Address, bool, error) {
	if len(c.rest) == 0 {
		return 0, 0, false, nil
	}
	return c.rest[0].Hash, c.rest[0].Address, true, nil
}

func (c *recordCursor) advance() {
	h := c.rest[0].Hash
	for len(c.rest) > 0 && c.rest[0].Hash == h {
		c.rest = c.rest[1:]
	}
}

// runCursor goes over the entries of a run, from start to end.
type runCursor struct {
	r      *Run
	number int
	next   uint64 // part
	b      []byte // entries that were read and verified
}

func (c *runCursor) peek() (uint64, word.Address, bool, error) {
	for len(c.b) == 0 {
		if c.next == runParts(c.r.partBits) {
			return 0, 0, false, nil
		}
		if err := c.fill(); err != nil {
			return 0, 0, false, ofRun(err, c.number)
		}
	}
	o, a := c.r.entry(c.b)
	return o, a, true, nil
}

func (c *runCursor) advance() { c.b = c.b[runEntryBytes:] }

// fill reads the parts that a piece of the directory describes from next on, as many as have room in a buffer.
func (c *runCursor) fill() error {
	p, err := c.r.piece(c.next / pieceParts)
	if err != nil {
		return err
	}
	i := c.next % pieceParts
	start, end := p.start(i), p.end(i)
	j := i + 1
	for ; j < inPiece(c.r.partBits) && (p.end(j)-start)*runEntryBytes <= runBuffer; j++ {
		end = p.end(j)
	}
	b := make([]byte, (end-start)*runEntryBytes)
	if len(b) > 0 {
		if err := readAt(c.r.r, b, c.r.entryAt(start)); err != nil {
			return err
		}
	}
	for ; i < j; i++ {
		part := b[(p.start(i)-start)*runEntryBytes : (p.end(i)-start)*runEntryBytes]
		if err := c.r.verify(c.next, part, p.start(i), p.sum(i)); err != nil {
			return err
		}
		c.next++
	}
	c.b = b
	return nil
}

// runWriter writes the entries of a run as they come, and header and directory, which lie before them, at the end.
type runWriter struct {
	w         io.WriterAt
	from, to  word.Address
	partBits  uint
	entries   uint64
	buf       []byte // entries that are not written yet
	part      int    // where the part that is being made begins in buf
	off       int64  // of buf in the file
	directory []byte // references, of the parts that are complete
}

// newRunWriter begins a run with at most so many entries.
func newRunWriter(w io.WriterAt, from, to word.Address, most int64) *runWriter {
	partBits := uint(min(max(bits.Len64(uint64(most)/partEntries), 1)-1, maxPartBits))
	return &runWriter{w: w, from: from, to: to, partBits: partBits, off: entriesAt(partBits), buf: make([]byte, 0, runBuffer)}
}

// add adds the next entry.
func (w *runWriter) add(o uint64, a word.Address) error {
	if a < w.from || a >= w.to || a-w.from >= MaxRunSpan {
		return fmt.Errorf("index: writing a run of the log from %d to %d: address %d", w.from, w.to, a)
	}
	if err := w.endParts(o >> (64 - w.partBits)); err != nil {
		return err
	}
	w.buf = binary.LittleEndian.AppendUint64(w.buf, o)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32((a-w.from)/mem.WordBytes))
	w.entries++
	return nil
}

// endParts completes the parts before part n.
func (w *runWriter) endParts(n uint64) error {
	for uint64(len(w.directory))/partRef < n {
		w.directory = binary.LittleEndian.AppendUint64(w.directory, w.entries)
		w.directory = binary.LittleEndian.AppendUint64(w.directory, xxh3.Hash(w.buf[w.part:]))
		w.part = len(w.buf)
		if len(w.buf) >= runBuffer {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes the complete parts of buf, which is all of it.
func (w *runWriter) flush() error {
	if _, err := w.w.WriteAt(w.buf, w.off); err != nil {
		return fmt.Errorf("index: writing a run: %w", err)
	}
	w.off += int64(len(w.buf))
	w.buf, w.part = w.buf[:0], 0
	return nil
}

func (w *runWriter) finish() (int64, error) {
	if err := w.endParts(runParts(w.partBits)); err != nil {
		return 0, err
	}
	if len(w.buf) > 0 {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	b := w.header()
	sum, before := mem.Load64(b[sumOffset:]), uint64(0)
	per := int(inPiece(w.partBits)) * partRef
	for n := range piecesOf(w.partBits) {
		at := len(b)
		b = binary.LittleEndian.AppendUint64(b, before)
		b = append(b, w.directory[int(n)*per:int(n+1)*per]...)
		before = mem.Load64(b[len(b)-partRef:])
		b = binary.LittleEndian.AppendUint64(b, pieceSum(b[at:], sum, n))
	}
	if _, err := w.w.WriteAt(b, 0); err != nil {
		return 0, fmt.Errorf("index: writing a run: %w", err)
	}
	return w.off, nil
}

func (w *runWriter) header() []byte {
	b := make([]byte, 0, entriesAt(w.partBits))
	b = append(b, runMagic...)
	b = binary.LittleEndian.AppendUint32(b, runFormat)
	b = binary.LittleEndian.AppendUint32(b, uint32(w.partBits))
	for _, n := range []uint64{uint64(w.from), uint64(w.to), w.entries, uint64(w.off)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(b, make([]byte, sumOffset-len(b))...)
	return binary.LittleEndian.AppendUint64(b, xxh3.Hash(b))
}
