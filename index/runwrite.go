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
	m := merger{}
	most := int64(len(records))
	if err := m.add(newRecords(records)); err != nil {
		return 0, err
	}
	for i, r := range older {
		if err := m.add(&runCursor{r: r, number: i + 1}); err != nil {
			return 0, err
		}
		most += r.Entries
	}
	rw := newRunWriter(w, from, to, most)
	for n := 0; len(m.next) > 0; n++ {
		if n%(1<<14) == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		o, a, err := m.take()
		if err == nil {
			err = rw.add(o, a)
		}
		if err != nil {
			return 0, err
		}
	}
	return rw.finish()
}

// cursor goes over entries in the order of a run. advance goes to the next one and returns it; ok is false after the
// last.
type cursor interface {
	advance() (o uint64, a word.Address, ok bool, err error)
}

// merger takes entries from several cursors, in the order of a run. What each of them has next is kept side by side: the
// search for the least is what a merge spends its time with.
type merger struct {
	next      []uint64
	addresses []word.Address
	cursors   []cursor // as long as they have a next one
}

// add adds a cursor that stands before its first entry.
func (m *merger) add(c cursor) error {
	m.next, m.addresses, m.cursors = append(m.next, 0), append(m.addresses, 0), append(m.cursors, c)
	_, err := m.advance(len(m.cursors) - 1)
	return err
}

// advance has cursor i go on. more is false when it has come to its end, and the last one is at i now.
func (m *merger) advance(i int) (more bool, err error) {
	o, a, ok, err := m.cursors[i].advance()
	if ok {
		m.next[i], m.addresses[i] = o, a
		return true, err
	}
	n := len(m.cursors) - 1
	m.next[i], m.addresses[i], m.cursors[i] = m.next[n], m.addresses[n], m.cursors[n]
	m.next, m.addresses, m.cursors = m.next[:n], m.addresses[:n], m.cursors[:n]
	return false, err
}

// take returns the least entry, with the greatest address that any cursor has for it, and goes past it in each. There
// is one.
func (m *merger) take() (least uint64, newest word.Address, err error) {
	least = m.next[0]
	for _, o := range m.next[1:] {
		least = min(least, o)
	}
	for i := 0; i < len(m.next); {
		if m.next[i] != least {
			i++
			continue
		}
		newest = max(newest, m.addresses[i])
		more, err := m.advance(i)
		if err != nil {
			return 0, 0, err
		}
		if more {
			i++
		}
	}
	return least, newest, nil
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

func (c *recordCursor) advance() (uint64, word.Address, bool, error) {
	if len(c.rest) == 0 {
		return 0, 0, false, nil
	}
	first := c.rest[0]
	n := 1
	for n < len(c.rest) && c.rest[n].Hash == first.Hash {
		n++ // older ones
	}
	c.rest = c.rest[n:]
	return first.Hash, first.Address, true, nil
}

const (
	recordDigitBits = 10
	// fewRecords is up to how many records are not worth being spread over digits first.
	fewRecords = 8 << recordDigitBits
	// subDigitBits is the width of the second digit, manyAlike how many records of one are too many to be inserted one by
	// one.
	subDigitBits = 8
	manyAlike    = 32
)

// sortRecords sorts by hash, newest first: in place by the first bits (American flag sort), which for hashes makes
// groups of about one size, then each group.
func sortRecords(records []Record) {
	if len(records) <= fewRecords {
		slices.SortFunc(records, compareRecords)
		return
	}
	digit := func(r Record) uint64 { return r.Hash >> (64 - recordDigitBits) }
	var next, ends [1 << recordDigitBits]int
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
	var scratch []Record
	for _, end := range ends {
		scratch = sortGroup(records[at:end], scratch)
		at = end
	}
}

// sortGroup sorts records of one digit: by the next digit through scratch, which it returns, and then by insertion,
// since few are left of each.
func sortGroup(group, scratch []Record) []Record {
	digit := func(r Record) uint8 { return uint8(r.Hash >> (64 - recordDigitBits - subDigitBits)) }
	var at [1 << subDigitBits]int
	for _, r := range group {
		at[digit(r)]++
	}
	begin, most := 0, 0
	for d, n := range at {
		at[d] = begin
		begin += n
		most = max(most, n)
	}
	if most > manyAlike { // repeats, or no hashes
		slices.SortFunc(group, compareRecords)
		return scratch
	}
	scratch = slices.Grow(scratch[:0], len(group))[:len(group)]
	for _, r := range group {
		d := digit(r)
		scratch[at[d]] = r
		at[d]++
	}
	for i, r := range scratch {
		for i > 0 && compareRecords(r, group[i-1]) < 0 {
			group[i] = group[i-1]
			i--
		}
		group[i] = r
	}
	return scratch
}

// compareRecords compares by hash, and the newer of one hash is less.
func compareRecords(a, b Record) int {
	switch {
	case a.Hash < b.Hash:
		return -1
	case a.Hash > b.Hash:
		return 1
	}
	return cmp.Compare(b.Address, a.Address)
}

// runCursor goes over the entries of a run, from start to end.
type runCursor struct {
	r      *Run
	number int
	next   uint64 // part
	b      []byte // entries that were read and verified
}

func (c *runCursor) advance() (uint64, word.Address, bool, error) {
	for len(c.b) == 0 {
		if c.next == runParts(c.r.partBits) {
			return 0, 0, false, nil
		}
		if err := c.fill(); err != nil {
			return 0, 0, false, ofRun(err, c.number)
		}
	}
	o, a := c.r.entry(c.b)
	c.b = c.b[runEntryBytes:]
	return o, a, true, nil
}

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
