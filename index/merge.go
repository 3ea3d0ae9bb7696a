package index

import (
	"context"
	"io"

	"github.com/hybridlog/hybridlog/internal/word"
)

// mergeWindow is about how many triples are sorted at a time, and mergeRoll how many are written between two looks at the
// length of the share.
const (
	mergeWindow = 16 << 10
	mergeRoll   = 256
)

// Merge is one bounded piece of merging: what some shares hold of a range of hashes becomes one share, or a few that
// divide the range, for all the log that they stand for.
type Merge struct {
	First, Last uint64 // range of the hashes
	From, To    word.Address
	Level       int        // of what comes of it
	Inputs      []ShareRef // in the order of the list they were found in
	Bytes       int64      // an estimate of what comes of it
	era         int        // of the Disk that it is for
}

// Written is a share that was written, with what its segments hold.
type Written struct {
	ShareRef
	Segments []SegmentBytes
	Shift    uint // of segments
	// Tombstones is how many of the triples are of tombstones.
	Tombstones int64
	// Own says that Logged.Own is true of the records of all triples.
	Own bool
}

// MergeConfig says how shares are written.
type MergeConfig struct {
	// Drop is where the log begins: records below it are left out.
	Drop word.Address
	// MaxBytes is the length from which on a share is ended and another begun.
	MaxBytes int64
	// SegmentShift divides the log into segments of 2^SegmentShift bytes, at least 16.
	SegmentShift uint
	// Create returns a new file, which is empty, and its id. What was created is useless when writing fails.
	Create func() (w io.WriterAt, id uint64, err error)
}

// WriteTriples writes triples, in any order, of the log from from to to: of each hash the newest (I14). own says that Logged.Own
// is true of all of them. It sorts them in their place, where it leaves others of them that do not matter; after an error it
// can be given the same again.
func WriteTriples(ctx context.Context, cfg MergeConfig, from, to word.Address, triples []Triple, own bool) ([]Written, error) {
	var s sorter
	out := shareOutput{cfg: cfg, first: 0, from: from, to: to, own: own}
	for i, t := range s.newest(triples, 0, ^uint64(0)) {
		if i%mergeWindow == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := out.add(t); err != nil {
			return nil, err
		}
	}
	return out.finish(^uint64(0), 0)
}

// MergeShares does m; inputs are its Inputs, opened. It reads and writes as it goes: the memory that it takes follows
// neither the length of the shares nor, but for some KiB each, their number.
//
// What it reads is verified; *[CorruptError] says which share is damaged. After an error, be it that of ctx or of a
// file, what was written is useless.
func MergeShares(ctx context.Context, cfg MergeConfig, m Merge, inputs []*Share) ([]Written, error) {
	j := merging{ctx: ctx, out: shareOutput{cfg: cfg, first: m.First, from: m.From, to: m.To, own: true}}
	var others int64 // triples, about
	for _, s := range inputs {
		j.out.own = j.out.own && s.own // (I21)
		i, end := s.within(m.First, m.Last)
		c := &shareCursor{s: s, first: m.First, last: m.Last, block: i, end: end, ahead: fewBlocks}
		n := s.triples * int64(end-i) / int64(max(len(s.first), 1))
		switch {
		case j.base == nil:
			j.base, j.most = c, n
		case n > j.most:
			others += j.most
			j.others = append(j.others, j.base)
			j.base, j.most = c, n
		default:
			others += n
			j.others = append(j.others, c)
		}
	}
	if j.base != nil {
		j.base.ahead = shareAhead / shareBlock
	}
	windows := uint64(others/mergeWindow + 1)
	width := (m.Last - m.First) / windows
	for first, n := m.First, uint64(1); n <= windows; n++ {
		last := m.Last
		if n < windows {
			last = first + width
		}
		if err := j.window(first, last); err != nil {
			return nil, err
		}
		first = last + 1
	}
	return j.out.finish(m.Last, m.Level)
}

// merging is a merge under way. Hashes are spread evenly, so that a window of them holds about as many triples as any
// other: those of all shares but the largest are gathered and sorted, and that one is merged with what comes of it.
type merging struct {
	ctx    context.Context
	base   *shareCursor // over the share with most triples
	most   int64
	others []*shareCursor
	raw    []byte // what cursors read into
	batch  []Triple
	sorter sorter
	out    shareOutput
}

