package hlog

import (
	"errors"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// coldReader reads records from the log on disk. It belongs to one goroutine at a time and is made on first use.
type coldReader struct {
	log *hybridLog
	buf []byte // aligned
	rec []byte // a record out of the cache
}

// read returns the record at a, below head, verified (H9). The image is valid until the next call.
func (r *coldReader) read(a word.Address) (image, shape, error) {
	sp, rec, err := r.readSpan(a)
	if err != nil {
		return nil, shape{}, err
	}
	if sp.filler {
		return nil, shape{}, r.log.segments.corrupt(uint64(a), "a filler where a chain expects a record")
	}
	return rec, sp.shape, nil
}

// readSpan returns whatever begins at a.
func (r *coldReader) readSpan(a word.Address) (span, image, error) {
	segs := r.log.segments
	start := uint64(a) &^ (blockBytes - 1)
	skip := int(uint64(a) - start)
	segEnd := (uint64(a)/segs.size + 1) * segs.size
	need := blockBytes
	for {
		need = min(need, int(segEnd-start))
		if cap(r.buf) < need {
			r.buf = mem.AlignedBytes(need, blockBytes)
		}
		b := r.buf[:need]
		n, err := segs.readAt(b, start)
		if err != nil {
			return span{}, nil, r.place(err, uint64(a))
		}
		if n < skip {
			return span{}, nil, segs.corrupt(uint64(a), "segment ends at %d", start%segs.size+uint64(n))
		}
		b = b[skip:n]
		sp, short, reason := parse(b, a, int(segEnd-uint64(a)), true)
		switch {
		case reason != "":
			return span{}, nil, segs.corrupt(uint64(a), "%s", reason)
		case !short:
			return sp, image(b[:min(sp.size, len(b))]), nil
		case n < need || skip+sp.size <= need:
			return span{}, nil, segs.corrupt(uint64(a), "segment ends within a record")
		}
		need = (skip + sp.size + blockBytes - 1) &^ (blockBytes - 1)
	}
}

// place adds the offset to an error that names a file only.
func (r *coldReader) place(err error, a uint64) error {
	var c *CorruptionError
	if errors.As(err, &c) && c.Offset == 0 {
		c.Offset = int64(a % r.log.segments.size)
	}
	return err
}
