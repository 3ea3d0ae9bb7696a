package cold

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// cursorBytes is how much of a share is read at a time by those who go over it.
	cursorBytes = 128 << 10
	// contextRecords is after how many records a merge looks at its context.
	contextRecords = 256
)

// MergeConfig says how shares are written.
type MergeConfig struct {
	// Order returns the order of a key's hash, which cold files do not hold.
	Order func(key []byte) uint64
	// MaxBytes is the length from which on a share is ended and another begun.
	MaxBytes int64
	// Create returns a new file, which is empty, and its id. What was created is useless when writing fails.
	Create func() (w io.WriterAt, id uint64, err error)
	// DropTombstones says that nothing older than the inputs lies anywhere below them (T24).
	DropTombstones bool
	// Wait, if it is not nil, is called now and then, and returns when the merge may go on.
	Wait func(ctx context.Context) error
}

// compareRecords compares by order, and of one order by key.
func compareRecords(a, b *Record) int {
	if c := cmp.Compare(a.Order, b.Order); c != 0 {
		return c
	}
	return bytes.Compare(a.Key, b.Key)
}

// Write writes records of the log from from to to, which ascend by order and then by key, each key once.
func Write(ctx context.Context, cfg MergeConfig, from, to word.Address, records []Record) ([]index.ShareRef, error) {
	out := output{ctx: ctx, cfg: cfg, first: 0, from: from, to: to}
	for i := range records {
		if err := out.add(&records[i]); err != nil {
			return nil, err
		}
	}
	return out.finish(^uint64(0), 0)
}

// Merge does m: of each key the newest record of inputs, which are m.Inputs opened, is written, in shares that divide m's
// range of hashes. It reads and writes as it goes: the memory that it takes follows the number of inputs and MaxBytes.
//
// What it reads is verified; *[CorruptError] says which share is damaged. After an error, be it that of ctx or of a file,
// what was written is useless.
func Merge(ctx context.Context, cfg MergeConfig, m index.Merge, inputs []*Share) ([]index.ShareRef, error) {
	out := output{ctx: ctx, cfg: cfg, first: m.First, from: m.From, to: m.To}
	err := Join(ctx, cfg.Order, m.First, m.Last, inputs, func(r *Record, read int64) error {
		out.bytes += read
		return out.add(r)
	})
	if err != nil {
		return nil, err
	}
	return out.finish(m.Last, m.Level)
}

// Join goes over the keys that inputs have with orders from first to last, ascending, and tells fn the newest record of
// each, tombstones included, and how many bytes of the files were read since it was told last. A record is of use until
// fn returns. What one input supersedes of another does not count, be it there or not: the tombstone that hides it may have
// been dropped (T24).
func Join(ctx context.Context, order func(key []byte) uint64, first, last uint64, inputs []*Share, fn func(r *Record, read int64) error) error {
	var heads []*cursor // each at a record; newer shares first
	sorted := slices.SortedFunc(slices.Values(inputs), newerFirst)
	read := int64(0)
	for _, s := range sorted {
		c := newCursor(s, order, first, last)
		for _, o := range inputs {
			if o.ref.Supersedes(s.ref) && o.ref.First <= s.ref.Last && o.ref.Last >= s.ref.First {
				c.over = append(c.over, o)
			}
		}
		ok, err := c.next(&read)
		if err != nil {
			return err
		}
		if ok {
			heads = append(heads, c)
		}
	}
	for n := 0; len(heads) > 0; n++ {
		if n%contextRecords == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		least := heads[0]
		for _, c := range heads[1:] {
			if compareRecords(&c.record, &least.record) < 0 {
				least = c
			}
		}
		if err := fn(&least.record, read); err != nil {
			return err
		}
		read = 0
		// The others' records of this key are older. least goes on last: its record is what they are compared with.
		gone := false
		for _, c := range heads {
			if c == least || compareRecords(&c.record, &least.record) != 0 {
				continue
			}
			ok, err := c.next(&read)
			if err != nil {
				return err
			}
			gone = gone || !ok
		}
		ok, err := least.next(&read)
		if err != nil {
			return err
		}
		if gone || !ok {
			heads = slices.DeleteFunc(heads, func(c *cursor) bool { return c.ended })
		}
	}
	return nil
}

// newerFirst orders shares that stand for a common range of hashes so that of two records of one key the newer is in the
// share that comes first. Of two shares with one end of log one was merged from the other and more.
func newerFirst(a, b *Share) int {
	return cmp.Or(cmp.Compare(b.ref.To, a.ref.To), cmp.Compare(a.ref.From, b.ref.From), cmp.Compare(b.ref.Level, a.ref.Level))
}

// cursor goes over the records of a share with orders in a range.
type cursor struct {
	blocks
	order       func(key []byte) uint64
	first, last uint64
	over        []*Share // that supersede the share for a part of its hashes
	at, end     int      // blocks of the file that have not been read
	buf         []byte
	record      Record
	prev        uint64 // order of the record before
	ended       bool
}