// window merges the triples with orders between first and last.
func (j *merging) window(first, last uint64) (err error) {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	j.batch = j.batch[:0]
	for _, c := range j.others {
		if j.batch, err = c.take(j, last, j.batch); err != nil {
			return err
		}
	}
	newer := j.sorter.newest(j.batch, first, last)
	for {
		t, ok, err := j.base.next(j, last)
		if err != nil {
			return err
		}
		for len(newer) > 0 && (!ok || newer[0].order <= t.order) {
			n := newer[0]
			newer = newer[1:]
			if ok && n.order == t.order {
				if t.site.Offset() < n.site.Offset() {
					t = n
				}
				continue
			}
			if err := j.out.add(n); err != nil {
				return err
			}
		}
		if !ok {
			return nil
		}
		if err := j.out.add(t); err != nil {
			return err
		}
	}
}

// shareCursor goes over the triples of a share in a range.
type shareCursor struct {
	s           *Share
	first, last uint64
	block, end  int // what has not been read
	ahead       int // blocks to read at a time
	triples     []Triple
	at          int // of triples: the next one
}

// fill reads on when all triples that were read are used up. ok is false at the end.
func (c *shareCursor) fill(j *merging) (ok bool, err error) {
	for c.at == len(c.triples) {
		n := min(c.ahead, c.end-c.block)
		if n <= 0 {
			return false, nil
		}
		if err := j.ctx.Err(); err != nil {
			return false, err
		}
		if j.raw == nil {
			j.raw = make([]byte, shareAhead)
		}
		if c.triples, err = c.s.read(c.triples[:0], j.raw, c.block, c.block+n, c.first, c.last); err != nil {
			return false, err
		}
		c.block, c.at = c.block+n, 0
	}
	return true, nil
}

// next returns the next triple up to last, if there is one.
func (c *shareCursor) next(j *merging, last uint64) (t Triple, ok bool, err error) {
	if c == nil {
		return t, false, nil
	}
	if c.at == len(c.triples) {
		if ok, err := c.fill(j); !ok {
			return t, false, err
		}
	}
	if t = c.triples[c.at]; t.order > last {
		return t, false, nil
	}
	c.at++
	return t, true, nil
}

// take appends the triples up to last to batch.
func (c *shareCursor) take(j *merging, last uint64, batch []Triple) ([]Triple, error) {
	for {
		if ok, err := c.fill(j); !ok {
			return batch, err
		}
		from := c.at
		for c.at < len(c.triples) && c.triples[c.at].order <= last {
			c.at++
		}
		batch = append(batch, c.triples[from:c.at]...)
		if c.at < len(c.triples) {
			return batch, nil
		}
	}
}

// shareOutput writes shares one after the other.
type shareOutput struct {
	cfg      MergeConfig
	first    uint64 // of the share that is being written, or comes next
	from, to word.Address
	own      bool // Written.Own
	w        *shareWriter
	n        int // triples since the length was looked at
	done     []Written
}

// add adds the next triple in order, unless the log has lost its record.
func (o *shareOutput) add(t Triple) error {
	if t.site.Address() < o.cfg.Drop {
		return nil
	}
	if o.n++; o.w == nil || o.n%mergeRoll == 0 && o.w.bytes() > o.cfg.MaxBytes {
		if o.w != nil {
			if err := o.end(t.order - 1); err != nil {
				return err
			}
			o.first = t.order
		}
		if err := o.begin(); err != nil {
			return err
		}
	}
	o.w.add(t)
	return nil
}

func (o *shareOutput) begin() error {
	w, id, err := o.cfg.Create()
	if err == nil {
		o.w = newShareWriter(w, id, o.first, o.from, o.to, o.cfg.SegmentShift)
		o.w.own = o.own
	}
	return err
}

func (o *shareOutput) end(last uint64) error {
	written, err := o.w.finish(last)
	o.done = append(o.done, written)
	return err
}

// finish ends the last share, of hashes up to last, and returns all of them, as of a level. There is one at least.
func (o *shareOutput) finish(last uint64, level int) ([]Written, error) {
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
