package reclog

import (
	"errors"
	"io"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Fetcher reads many records from the log on disk at a time, and extents of other files among them. It belongs to one
// goroutine at a time.
//
// A read takes a slot, which has a buffer; what finds no free slot waits its turn. Memory is taken when the first read
// needs it.
type Fetcher struct {
	log     *Log
	queue   *fsx.Queue
	region  *mem.Region
	slots   []fetch
	free    []int
	backlog []wanted       // in order, from next on
	next    int            // of backlog
	batch   []*fsx.Request // prepared, not yet submitted
	done    []*fsx.Request
	under   int     // reads that the queue has
	big     int     // bytes of buffers larger than a slot's
	plain   *Reader // for records that are too large for many at a time

	companions Companions // of the record that Fetched is told about
}

// wanted is a record to be read, or an extent if that has a file.
type wanted struct {
	a      word.Address
	tag    int // of the owner
	extent Extent
}

// Extent is a piece of a file that is not the log's: whole blocks.
type Extent struct {
	File fsx.File
	Off  int64
	N    int // bytes
}

// fetch is a slot.
type fetch struct {
	wanted
	read fsx.Request
	seg  *segment
	need int    // bytes from the start of the block, whole blocks
	head uint64 // of the log when the read began
	buf  []byte // FetchBytes of the region
	wide []byte // for what is larger, on the heap
}

const (
	// FetchBytes is the buffer of a slot: a block and the next one, for records that cross into it.
	FetchBytes = 2 * BlockBytes
	// maxWide bounds the buffer for a larger record, maxWideTotal those of all slots together. Beyond, records are
	// read one at a time.
	maxWide      = 256 << 10
	maxWideTotal = 4 << 20
)

// Taker is who a fetcher reads for.
type Taker interface {
	// Fetched is told about one record that was wanted with tag. The record is valid during the call, which may want
	// more.
	Fetched(a word.Address, tag int, rec record.Bytes, sh record.Shape, err error)
}

// ExtentTaker is a Taker who asks for extents, too.
type ExtentTaker interface {
	Taker
	// FetchedExtent is told about one extent that was wanted with tag. b is all of it, and valid during the call, which
	// may want more. ErrWide says that the extent is too large to be read among others.
	FetchedExtent(tag int, b []byte, err error)
}

// ErrWide reports an extent for which a Fetcher has no buffer.
var ErrWide = errors.New("reclog: extent is too large to be read among others")

// NewFetcher returns a fetcher with that many slots. It takes no memory for them yet.
func (l *Log) NewFetcher(depth int) *Fetcher {
	return &Fetcher{log: l, queue: l.queues.New(depth), slots: make([]fetch, depth), plain: l.NewReader()}
}

// Open takes the memory of the buffers.
func (f *Fetcher) Open() error {
	if f.region != nil {
		return nil
	}
	region, err := mem.Map(len(f.slots) * FetchBytes)
	if err != nil {
		return err
	}
	f.region = region
	for i := range f.slots {
		f.slots[i].buf = region.Bytes(i*FetchBytes, FetchBytes)
		f.slots[i].read.Tag = i
		f.free = append(f.free, i)
	}
	return nil
}

// Want asks for the record at a, which is below head. It is read after the next flush.
func (f *Fetcher) Want(a word.Address, tag int) {
	f.backlog = append(f.backlog, wanted{a: a, tag: tag})
}

// WantExtent asks for an extent, whose file stays open until it is fetched or dropped. It is read after the next flush, on
// behalf of an ExtentTaker.
func (f *Fetcher) WantExtent(e Extent, tag int) {
	f.backlog = append(f.backlog, wanted{tag: tag, extent: e})
}

// Waiting reports whether something that was wanted has not been fetched.
func (f *Fetcher) Waiting() bool { return f.under > 0 || f.next < len(f.backlog) }

// Idle reports whether every slot is free and nothing is wanted (D1).
func (f *Fetcher) Idle() bool {
	return !f.Waiting() && (f.region == nil || len(f.free) == len(f.slots))
}

// Full reports whether as much is wanted as can be read at a time.
func (f *Fetcher) Full() bool { return f.under+len(f.backlog)-f.next >= len(f.slots) }

// Flush begins to read what is wanted, as far as there are slots.
func (f *Fetcher) Flush(t Taker) {
	for f.next < len(f.backlog) && len(f.free) > 0 {
		w := f.backlog[f.next]
		f.next++
		slot := f.free[len(f.free)-1]
		f.free = f.free[:len(f.free)-1]
		s := &f.slots[slot]
		s.wanted = w
		if w.extent.File != nil {
			f.prepareExtent(s, t)
			continue
		}
		skip := int(uint64(w.a) & (BlockBytes - 1))
		need := BlockBytes
		if skip+f.log.MeanRecord() > need {
			need = FetchBytes
		}
		f.prepare(s, need, t)
	}
	if f.next == len(f.backlog) || f.next >= len(f.slots) {
		f.backlog, f.next = append(f.backlog[:0], f.backlog[f.next:]...), 0
	}
	f.submit()
}

// submit hands over what is prepared.
func (f *Fetcher) submit() {
	if len(f.batch) > 0 {
		f.under += len(f.batch)
		f.queue.Submit(f.batch)
		f.batch = f.batch[:0]
	}
}

// prepare makes a slot ready to be read: need bytes from the block of its record on, or what the segment has.
func (f *Fetcher) prepare(s *fetch, need int, t Taker) {
	segs := f.log.segments
	start := uint64(s.a) &^ (BlockBytes - 1)
	s.need, s.head = min(need, int(segs.size-start%segs.size)), f.log.Head()
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

// prepareExtent makes a slot ready to read an extent.
func (f *Fetcher) prepareExtent(s *fetch, t Taker) {
	e := s.extent
	s.need = e.N
	buf := s.buf
	if s.need > len(buf) {
		if buf = f.wideBuffer(s); buf == nil {
			f.finishExtent(s, t, nil, ErrWide)
			return
		}
	}
	s.read.File, s.read.P, s.read.Off = e.File, buf[:s.need], e.Off
	f.batch = append(f.batch, &s.read)
}

// finishExtent frees the slot of an extent and tells the owner.
func (f *Fetcher) finishExtent(s *fetch, t Taker, b []byte, err error) {
	s.extent, s.read.File = Extent{}, nil
	if t != nil {
		t.(ExtentTaker).FetchedExtent(s.tag, b, err)
	}
	f.free = append(f.free, s.read.Tag) // not before: b is in its buffer
}

// wideBuffer returns a buffer of s.need bytes, nil if it would be too large.
func (f *Fetcher) wideBuffer(s *fetch) []byte {
	if s.need > len(s.wide) {
		if s.need > maxWide || f.big+s.need-len(s.wide) > maxWideTotal {
			return nil
		}
		f.big += s.need - len(s.wide)
		s.wide = mem.AlignedBytes(s.need, BlockBytes)
	}
	return s.wide
}

// readPlain reads the record of a slot here and now.
func (f *Fetcher) readPlain(s *fetch, t Taker) {
	rec, sh, err := f.plain.Read(s.a)
	f.finish(s, t, rec, sh, err)
}

// finish frees the slot and tells the owner.
func (f *Fetcher) finish(s *fetch, t Taker, rec record.Bytes, sh record.Shape, err error) {
	if s.seg != nil {
		s.seg.release()
		s.seg, s.read.File = nil, nil
	}
	if t != nil {
		t.Fetched(s.a, s.tag, rec, sh, err)
	}
	f.free = append(f.free, s.read.Tag) // not before: the record is in its buffer
}

// Wait waits until at least so many reads have ended, if there are so many, and begins others as slots become free.
// nil drops what is read.
func (f *Fetcher) Wait(t Taker, atLeast int) {
	f.Flush(t)
	if f.under == 0 {
		return
	}
	f.done = f.queue.Wait(f.done[:0], atLeast)
	f.under -= len(f.done)
	for _, r := range f.done {
		f.ended(&f.slots[r.Tag], t)
	}
	f.Flush(t)
}

// ended looks at what a read has brought.
func (f *Fetcher) ended(s *fetch, t Taker) {
	if s.extent.File != nil {
		err := s.read.Err
		if s.read.N == s.need {
			err = nil
		} else if err == nil {
			err = io.ErrUnexpectedEOF
		}
		f.finishExtent(s, t, s.read.P[:s.read.N], err)
		return
	}
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
		f.companions = f.log.segments.companionsOf(s.a, sp.Size, s.read.P[:n], s.head)
		f.finish(s, t, rec, sp.Shape, nil)
		f.companions = Companions{}
	}
}

// Companions returns those of the record that Fetched is told about, during that call.
func (f *Fetcher) Companions() *Companions { return &f.companions }

// Drain waits for what is under way and drops it (D1).
func (f *Fetcher) Drain() {
	f.backlog, f.next = f.backlog[:0], 0
	for f.submit(); f.under > 0; {
		f.Wait(nil, f.under)
	}
}

// Rest drains the fetcher and gives its memory back.
func (f *Fetcher) Rest() error {
	f.Drain()
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
