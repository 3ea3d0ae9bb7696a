package reclog

import (
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
)

// ReadAhead reads the log on disk for a walk, some windows ahead of it. A walk beside operations must not wait for the
// disk: a goroutine that blocks in a system call keeps its processor from running others until the scheduler notices,
// which under load takes about as long as the read does.
//
// It belongs to one goroutine, and may be used for one walk after the other.
type ReadAhead struct {
	segments *Segments
	log      *Log // the disk has what lies below its head; nil: it has all that is asked for
	queue    *fsx.Queue
	windows  [readAheadWindows]window
	done     []*fsx.Request
}

// window is an aligned piece of the log.
type window struct {
	used  bool
	start uint64 // log offset
	end   uint64 // where it ends, as far as it was asked for
	under bool   // being read
	read  fsx.Request
	seg   *segment // while it is being read
	err   error    // why there is no segment
}

const (
	readAheadWindows = 4
	windowBytes      = 256 << 10 // or a segment, if that is smaller
)

// NewReadAhead returns a ReadAhead. Nothing is left of it between a Stop and the next walk but memory.
func (l *Log) NewReadAhead() *ReadAhead {
	return &ReadAhead{segments: l.segments, log: l, queue: l.queues.New(readAheadWindows)}
}

// NewReadAhead returns a ReadAhead for log all of which is on disk. The caller closes it.
func (s *Segments) NewReadAhead(q fsx.Queues) *ReadAhead {
	return &ReadAhead{segments: s, queue: q.New(readAheadWindows)}
}

// NewWalkerAhead returns a walker over log all of which is on disk, with a ReadAhead: somebody waits for the walk. The caller calls
// done at its end.
func (s *Segments) NewWalkerAhead(q fsx.Queues) (w *Walker, done func()) {
	w = s.NewWalker()
	w.Reads = s.NewReadAhead(q)
	return w, w.Reads.Close
}

// Close stops a walk, and gives back what the kernel has for the reads.
func (r *ReadAhead) Close() {
	r.Stop()
	r.queue.Close()
}

// readAt is segments.readAt for a walk that ends at to. b ends where the head was when the caller looked, or below: it may
// be lower by now.
func (r *ReadAhead) readAt(b []byte, a, to uint64) (int, error) {
	size := min(windowBytes, r.segments.size)
	there := AlignBlock(to)
	if r.log != nil {
		there = min(there, r.log.head.Load())
	}
	last := max(a+uint64(len(b)), there)
	for got := 0; ; {
		at := a + uint64(got)
		start := at &^ (size - 1)
		for ahead := range uint64(readAheadWindows) {
			if s := start + ahead*size; s < last {
				need := s // what it has, if anything, is enough for now
				if ahead == 0 {
					need = min(a+uint64(len(b)), start+size)
				}
				r.begin(s, need, min(s+size, last))
			}
		}
		w := r.at(start)
		r.wait(w)
		if w.err != nil {
			return got, w.err
		}
		n, err := ofSegment(w.read.N, w.read.Err)
		if err != nil {
			return got, err
		}
		skip := int(at - start)
		if skip >= n {
			return got, nil
		}
		got += copy(b[got:], w.read.P[skip:n])
		if got == len(b) || start+uint64(n) < w.end {
			return got, nil
		}
	}
}

// at returns the window that start falls to.
func (r *ReadAhead) at(start uint64) *window {
	return &r.windows[start/min(windowBytes, r.segments.size)%readAheadWindows]
}

// begin begins to read [start, end), unless that has been done up to need.
func (r *ReadAhead) begin(start, need, end uint64) {
	w := r.at(start)
	if w.used && w.start == start && w.end >= need {
		return
	}
	r.wait(w)
	w.used, w.start, w.end = true, start, end
	segs := r.segments
	if w.seg, w.err = segs.forRead(start); w.err != nil {
		return
	}
	if cap(w.read.P) == 0 {
		w.read.P = mem.AlignedBytes(int(min(windowBytes, segs.size)), BlockBytes)
	}
	w.read.File, w.read.P, w.read.Off, w.read.Owner = w.seg.file, w.read.P[:end-start], int64(start%segs.size), w
	w.under = true
	r.queue.Submit([]*fsx.Request{&w.read})
}

// wait waits until w is not being read any more.
func (r *ReadAhead) wait(w *window) {
	for tries := 0; w.under; tries++ {
		r.done = r.queue.Wait(r.done[:0], patientWait(tries))
		for _, q := range r.done {
			o := q.Owner.(*window)
			o.seg.release()
			o.under, o.seg, q.File = false, nil, nil
		}
	}
}

// Stop ends a walk.
func (r *ReadAhead) Stop() {
	for i := range r.windows {
		w := &r.windows[i]
		r.wait(w)
		w.used, w.err = false, nil
	}
}
