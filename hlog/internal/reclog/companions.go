package reclog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Companions are the records that came with one that was read from disk, because they lie behind it in the same blocks: they
// were written soon after it. They are valid as long as the record is.
type Companions struct {
	segments *Segments
	b        []byte       // what lies behind the record
	a        word.Address // of it
	end      uint64       // head of the log before the read: what lies above it may have been changing
}

// companionsOf returns the companions of a record at a with size bytes, where b was read from the start of its block on.
func (s *Segments) companionsOf(a word.Address, size int, b []byte, head uint64) Companions {
	skip := int(uint64(a)&(BlockBytes-1)) + size
	return Companions{s, b[min(skip, len(b)):], a + word.Address(size), head}
}

// Next returns the next companion, verified (W3), and where it is; ok is false when there is none, or none that is whole.
func (c *Companions) Next() (a word.Address, rec record.Bytes, ok bool) {
	for len(c.b) > 0 {
		var sp record.Parsed
		short, reason := record.Parse(&sp, c.b, c.a, int(c.segments.size-uint64(c.a)%c.segments.size), true)
		if short || reason != "" || sp.Size > len(c.b) || uint64(c.a)+uint64(sp.Size) > c.end {
			break
		}
		a, rec = c.a, record.Bytes(c.b[:sp.Size])
		c.a, c.b = c.a+word.Address(sp.Size), c.b[sp.Size:]
		if !sp.Filler {
			return a, rec, true
		}
	}
	c.b = nil
	return word.None, nil, false
}
