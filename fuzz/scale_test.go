package fuzz

import "github.com/hybridlog/hybridlog/internal/testkit"

// scaled returns how much of a test to do at the size of this run.
func scaled(short, usual, ci, long int) uint64 { return uint64(testkit.Scaled(short, usual, ci, long)) }

// sparse returns the stride among places to crash at, or to fail at. Under the race detector it is larger: what comes of
// each is found out by one goroutine, which has no races.
func sparse(stride int) int { return stride * testkit.UnderRace(10, 1) }
