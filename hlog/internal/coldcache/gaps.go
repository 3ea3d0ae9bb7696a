package coldcache

import (
	"math/bits"

	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Gaps are what entries leave that were taken because their records were superseded. In a load that reads and changes the
// same records that is half of all entries, and before the ring has come round to them they would be memory for nothing.
// So gaps are found by their size, in words with the header, and used for records of the same size, or of less if what is
// left is a gap, too. The first two words of a gap are
//
//	header    no address, and the words behind it
//	links     positions of the gaps before and after it in its list, each plus one and 0 for none
//
// and the links stand in the ring, where the gap may wrap.
type gaps struct {
	lists [gapLists]uint32 // position plus one of the first gap of each size; those of gapLists words and more are in list 0
	some  [gapLists / 64]uint64
}

const (
	gapLists = 128
	minGap   = 2
	// gapTries is how many gaps of list 0 are looked at.
	gapTries = 8
)

// gapList returns the number of the list that a gap of so many words is in.
func gapList(words int) int {
	if words < gapLists {
		return words
	}
	return 0
}

func (s *shard) gapLinks(pos int) (prev, next int) {
	w := wordAt(s.ring, s.wrap(pos+1))
	return int(w>>32) - 1, int(uint32(w)) - 1
}

func (s *shard) setGapLinks(pos, prev, next int) {
	setWord(s.ring, s.wrap(pos+1), uint64(prev+1)<<32|uint64(next+1))
}

func (s *shard) gapWords(pos int) int { return 1 + s.header(pos).words() }

// makeGap makes [pos, pos+words) a gap, together with one that follows it.
func (s *shard) makeGap(pos, words int) {
	if end := s.wrap(pos + words); end != s.wrap(s.head+s.used) {
		if hd := s.header(end); hd.gap() && words+1+hd.words() <= maxHeaderWords {
			s.unlinkGap(end)
			words += 1 + hd.words()
		}
	}
	s.setHeader(pos, makeHeader(word.None, words-1, 0))
	g := s.gaps
	n := gapList(words)
	first := int(g.lists[n]) - 1
	s.setGapLinks(pos, -1, first)
	if first >= 0 {
		_, next := s.gapLinks(first)
		s.setGapLinks(first, pos, next)
	}
	g.lists[n] = uint32(pos + 1)
	g.some[n/64] |= 1 << (n % 64)
}

// unlinkGap takes the gap at pos out of its list.
func (s *shard) unlinkGap(pos int) {
	g := s.gaps
	n := gapList(s.gapWords(pos))
	prev, next := s.gapLinks(pos)
	if invariant.Enabled && prev < 0 && int(g.lists[n])-1 != pos {
		invariant.Check(false, "Q5: the gap at %d of %d words is not in its list", pos, s.gapWords(pos))
	}
	if next >= 0 {
		_, after := s.gapLinks(next)
		s.setGapLinks(next, prev, after)
	}
	if prev >= 0 {
		before, _ := s.gapLinks(prev)
		s.setGapLinks(prev, before, next)
		return
	}
	if g.lists[n] = uint32(next + 1); next < 0 {
		g.some[n/64] &^= 1 << (n % 64)
	}
}

// takeGap returns the position of so many words that were a gap, or the first part of one.
func (s *shard) takeGap(words int) (pos int, ok bool) {
	pos = s.findGap(words)
	if pos < 0 {
		return 0, false
	}
	whole := s.gapWords(pos)
	s.unlinkGap(pos)
	if whole > words {
		s.makeGap(s.wrap(pos+words), whole-words)
	}
	return pos, true
}

// findGap returns the position of a gap of so many words, or of enough to be divided, -1 if there is none.
func (s *shard) findGap(words int) int {
	g := s.gaps
	if words < gapLists {
		if first := g.lists[words]; first > 0 {
			return int(first) - 1
		}
		for n := words + minGap; n < gapLists; n = (n/64 + 1) * 64 {
			if some := g.some[n/64] >> (n % 64); some != 0 {
				return int(g.lists[n+bits.TrailingZeros64(some)]) - 1
			}
		}
	}
	pos := int(g.lists[0]) - 1
	for range gapTries {
		if pos < 0 {
			return -1
		}
		if n := s.gapWords(pos); n == words || n >= words+minGap {
			return pos
		}
		_, pos = s.gapLinks(pos)
	}
	return -1
}
