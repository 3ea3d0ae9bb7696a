// Package invariant holds the checks that are too dear for every build. They are compiled in by the build tag
// "invariants" and vanish without it:
//
//	if invariant.Enabled {
//		invariant.Check(head <= tail, "L1: head %d passes tail %d", head, tail)
//	}
//
// On a path whose allocations are counted, test first and format only on failure:
//
//	if invariant.Enabled && head > tail {
//		invariant.Check(false, "L1: head %d passes tail %d", head, tail)
//	}
package invariant
