// Package invariant holds the checks that are too dear for every build. They are compiled in by the build tag
// "invariants" and vanish without it:
//
//	if invariant.Enabled {
//		invariant.Check(head <= tail, "L1: head %d passes tail %d", head, tail)
//	}
package invariant
