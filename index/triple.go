package index

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Triple is what the index on disk says of a record: the hash of its key, where it lies, and how long it is.
type Triple struct {
	order uint64 // of the hash: its place in every file
	site  word.Site
}

// MakeTriple returns the triple of a record of size bytes at a, whose key has the hash h.
func MakeTriple(h uint64, a word.Address, size int, tombstone bool) Triple {
	return Triple{order(h), word.MakeSite(a, size, tombstone)}
}

// Hash returns the hash of the record's key.
func (t Triple) Hash() uint64 { return unorder(t.order) }

// Order returns the place of the hash in the order of all files.
func (t Triple) Order() uint64 { return t.order }

// Address returns where the record lies.
func (t Triple) Address() word.Address { return t.site.Address() }

// Size returns the length of the record in bytes, see [word.Site].
func (t Triple) Size() int64 { return t.site.Size() }

// Tombstone reports whether the record deletes its key.
func (t Triple) Tombstone() bool { return t.site.Tombstone() }

// compareTriples compares by order, and of one order the newer record is less.
func compareTriples(a, b Triple) int {
	if a.order != b.order {
		return cmp.Compare(a.order, b.order)
	}
	return cmp.Compare(b.site.Offset(), a.site.Offset())
}

const (
	// fewTriples is up to how many triples are sorted by comparison.
	fewTriples = 64
	// digitBits is the width of the digits that triples are sorted by, and sortDigits their number: two of some hundred
	// thousand hashes are hardly ever alike in so many bits.
	digitBits  = 11
	sortDigits = 3
)

// sorter sorts triples and keeps the memory that this takes.
type sorter struct {
	ends    [sortDigits][1 << digitBits]uint32
	scratch []Triple
}

// newest sorts triples, whose orders lie between first and last, and leaves of each order the newest. It returns what is
// left, in the memory of triples.
//
// It sorts by the first bits, digit by digit from the last on, which no branch depends on; then hardly any triple is out
// of its place. If many are, because the orders are no hashes, it sorts by comparison.
func (s *sorter) newest(triples []Triple, first, last uint64) []Triple {
	if len(triples) <= fewTriples {
		slices.SortFunc(triples, compareTriples)
		return keepNewest(triples[:0], triples)
	}
	s.scratch = slices.Grow(s.scratch[:0], len(triples))[:len(triples)]
	shift := max(bits.Len64(last-first)-sortDigits*digitBits, 0)
	s.count(triples, first, shift)
	from, to := triples, s.scratch
	for d := range s.ends {
		ends := &s.ends[d]
		for _, t := range from {
			at := &ends[(t.order-first)>>shift>>(d*digitBits)%(1<<digitBits)]
			to[*at] = t
			*at++
		}
		from, to = to, from
	}
	if !nearlySorted(from) {
		slices.SortFunc(from, compareTriples)
	}
	return keepNewest(to[:0], from)
}

// count sets for each digit where the triples begin that have it.
func (s *sorter) count(triples []Triple, first uint64, shift int) {
	clear(s.ends[:])
	a, b, c := &s.ends[0], &s.ends[1], &s.ends[2]
	for i := range triples {
		o := (triples[i].order - first) >> shift
		a[o%(1<<digitBits)]++
		b[o>>digitBits%(1<<digitBits)]++
		c[o>>(2*digitBits)%(1<<digitBits)]++
	}
	for d := range s.ends {
		at := uint32(0)
		for i, n := range &s.ends[d] {
			s.ends[d][i] = at
			at += n
		}
	}
}

// nearlySorted sorts triples by insertion if few of them are out of place.
func nearlySorted(triples []Triple) bool {
	moves := 0
	for i := 1; i < len(triples); i++ {
		if triples[i].order >= triples[i-1].order {
			continue
		}
		t, j := triples[i], i
		for ; j > 0 && t.order < triples[j-1].order; j-- {
			triples[j] = triples[j-1]
		}
		triples[j] = t
		if moves += i - j; moves > len(triples) {
			return false
		}
	}
	return true
}

// keepNewest appends to kept, of each order in triples, which are sorted, the newest. kept may be in the same memory.
func keepNewest(kept, triples []Triple) []Triple {
	for _, t := range triples {
		if n := len(kept); n > 0 && kept[n-1].order == t.order {
			if kept[n-1].site.Offset() < t.site.Offset() {
				kept[n-1] = t
			}
			continue
		}
		kept = append(kept, t)
	}
	return kept
}
