package reclog

import (
	"cmp"
	"context"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// walkChunk is how much of the log a walk takes at a time, in bytes.
const walkChunk = 256 << 10

// Walker goes over a stretch of the log record by record, in ascending order, from disk and from memory. It belongs to
// one goroutine.
type Walker struct {
	segments *Segments
	log      *Log         // whose frames are read, too; nil: the stretch is on disk
	guard    *epoch.Guard // to read the frames with

	Chunk int        // bytes to take at a time; 0 = walkChunk
	Reads *ReadAhead // to read the disk with; nil: one chunk at a time
	// Prepare is told of the records of a group before the first of them is visited, so that it can have what their visits
	// look up on its way to the cache. nil: every record is visited at once.
	Prepare func(group []Found) error

	buf   []byte
	group [walkGroup]Found
	n     int // of group: records whose visits have been put off
}

// walkGroup is how many visits are prepared together.
const walkGroup = 16

// Found is a record that a walk has come upon.
type Found struct {
	At    word.Address
	Rec   record.Bytes
	Shape record.Shape
}

// NewWalker returns a walker over what is on disk.
func (s *Segments) NewWalker() *Walker { return &Walker{segments: s} }

// NewWalker returns a walker over what is on disk or in memory. The caller closes it.
func (l *Log) NewWalker() *Walker {
	return &Walker{segments: l.segments, log: l, guard: l.epochs.Register()}
}

// Close gives the walker's guard back. A second close does nothing.
func (w *Walker) Close() {
	if w.guard != nil {
		w.guard.Release()
		w.guard = nil
	}
}

// chunk is a piece of the log as it is on disk or in memory.
type chunk struct {
	b      []byte
	from   uint64
	memory bool
	err    error
}

// Visit is called for each record of a walk. rec is valid during the call; a record from memory (memory true) may
// have been copied while its value was being changed. Returning false ends the walk.
type Visit func(a word.Address, rec record.Bytes, sh record.Shape, memory bool) (more bool, err error)

// Walk calls fn for every record in [from, to), abandoned ones left out. Both ends are boundaries of records or
// fillers, and every record in between is complete: the caller has waited for the operations that were allocating.
func (w *Walker) Walk(ctx context.Context, from, to uint64, fn Visit) error {
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := w.fetch(from, to, cmp.Or(w.Chunk, walkChunk))
		next, more, err := w.visitChunk(c, to, fn)
		if err != nil || !more {
			return err
		}
		if next == from { // a record larger than a chunk
			if c = w.fetch(from, to, 2*maxPageBytes); c.err != nil {
				return c.err
			}
			if next, more, err = w.visitChunk(c, to, fn); err != nil || !more {
				return err
			}
			if next == from {
				return w.segments.Corrupt(from, "record does not end")
			}
		}
		from = next
	}
	return nil
}

// visitChunk visits the records that lie wholly in c and returns where it stopped.
func (w *Walker) visitChunk(c chunk, to uint64, fn Visit) (next uint64, more bool, err error) {
	if w.Prepare == nil {
		return w.parseChunk(c, to, fn)
	}
	next, more, err = w.parseChunk(c, to, func(a word.Address, rec record.Bytes, sh record.Shape, memory bool) (bool, error) {
		w.group[w.n] = Found{a, rec, sh}
		if w.n++; w.n < len(w.group) {
			return true, nil
		}
		return w.visitGroup(fn, memory)
	})
	if w.n > 0 { // what ended the chunk, damage perhaps, comes after them
		if more, err := w.visitGroup(fn, c.memory); err != nil || !more {
			return next, more, err
		}
	}
	return next, more, err
}

// visitGroup visits the records that were put off. Those that are left when a visit ends the walk are dropped.
func (w *Walker) visitGroup(fn Visit, memory bool) (more bool, err error) {
	group := w.group[:w.n]
	w.n = 0
	if err := w.Prepare(group); err != nil {
		return false, err
	}
	for i := range group {
		r := &group[i]
		if more, err := fn(r.At, r.Rec, r.Shape, memory); err != nil || !more {
			return more, err
		}
	}
	return true, nil
}

// parseChunk is visitChunk without putting off.
func (w *Walker) parseChunk(c chunk, to uint64, fn Visit) (next uint64, more bool, err error) {
	if c.err != nil {
		return c.from, false, c.err
	}
	size := w.segments.size
	var sp record.Parsed
	for off := 0; off < len(c.b); {
		a := c.from + uint64(off)
		room := min((a/size+1)*size, to) - a
		short, reason := record.Parse(&sp, c.b[off:], word.Address(a), int(room), !c.memory)
		switch {
		case reason != "":
			return a, false, w.segments.Corrupt(a, "%s", reason)
		case short:
			if off == 0 && uint64(len(c.b)) >= room {
				return a, false, w.segments.Corrupt(a, "log ends within a record")
			}
			return a, true, nil
		}
		if rec := record.Bytes(c.b[off : off+min(sp.Size, len(c.b)-off)]); !sp.Filler && !rec.State().Invalid() {
			if more, err := fn(word.Address(a), rec, sp.Shape, c.memory); err != nil || !more {
				return a, false, err
			}
		}
		off += sp.Size
		if off >= len(c.b) {
			return a + uint64(sp.Size), true, nil
		}
	}
	return c.from + uint64(len(c.b)), true, nil
}

// fetch copies up to n bytes of the log at from, not beyond to nor the segment's end.
func (w *Walker) fetch(from, to uint64, n int) chunk {
	size := w.segments.size
	end := min(from+uint64(n), to, (from/size+1)*size)
	if w.log != nil {
		c, head := w.fetchMemory(from, end)
		if from >= head {
			return c
		}
		end = min(end, head) // above it, disk may not have the log yet; head is read once, since warming lowers it
	}
	return w.fetchDisk(from, end, to)
}

// fetchMemory copies [from, end), or what the page of from holds of it, out of the frames, if from is not below head,
// which it returns.
func (w *Walker) fetchMemory(from, end uint64) (c chunk, head uint64) {
	l := w.log
	end = min(end, l.pageEnd(from))
	w.grow(int(end - from))
	b := w.buf[:end-from]
	w.guard.Enter()
	defer w.guard.Exit()
	if l.life.Phase().Ends() {
		return chunk{from: from, err: ErrClosed}, 0
	}
	if head = l.head.Load(); from < head {
		return chunk{}, head
	}
	mem.CopyOutAll(b, l.At(word.Address(from)))
	return chunk{b: b, from: from, memory: true}, head
}

// fetchDisk reads [from, end) of a walk to to.
func (w *Walker) fetchDisk(from, end, to uint64) chunk {
	start := from &^ (BlockBytes - 1)
	n := int(end-start+BlockBytes-1) &^ (BlockBytes - 1)
	w.grow(n)
	var got int
	var err error
	if w.Reads != nil {
		got, err = w.Reads.readAt(w.buf[:n], start, to)
	} else {
		got, err = w.segments.readAt(w.buf[:n], start)
	}
	if err != nil {
		return chunk{from: from, err: err}
	}
	skip := int(from - start)
	if got < int(end-start) {
		return chunk{from: from, err: w.segments.Corrupt(start+uint64(got), "segment ends here, the log goes on to %#x", end)}
	}
	return chunk{b: w.buf[skip : skip+int(end-from)], from: from}
}

func (w *Walker) grow(n int) {
	if cap(w.buf) < n {
		w.buf = mem.AlignedBytes(max(n, walkChunk+2*BlockBytes), BlockBytes)
	}
}
