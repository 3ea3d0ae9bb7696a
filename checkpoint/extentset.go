package checkpoint

import (
	"slices"
	"sort"
)

// Range is the log bytes [Start, End).
type Range struct{ Start, End uint64 }

// Bytes returns the length of r.
func (r Range) Bytes() int64 { return int64(r.End - r.Start) }

// ExtentSet is a set of log addresses, kept as ascending ranges of which no two touch. The zero value is empty.
// It is not safe for concurrent use.
type ExtentSet struct{ ranges []Range }

// Ranges returns the set as ascending ranges with gaps between them. The slice is the set's own.
func (s *ExtentSet) Ranges() []Range { return s.ranges }

// Bytes returns how many addresses are in the set.
func (s *ExtentSet) Bytes() int64 {
	var n int64
	for _, r := range s.ranges {
		n += r.Bytes()
	}
	return n
}

// Empty reports whether nothing is in the set.
func (s *ExtentSet) Empty() bool { return len(s.ranges) == 0 }

// Clone returns a copy that shares nothing with s.
func (s *ExtentSet) Clone() ExtentSet { return ExtentSet{ranges: slices.Clone(s.ranges)} }

// endingAfter returns the index of the first range that ends after a.
func (s *ExtentSet) endingAfter(a uint64) int {
	return sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].End > a })
}

// startingAt returns the index of the first range that starts at or after a.
func (s *ExtentSet) startingAt(a uint64) int {
	return sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].Start >= a })
}

// Add puts [start, end) into the set.
func (s *ExtentSet) Add(start, end uint64) {
	if start >= end {
		return
	}
	i, j := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].End >= start }), s.startingAt(end)
	if j < len(s.ranges) && s.ranges[j].Start == end {
		j++ // touches from above
	}
	if i < j {
		start, end = min(start, s.ranges[i].Start), max(end, s.ranges[j-1].End)
	}
	s.ranges = slices.Replace(s.ranges, i, j, Range{start, end})
}

// Subtract takes [start, end) out of the set.
func (s *ExtentSet) Subtract(start, end uint64) {
	if start >= end {
		return
	}
	i, j := s.endingAfter(start), s.startingAt(end)
	if i >= j {
		return
	}
	var rest []Range
	if first := s.ranges[i]; first.Start < start {
		rest = append(rest, Range{first.Start, start})
	}
	if last := s.ranges[j-1]; last.End > end {
		rest = append(rest, Range{end, last.End})
	}
	s.ranges = slices.Replace(s.ranges, i, j, rest...)
}

// AddSet puts everything of t into the set.
func (s *ExtentSet) AddSet(t ExtentSet) {
	for _, r := range t.ranges {
		s.Add(r.Start, r.End)
	}
}

// SubtractSet takes everything of t out of the set.
func (s *ExtentSet) SubtractSet(t ExtentSet) {
	for _, r := range t.ranges {
		s.Subtract(r.Start, r.End)
	}
}

// Contains reports whether a is in the set.
func (s *ExtentSet) Contains(a uint64) bool { return s.Intersects(a, a+1) }

// Covers reports whether all of [start, end) is in the set.
func (s *ExtentSet) Covers(start, end uint64) bool {
	i := s.endingAfter(start)
	return start >= end || i < len(s.ranges) && s.ranges[i].Start <= start && end <= s.ranges[i].End
}

// Intersects reports whether any address of [start, end) is in the set.
func (s *ExtentSet) Intersects(start, end uint64) bool {
	i := s.endingAfter(start)
	return start < end && i < len(s.ranges) && s.ranges[i].Start < end
}
