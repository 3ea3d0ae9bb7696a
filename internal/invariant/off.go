//go:build !invariants

package invariant

// Enabled reports whether the checks are compiled in. It is a constant, so that code behind it costs nothing without
// the tag.
const Enabled = false

// Check panics with the formatted message unless ok. Name the invariant by its number in the message.
//
// The arguments are evaluated in every build: put `if invariant.Enabled` around a check that has to compute them.
func Check(ok bool, format string, args ...any) {}

// Sometimes returns true in percent of 100 calls, at random, so that a rare path can be taken often. It is false
// without the tag. Safe from any goroutine.
func Sometimes(percent int) bool { return false }
