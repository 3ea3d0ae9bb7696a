package fuzz

import "github.com/hybridlog/hybridlog/internal/testkit"

// scaled returns how much of a test to do at the size of this run.
func scaled(short, usual, ci, long int) uint64 { return uint64(testkit.Scaled(short, usual, ci, long)) }
