//go:build !race

package testkit

// Race says that the race detector is compiled in: the same takes some ten times as long. What it finds comes from
// goroutines that meet, not from how much each of them does.
const Race = false
