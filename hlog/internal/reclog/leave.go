package reclog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// What was used while it was in memory is worth a place in the cache when its page is dropped. Uses are counted in the heat
// of a record (package word), and only in the older half of memory: the uses that follow close on the first one say
// little, and as long as memory suffices nothing is counted at all.
//
//	head            aging                               tail
//	  | uses count    |  uses do not count                |
//	  +---------------+-----------------------------------+
//	  | offered to the cache when head moves on

// Used counts a use of the record x, if it is old enough. The caller is inside the epoch in which it saw x.
func (l *Log) Used(x record.Seen) {
	if uint64(x.Address()) < l.aging.Load() {
		x.Touch()
	}
}

// age says of which records uses are counted from now on, where so many pages may be resident. The caller holds pageMu.
func (l *Log) age(window uint64) {
	aging := uint64(0)
	head := l.head.Load()
	if held := l.limit.Load() - l.pageStart(head); held > window*l.pageBytes/4*3 {
		aging = head + held/2
	}
	if l.aging.Load() != aging {
		l.aging.Store(aging)
	}
}

// Leaving is a record that leaves memory. It is valid during the call that it is passed to.
type Leaving struct {
	At   word.Address
	Heat int
	Size int // in bytes
	p    mem.Ptr
	buf  []byte
}

// Record returns a copy of the record with the state that it has on disk, but for the checksum, which is missing.
func (r *Leaving) Record() record.Bytes {
	if cap(r.buf) < r.Size {
		r.buf = make([]byte, r.Size)
	}
	b := record.Bytes(r.buf[:r.Size])
	mem.CopyOut(b, r.p)
	b.Cool()
	return b
}

// offer tells Hooks.Leaving of the records in [from, to), all of which is written. They do not change any more (H2), and
// head is still at from: whoever reads one of them finds it in its frame until the cache has got it.
func (l *Log) offer(from, to uint64) {
	if l.hooks.Leaving == nil {
		return
	}
	r := &l.leaving
	for a := from; a < to; {
		p := l.At(word.Address(a))
		k := record.LinkAt(p)
		switch {
		case !k.Written():
			a = AlignBlock(a + 1) // log that was skipped when the store was opened
			continue
		case k.Filler():
			a += uint64(k.FillerBytes())
			continue
		}
		st := record.StateAt(p)
		n := record.ShapeAt(p, k, st).Size
		// What is sealed has been superseded, what is invalid was never published.
		if !st.Sealed() && !st.Invalid() {
			r.At, r.Heat, r.Size, r.p = word.Address(a), k.Heat(), n, p
			l.hooks.Leaving(r)
		}
		a += uint64(n)
	}
	r.p = nil
	if cap(r.buf) > maxLeavingBuffer {
		r.buf = nil
	}
}

// maxLeavingBuffer is how large a buffer for records that leave may be to be kept for the next page.
const maxLeavingBuffer = 64 << 10
