package reclog

import (
	"context"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Sweep reads many records of the log on disk in the order of their addresses. Those that lie near each other come with one
// read, and so does what lies between them. It belongs to one goroutine at a time.
//
//	wanted      *  *    *                          *           *  * ** *
//	reads      [---------]                        [-]         [---------]
//	                      more than sweepGap
//
// The buffer has two halves: while the reads into one are under way the records in the other are looked at.
type Sweep struct {
	// Turn, if it is not nil, is called before reads are begun. Its error ends the call of Read.
	Turn func(ctx context.Context) error

	log    *Log
	queue  *fsx.Queue
	region *mem.Region // nil: no memory is taken
	halves [2]sweepHalf
	again  []Wanted // of a pass: records that their read has cut
	done   []*fsx.Request
	plain  *Reader // for records that are too large
	reads  int64
}

// Wanted is a record that a Sweep is to read.
type Wanted struct {
	At   word.Address
	Tag  int32 // the caller's
	need int32 // bytes from the start of its block, 0 if that is not known
}

// sweepHalf is a half of the buffer, with the reads into it.
type sweepHalf struct {
	buf       []byte
	stretches []stretch // the first n are in use
	n         int
	under     int // reads that the queue has
}

// stretch is a read: whole blocks of one segment.
type stretch struct {
	read  fsx.Request
	seg   *segment // nil: there is none, because of err
	err   error
	start uint64 // log offset
	wants []Wanted
}

const (
	// sweepGap is how many bytes that nobody wants a read takes along: on most devices that costs less than a read does.
	sweepGap = 16 << 10
	// maxStretch is the most bytes of a read, sweepBytes of those that are under way, and sweepReads how many of them.
	maxStretch = 128 << 10
	sweepBytes = 1 << 20
	sweepReads = 128
)

// NewSweep returns a sweep. It takes memory with the first read, until Rest.
func (l *Log) NewSweep() *Sweep {
	return &Sweep{log: l, queue: l.queues.New(sweepReads), plain: l.NewReader()}
}

// Reads returns how many reads there have been.
func (s *Sweep) Reads() int64 { return s.reads }

// open takes the memory of the buffer.
func (s *Sweep) open() error {
	if s.region != nil {
		return nil
	}
	region, err := mem.Map(sweepBytes)
	if err != nil {
		return err
	}
	s.region = region
	for i := range s.halves {
		h := &s.halves[i]
		h.buf = region.Bytes(i*sweepBytes/2, sweepBytes/2)
		h.stretches = make([]stretch, sweepReads/2)
		for j := range h.stretches {
			h.stretches[j].read.Owner = h
		}
	}
	return nil
}

// Read reads the records that are wanted, which ascend by address and lie below head, and tells swept of each, in no
// particular order: it is valid during the call. The error is that of ctx, of Turn or of the system when it has no memory;
// what concerns one record is told with that.
func (s *Sweep) Read(ctx context.Context, wants []Wanted, swept func(w Wanted, rec record.Bytes, sh record.Shape, err error)) error {
	if err := s.open(); err != nil {
		return err
	}
	for len(wants) > 0 {
		s.again = nil // the pass before has wants in it
		for i := 0; len(wants) > 0; i ^= 1 {
			err := ctx.Err()
			if err == nil && s.Turn != nil {
				err = s.Turn(ctx)
			}
			if err != nil {
				s.drain()
				return err
			}
			wants = s.begin(&s.halves[i], wants)
			s.end(&s.halves[i^1], swept)
		}
		s.end(&s.halves[0], swept) // one of them has nothing under way
		s.end(&s.halves[1], swept)
		wants = s.again
	}
	return nil
}

// begin begins to read what fits into a half that is free, and returns the rest.
func (s *Sweep) begin(h *sweepHalf, wants []Wanted) (rest []Wanted) {
	batch := make([]*fsx.Request, 0, len(h.stretches))
	for used := 0; len(wants) > 0 && h.n < len(h.stretches); {
		n, start, end := s.stretch(wants)
		size := int(end - start)
		if size > len(h.buf)-used {
			break
		}
		st := &h.stretches[h.n]
		h.n++
		st.start, st.wants, wants = start, wants[:n], wants[n:]
		segs := s.log.segments
		if st.seg, st.err = segs.forRead(start); st.err != nil {
			continue
		}
		q := &st.read
		q.File, q.P, q.Off = st.seg.file, h.buf[used:used+size], int64(start%segs.size)
		used += size
		batch = append(batch, q)
	}
	h.under = len(batch)
	s.reads += int64(len(batch))
	s.queue.Submit(batch)
	return wants
}

// stretch returns how many of wants, which are at least one, the next read takes, and what of the log.
func (s *Sweep) stretch(wants []Wanted) (n int, start, end uint64) {
	size := s.log.segments.size
	start, end = s.span(wants[0])
	for n = 1; n < len(wants); n++ {
		from, to := s.span(wants[n])
		if from > end+sweepGap || max(to, end)-start > maxStretch || from/size != start/size {
			break
		}
		end = max(end, to)
	}
	return n, start, end
}

// span returns the blocks of a record that is wanted.
func (s *Sweep) span(w Wanted) (start, end uint64) {
	start = uint64(w.At) &^ (BlockBytes - 1)
	need := uint64(w.need)
	if need == 0 {
		need = (uint64(w.At) - start + uint64(s.log.MeanRecord()) + BlockBytes - 1) &^ (BlockBytes - 1)
		need = min(max(need, BlockBytes), maxStretch)
	}
	size := s.log.segments.size
	return start, min(start+need, (start/size+1)*size)
}

// end waits for the reads of a half and tells of their records.
func (s *Sweep) end(h *sweepHalf, swept func(w Wanted, rec record.Bytes, sh record.Shape, err error)) {
	s.wait(h)
	for i := range h.stretches[:h.n] {
		st := &h.stretches[i]
		n, err := 0, st.err
		if err == nil {
			n, err = ofSegment(st.read.N, st.read.Err)
		}
		for _, w := range st.wants {
			if err != nil {
				swept(w, nil, record.Shape{}, s.plain.place(err, uint64(w.At)))
				continue
			}
			s.tell(st, st.read.P[:n], w, swept)
		}
	}
	s.free(h)
}

// tell tells of a record in b, which is what a stretch has of the file.
func (s *Sweep) tell(st *stretch, b []byte, w Wanted, swept func(w Wanted, rec record.Bytes, sh record.Shape, err error)) {
	segs := s.log.segments
	off := int(uint64(w.At)&^(BlockBytes-1) - st.start)
	sp, rec, more, err := segs.parseRead(b[min(off, len(b)):], w.At, len(st.read.P)-off)
	switch {
	case err != nil:
		swept(w, nil, record.Shape{}, err)
	case more > maxStretch:
		rec, sh, err := s.plain.Read(w.At)
		swept(w, rec, sh, err)
	case more > 0:
		w.need = int32(more)
		s.again = append(s.again, w)
	case sp.Filler:
		swept(w, nil, record.Shape{}, segs.fillerInChain(w.At))
	default:
		swept(w, rec, sp.Shape, nil)
	}
}

// wait waits for the reads of a half. Those of the other one that have ended are noted, too.
func (s *Sweep) wait(h *sweepHalf) {
	for tries := 0; h.under > 0; tries++ {
		s.done = s.queue.Wait(s.done[:0], patientWait(tries))
		for _, q := range s.done {
			q.Owner.(*sweepHalf).under--
		}
	}
}

// free lets go of what the reads of a half have used (D7).
func (s *Sweep) free(h *sweepHalf) {
	for i := range h.stretches[:h.n] {
		st := &h.stretches[i]
		if st.seg != nil {
			st.seg.release()
		}
		st.seg, st.err, st.wants = nil, nil, nil
		st.read.File, st.read.P = nil, nil
	}
	h.n = 0
}

// drain waits for what is under way and drops it.
func (s *Sweep) drain() {
	for i := range s.halves {
		s.wait(&s.halves[i])
		s.free(&s.halves[i])
	}
}

// Rest gives the memory back. Nothing is under way between two calls of Read.
func (s *Sweep) Rest() error {
	if s.region == nil {
		return nil
	}
	err := s.region.Unmap()
	s.region, s.halves = nil, [2]sweepHalf{}
	return err
}
