package reclog

import (
	"errors"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Reader reads records from the log on disk. It belongs to one goroutine at a time and is made on first use.
type Reader struct {
	log *Log
	buf []byte // aligned

	request fsx.Request   // see gather
	ended   chan struct{} // a message when request has

	companions Companions // of the record that was read last
}

// NewReader returns a reader.
func (l *Log) NewReader() *Reader { return &Reader{log: l} }

// Read returns the record at a, which is below head, verified (W3). It is valid until the next call. A *fsx.CorruptionError
// when it is damaged; ErrClosed when the segments are closed.
func (r *Reader) Read(a word.Address) (record.Bytes, record.Shape, error) {
	sp, rec, err := r.readSpan(a)
	if err != nil {
		return nil, record.Shape{}, err
	}
	if sp.Filler {
		return nil, record.Shape{}, r.log.segments.fillerInChain(a)
	}
	return rec, sp.Shape, nil
}

// Companions returns those of the record that Read has returned last.
func (r *Reader) Companions() *Companions { return &r.companions }

// readSpan returns whatever begins at a.
func (r *Reader) readSpan(a word.Address) (record.Parsed, record.Bytes, error) {
	segs, head := r.log.segments, r.log.Head()
	r.companions = Companions{}
	start := uint64(a) &^ (BlockBytes - 1)
	need := BlockBytes
	for {
		need = min(need, int(segs.size-start%segs.size))
		if cap(r.buf) < need {
			r.buf = mem.AlignedBytes(need, BlockBytes)
		}
		b := r.buf[:need]
		n, err := r.readAt(b, start)
		if err != nil {
			return record.Parsed{}, nil, r.place(err, uint64(a))
		}
		sp, rec, more, err := segs.parseRead(b[:n], a, need)
		if err == nil && more == 0 {
			r.companions = segs.companionsOf(a, sp.Size, b[:n], head)
		}
		if err != nil || more == 0 {
			return sp, rec, err
		}
		need = more
	}
}

// readAt is segments.readAt, together with the reads of other goroutines.
func (r *Reader) readAt(b []byte, a uint64) (int, error) {
	segs := r.log.segments
	g, err := segs.forRead(a)
	if err != nil {
		return 0, err
	}
	defer g.release()
	return ofSegment(r.log.singles.readAt(r, g.file, b, int64(a%segs.size)))
}

// parseRead returns what begins at a, verified, where b is what a read of need bytes from the start of a's block on
// has brought; or how many bytes it takes instead.
func (s *Segments) parseRead(b []byte, a word.Address, need int) (sp record.Parsed, rec record.Bytes, more int, err error) {
	skip := int(uint64(a) & (BlockBytes - 1))
	if len(b) < skip {
		return record.Parsed{}, nil, 0, s.Corrupt(uint64(a), "segment ends at %d", (uint64(a)-uint64(skip))%s.size+uint64(len(b)))
	}
	whole := len(b) == need
	b = b[skip:]
	short, reason := record.Parse(&sp, b, a, int(s.size-uint64(a)%s.size), true)
	switch {
	case reason != "":
		return record.Parsed{}, nil, 0, s.Corrupt(uint64(a), "%s", reason)
	case !short:
		return sp, record.Bytes(b[:min(sp.Size, len(b))]), 0, nil
	case !whole || skip+sp.Size <= need:
		return record.Parsed{}, nil, 0, s.Corrupt(uint64(a), "segment ends within a record")
	}
	return record.Parsed{}, nil, (skip + sp.Size + BlockBytes - 1) &^ (BlockBytes - 1), nil
}

func (s *Segments) fillerInChain(a word.Address) error {
	return s.Corrupt(uint64(a), "a filler where a chain expects a record")
}

// place adds the offset to an error that names a file only.
func (r *Reader) place(err error, a uint64) error {
	var c *fsx.CorruptionError
	if errors.As(err, &c) && c.Offset == 0 {
		c.Offset = int64(a % r.log.segments.size)
	}
	return err
}