func newCursor(s *Share, order func(key []byte) uint64, first, last uint64) *cursor {
	c := &cursor{blocks: blocks{s: s}, order: order, first: max(first, s.ref.First), last: min(last, s.ref.Last)}
	if c.first <= c.last {
		from, to := s.Seek(c.first), s.Seek(c.last)
		if from.N == 0 {
			from.Off = blockAt(0)
		}
		if to.N > 0 {
			c.at, c.end = int(from.Off/BlockBytes)-1, int((to.Off+int64(to.N))/BlockBytes)-1
		}
	}
	return c
}

// next goes to the next record. ok is false at the end. What is read of the file is added to read.
func (c *cursor) next(read *int64) (ok bool, err error) {
	for {
		st, err := c.blocks.next(&c.record)
		if err != nil {
			return false, err
		}
		if st == stepRecord {
			o := c.order(c.record.Key)
			if o < c.prev || o < c.s.first[0] || o > c.s.last {
				return false, c.s.corrupt(blockAt(c.n+c.blocks.at), "a record has the order %#x after %#x", o, c.prev)
			}
			c.prev, c.record.Order = o, o
			if o > c.last {
				break
			}
			if o >= c.first && !slices.ContainsFunc(c.over, func(s *Share) bool { return s.ref.First <= o && o <= s.ref.Last }) {
				return true, nil
			}
			continue
		}
		from, blocks := c.at, cursorBytes/BlockBytes
		if st == stepMore { // once more from where it began, and as much again as was not enough
			from = c.begun
			blocks = max(blocks, 2*(c.at-c.begun))
			if c.at == len(c.s.first) {
				return false, c.s.corrupt(blockAt(c.begun), "the last record is not whole")
			}
		} else if c.at >= c.end {
			break
		}
		if err := c.fill(from, min(blocks, len(c.s.first)-from), st == stepMore); err != nil {
			return false, err
		}
		*read += int64(len(c.raw))
	}
	c.ended = true
	return false, nil
}

// fill reads blocks from number from on. With resume true the last record that began in the first of them is the next.
func (c *cursor) fill(from, blocks int, resume bool) error {
	if n := blocks * BlockBytes; cap(c.buf) < n {
		c.buf = mem.AlignedBytes(n, BlockBytes)
	}
	b := c.buf[:blocks*BlockBytes]
	if err := c.s.readAt(b, blockAt(from)); err != nil {
		return err
	}
	off := c.off
	c.reset(b, from)
	c.at = from + blocks
	if resume {
		if err := c.openBlock(); err != nil {
			return err
		}
		c.left, c.off = 1, off
	}
	return nil
}

// output writes shares one after the other.
type output struct {
	ctx      context.Context
	cfg      MergeConfig
	first    uint64 // of the share that is being written, or comes next
	last     uint64 // order of the last record
	from, to word.Address
	w        *shareWriter
	bytes    int64 // read and written since Wait was called
	n        int
	done     []index.ShareRef
}

// add adds the next record. A share ends between two orders only.
func (o *output) add(r *Record) error {
	if r.Tombstone && o.cfg.DropTombstones {
		return nil
	}
	if o.n++; o.n%contextRecords == 0 {
		if err := o.ctx.Err(); err != nil {
			return err
		}
	}
	if o.w != nil && o.w.bytes()+int64(r.bytes()) > o.cfg.MaxBytes && r.Order != o.last && o.w.ref.Triples > 0 {
		if err := o.end(r.Order - 1); err != nil {
			return err
		}
		o.first = r.Order
	}
	if o.w == nil {
		if err := o.begin(); err != nil {
			return err
		}
	}
	o.w.add(r)
	o.last = r.Order
	if o.bytes += int64(r.bytes()); o.bytes >= cursorBytes && o.cfg.Wait != nil {
		o.bytes = 0
		return o.cfg.Wait(o.ctx)
	}
	return nil
}

func (o *output) begin() error {
	w, id, err := o.cfg.Create()
	if err == nil {
		o.w = newShareWriter(w, id, o.first, o.from, o.to)
	}
	return err
}

func (o *output) end(last uint64) error {
	ref, err := o.w.finish(last)
	o.done, o.w = append(o.done, ref), nil
	return err
}

// finish ends the last share, of hashes up to last, and returns all of them, as of a level. There is one at least: it says
// that its stretch of log holds nothing of its hashes.
func (o *output) finish(last uint64, level int) ([]index.ShareRef, error) {
	if o.w == nil {
		if err := o.begin(); err != nil {
			return nil, err
		}
	}
	if err := o.end(last); err != nil {
		return nil, err
	}
	for i := range o.done {
		o.done[i].Level = level
	}
	return o.done, nil
}
