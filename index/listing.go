package index

import (
	"context"
	"maps"
	"slices"
	"sort"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Listing goes over the newest record of each hash of a version, in the order of hashes, and reads each of its shares once,
// from the first block to the last. It belongs to one goroutine, which closes it.
type Listing struct {
	set     *shareSet
	sweep   *sweep
	besides []Triple // in order
	drop    word.Address
	windows uint64 // into which all orders are divided
	at      uint64 // the next of them
	sorter  sorter
}

// listingAhead is how many blocks of a share a listing reads at a time.
const listingAhead = shareAhead / shareBlock

// NewListing returns a listing of the records from src.Drop on that src.Shares and besides tell of: besides is what NewestOf
// has returned of the log that the shares do not stand for, and is not changed. Image and Runs of src must be nil.
func NewListing(src Source, besides []Triple) *Listing {
	wanted := slices.DeleteFunc(slices.Clone(src.Shares), func(r ShareRef) bool { return r.To <= src.Drop })
	l := &Listing{set: &shareSet{refs: wanted, open: src.Open, distant: src.Distant, opened: map[uint64]*openShare{}}, drop: src.Drop, besides: besides}
	triples := int64(len(besides))
	for _, r := range wanted {
		triples += max(r.Triples, 0)
	}
	l.windows = uint64(triples/mergeWindow) + 1
	l.Rewind()
	return l
}

// NewestOf returns of each hash in triples the newest, in the order of hashes, in memory of its own or that of triples.
func NewestOf(triples []Triple) []Triple {
	var s sorter
	return s.newest(triples, 0, ^uint64(0))
}

// Rewind begins again.
func (l *Listing) Rewind() {
	l.sweep, l.at = newSweep(l.set), 0
	l.sweep.ahead = listingAhead
}

// Next returns the next triples, which ascend, in memory that the next call uses again; more is false behind the last. There
// may be none now and then.
//
// Errors are *[CorruptError], [ErrFormat], and those of ctx and of the files.
func (l *Listing) Next(ctx context.Context) (triples []Triple, more bool, err error) {
	if l.at == l.windows {
		return nil, false, ctx.Err()
	}
	width := ^uint64(0) / l.windows
	first, last := l.at*width, l.at*width+width-1
	if l.at++; l.at == l.windows {
		last = ^uint64(0)
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	triples, err = l.sweep.read(l.sweep.triples[:0], first, last)
	l.sweep.triples = triples
	if err != nil {
		return nil, false, err
	}
	l.set.forget(l.sweep.cursors)
	from := sort.Search(len(l.besides), func(i int) bool { return l.besides[i].order >= first })
	n := sort.Search(len(l.besides)-from, func(i int) bool { return l.besides[from+i].order > last })
	triples = append(triples, l.besides[from:from+n]...)
	l.sweep.triples = triples
	if !ascending(triples) {
		triples = l.sorter.newest(triples, first, last)
	}
	if l.drop > 0 {
		triples = slices.DeleteFunc(triples, func(t Triple) bool { return t.Address() < l.drop })
	}
	return triples, true, nil
}

// Close closes what is open.
func (l *Listing) Close() { l.set.close() }

// ascending reports whether triples are in order, and of each order one.
func ascending(triples []Triple) bool {
	for i := 1; i < len(triples); i++ {
		if triples[i].order <= triples[i-1].order {
			return false
		}
	}
	return true
}

// forget closes the shares that a sweep has passed: it has cursors in the others.
func (s *shareSet) forget(cursors map[uint64]*shareCursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.opened, func(id uint64, o *openShare) bool {
		if cursors[id] != nil {
			return false
		}
		if o.file != nil {
			o.file.Close() // what was read is verified
		}
		return true
	})
}
