package reclog

import (
	"math/bits"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/word"
)

// SmallPageBytes is the least page of a log whose owner asks for LargeRecords: a record of at most that many bytes fits
// into every page.
const SmallPageBytes = 1 << smallPageBits

const (
	smallPageBits = 14
	// LargeClasses are the page sizes beyond SmallPageBytes, each twice as large as the one before.
	LargeClasses = word.MaxPageBits - smallPageBits
)

// LargeRecords says which pages it takes to move what is in the log. A page holds a whole record, and the next opening of
// a directory may ask for smaller pages than the one that wrote a record.
//
// It knows for each size of pages where the newest record is that fits into such a page and into none of half the size. A
// record that is moved is written anew, so once the log begins behind that address there is none of its class left.
type LargeRecords struct {
	// From is where what is known begins: of records below, which were written before anybody took notes, the log may
	// have larger ones.
	From uint64
	// Last holds at i the address of the newest record that needs a page of SmallPageBytes << (i+1), 0 if there is none.
	Last [LargeClasses]uint64
}

// PageBytes returns the least size of pages that takes every record that is known of, in a log that begins at begin.
func (r LargeRecords) PageBytes(begin uint64) int {
	for i := LargeClasses - 1; i >= 0; i-- {
		if r.Last[i] > 0 && r.Last[i] >= begin {
			return SmallPageBytes << (i + 1)
		}
	}
	return SmallPageBytes
}

// largeClass returns the index in Last of a record of size bytes, -1 if it fits into every page.
func largeClass(size int) int { return bits.Len64(uint64(size-1)) - smallPageBits - 1 }

// PageFor returns the least size of pages that takes a record of size bytes.
func PageFor(size int) int { return SmallPageBytes << (largeClass(max(size, SmallPageBytes)) + 1) }

// largeNotes are the LargeRecords of a log, which grow as it is written.
type largeNotes struct {
	from atomic.Uint64
	last [LargeClasses]atomic.Uint64
}

// note takes down that a record of size bytes, more than SmallPageBytes, lies at a.
func (n *largeNotes) note(a uint64, size int) { raise(&n.last[largeClass(size)], a) }

// LargeRecords returns what is known of records that do not fit into every page.
func (l *Log) LargeRecords() (r LargeRecords) {
	r.From = l.large.from.Load()
	for i := range r.Last {
		r.Last[i] = l.large.last[i].Load()
	}
	return r
}

// AddLarge takes over what an earlier opening, or another branch, knew.
func (l *Log) AddLarge(r LargeRecords) {
	raise(&l.large.from, r.From)
	for i, a := range r.Last {
		raise(&l.large.last[i], a)
	}
}

// FoundLarge takes down a record that a walk has come upon, with the size that it takes when it is moved.
func (l *Log) FoundLarge(a word.Address, size int) {
	if size > SmallPageBytes {
		l.large.note(uint64(a), size)
	}
}
