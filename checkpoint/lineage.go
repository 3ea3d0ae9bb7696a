package checkpoint

import "slices"

// Extend returns the lineage of a child of parent (nil: of a first version) that adds delta to it. delta may be empty
// (Start == End). live says that the store went on from parent without a rollback or a reopening in between: then
// the records beyond parent's cut that lie in its fuzzy end are part of the child, and the exception is dropped.
// That holds only for an exception that parent itself made ([Manifest.LiveFuzzy]).
//
//	parent   [----------|~~~~~)                          ~ without records of LogVersion+1
//	live     [----------------)[---------|~~~~)   =  [--------------------------|~~~~)
//	not live [----------|~~~~~)     [----|~~~~)      gap: what the rollback abandoned
func Extend(parent *Manifest, delta Extent, live bool) []Extent {
	var extents []Extent
	if parent != nil {
		extents = slices.Clone(parent.Extents)
		if parent.LiveFuzzy() < parent.Cut && live {
			n := len(extents)
			extents[n-1].Fuzzy = extents[n-1].End
		}
	}
	if delta.Start == delta.End {
		return extents
	}
	if n := len(extents); n > 0 && extents[n-1].End == delta.Start && extents[n-1].Fuzzy == extents[n-1].End {
		delta.Start = extents[n-1].Start
		extents = extents[:n-1]
	}
	return append(extents, delta)
}

// LiveFuzzy returns where the stretch begins that holds records of m's next version besides its own, in the log of
// the store that made m; m.Cut when there is none. An exception that m has inherited, because its own delta is empty,
// is no such stretch: what it leaves out was undone by a rollback, and is not the running store's either. The log
// version does not tell the two apart, because a store that reopens at an older version counts on from that one's.
func (m *Manifest) LiveFuzzy() uint64 {
	n := len(m.Extents)
	if n == 0 || m.DeltaStart == m.Cut {
		return m.Cut
	}
	return m.Extents[n-1].Fuzzy
}

// Trim returns the lineage without the log below begin, for a version whose live records all lie at begin or above.
func Trim(extents []Extent, begin uint64) []Extent {
	extents = slices.Clone(extents)
	for len(extents) > 0 && extents[0].End <= begin {
		extents = extents[1:]
	}
	if len(extents) > 0 && extents[0].Start < begin {
		extents[0].Start = begin
		extents[0].Fuzzy = max(extents[0].Fuzzy, begin)
	}
	return extents
}

// Log returns the addresses of a lineage.
func Log(extents []Extent) ExtentSet {
	var s ExtentSet
	for _, e := range extents {
		s.Add(e.Start, e.End)
	}
	return s
}
