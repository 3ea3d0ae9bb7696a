//go:build !linux

package hlog

import "math"

// containerMemory is what only Linux has: a limit of memory for a group of processes.
func containerMemory() int64 { return math.MaxInt64 }
