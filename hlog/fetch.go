package hlog

import (
	"errors"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// fetcher reads many records from the log on disk at a time. It belongs to one goroutine at a time.
//
// A read takes a slot, which has a buffer; what finds no free slot waits its turn. Memory is taken when the first read
// needs it.
//
//	S1  A slot, with its buffer and a reference to its segment, is taken from submit until the queue has returned it.
//	    A fetcher whose owner goes away early is drained before somebody else gets it.
type fetcher struct {
	log     *hybridLog
	queue   *fsx.Queue
	region  *mem.Region
	slots   []fetch
	free    []int
	backlog []wanted       // in order, from next on
	next    int            // of backlog
	batch   []*fsx.Request // prepared, not yet submitted
	done    []*fsx.Request
	under   int         // reads that the queue has
	big     int         // bytes of buffers larger than a slot's
	plain   *coldReader // for records that are too large for many at a time
}

// wanted is a record to be read.
type wanted struct {
	a   word.Address
	tag int // of the owner
}

// fetch is a slot.
type fetch struct {
	wanted
	read fsx.Request
	seg  *segment
	need int    // bytes from the start of the block, whole blocks
	buf  []byte // fetchBytes of the region
	wide []byte // for what is larger, on the heap
}

const (
	// fetchBytes is the buffer of a slot: a block and the next one, for records that cross into it.
	fetchBytes = 2 * blockBytes
	// maxWide bounds the buffer for a larger record, maxWideTotal those of all slots together. Beyond, records are
	// read one at a time.
	maxWide      = 256 << 10
	maxWideTotal = 4 << 20
)

// taker is who a fetcher reads for.
type taker interface {
	// fetched is told about one record that was wanted with tag. The record is valid during the call, which may want
	// more.
	fetched(a word.Address, tag int, rec record.Bytes, sh record.Shape, err error)
}

func newFetcher(l *hybridLog, depth int) *fetcher {
	return &fetcher{log: l, queue: fsx.NewQueue(depth), slots: make([]fetch, depth), plain: newColdReader(l)}
}

// open takes the memory of the buffers.
func (f *fetcher) open() error {
	if f.region != nil {
		return nil
	}
	region, err := mem.Map(len(f.slots) * fetchBytes)
	if err != nil {
		return err
	}
	f.region = region
	for i := range f.slots {
		f.slots[i].buf = region.Bytes(i*fetchBytes, fetchBytes)
		f.slots[i].read.Tag = i
		f.free = append(f.free, i)
	}
	return nil
}

// want asks for the record at a, which is below head. It is read after the next flush.
func (f *fetcher) want(a word.Address, tag int) { f.backlog = append(f.backlog, wanted{a, tag}) }

// waiting reports whether records that were wanted have not been fetched.
func (f *fetcher) waiting() bool { return f.under > 0 || f.next < len(f.backlog) }

// full reports whether as much is wanted as can be read at a time.
func (f *fetcher) full() bool { return f.under+len(f.backlog)-f.next >= len(f.slots) }

// flush begins to read what is wanted, as far as there are slots.
func (f *fetcher) flush(t taker) {
	for f.next < len(f.backlog) && len(f.free) > 0 {
		w := f.backlog[f.next]
		f.next++
		slot := f.free[len(f.free)-1]
		f.free = f.free[:len(f.free)-1]
		s := &f.slots[slot]
		s.wanted = w
		skip := int(uint64(w.a) & (blockBytes - 1))
		need := blockBytes
		if skip+f.log.meanRecord() > need {
			need = fetchBytes
		}
		f.prepare(s, need, t)
	}
	if f.next == len(f.backlog) || f.next >= len(f.slots) {
		f.backlog, f.next = append(f.backlog[:0], f.backlog[f.next:]...), 0
	}
	f.submit()
}

// submit hands over what is prepared.
func (f *fetcher) submit() {
	if len(f.batch) > 0 {
		f.under += len(f.batch)
		f.queue.Submit(f.batch)
		f.batch = f.batch[:0]
	}
}

// prepare makes a slot ready to be read: need bytes from the block of its record on, or what the segment has.
func (f *fetcher) prepare(s *fetch, need int, t taker) {
	segs := f.log.segments
	start := uint64(s.a) &^ (blockBytes - 1)
	s.need = min(need, int(segs.size-start%segs.size))
	buf := s.buf
	if s.need > len(buf) {
		if buf = f.wideBuffer(s); buf == nil {
			f.readPlain(s, t)
			return
		}
	}
	if s.seg == nil {
		seg, err := segs.forRead(start)
		if err != nil {
			f.finish(s, t, nil, record.Shape{}, f.plain.place(err, uint64(s.a)))
			return
		}
		s.seg = seg
	}
	s.read.File, s.read.P, s.read.Off = s.seg.file, buf[:s.need], int64(start%segs.size)
	f.batch = append(f.batch, &s.read)
}

// wideBuffer returns a buffer of s.need bytes, nil if it would be too large.
func (f *fetcher) wideBuffer(s *fetch) []byte {
	if s.need > len(s.wide) {
		if s.need > maxWide || f.big+s.need-len(s.wide) > maxWideTotal {
			return nil
		}
		f.big += s.need - len(s.wide)
		s.wide = mem.AlignedBytes(s.need, blockBytes)
	}
	return s.wide
}

// readPlain reads the record of a slot here and now.
func (f *fetcher) readPlain(s *fetch, t taker) {
	rec, sh, err := f.plain.read(s.a)
	f.finish(s, t, rec, sh, err)
}

// finish frees the slot and tells the owner.
func (f *fetcher) finish(s *fetch, t taker, rec record.Bytes, sh record.Shape, err error) {
	if s.seg != nil {
		s.seg.release()
		s.seg, s.read.File = nil, nil
	}
	if t != nil {
		t.fetched(s.a, s.tag, rec, sh, err)
	}
	f.free = append(f.free, s.read.Tag) // not before: the record is in its buffer
}

// wait waits until at least so many reads have ended, if there are so many, and begins others as slots become free.
// nil drops what is read.
func (f *fetcher) wait(t taker, atLeast int) {
	f.flush(t)
	if f.under == 0 {
		return
	}
	f.done = f.queue.Wait(f.done[:0], atLeast)
	f.under -= len(f.done)
	for _, r := range f.done {
		f.ended(&f.slots[r.Tag], t)
	}
	f.flush(t)
}

// ended looks at what a read has brought.
func (f *fetcher) ended(s *fetch, t taker) {
	if t == nil {
		f.finish(s, nil, nil, record.Shape{}, nil)
		return
	}
	n, err := ofSegment(s.read.N, s.read.Err)
	if err != nil {
		f.finish(s, t, nil, record.Shape{}, f.plain.place(err, uint64(s.a)))
		return
	}
	sp, rec, more, err := f.log.segments.parseRead(s.read.P[:n], s.a, s.need)
	switch {
	case err != nil:
		f.finish(s, t, nil, record.Shape{}, err)
	case more > 0:
		f.prepare(s, more, t)
	case sp.Filler:
		f.finish(s, t, nil, record.Shape{}, f.log.segments.fillerInChain(s.a))
	default:
		f.finish(s, t, rec, sp.Shape, nil)
	}
}

// drain waits for what is under way and drops it (S1).
func (f *fetcher) drain() {
	f.backlog, f.next = f.backlog[:0], 0
	for f.submit(); f.under > 0; {
		f.wait(nil, f.under)
	}
}

// rest drains the fetcher and gives its memory back. The queue stays: giving that back takes the kernel long.
func (f *fetcher) rest() error {
	f.drain()
	if f.region == nil {
		return nil
	}
	err := f.region.Unmap()
	f.region, f.free, f.big = nil, nil, 0
	for i := range f.slots {
		f.slots[i].buf, f.slots[i].wide = nil, nil
	}
	return err
}

// close drains the fetcher and gives everything back.
func (f *fetcher) close() error { return errors.Join(f.rest(), f.queue.Close()) }
