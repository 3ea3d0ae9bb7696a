package testkit

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
)

// Size is how much is done by tests that can do more or less of the same: crash states, operations, bytes flipped.
type Size int

// The sizes. The first two are those of go test, with -short and without: every kind of test, in minutes. The variable
// HLOG_FUZZ asks for more: with HLOG_FUZZ=ci the full counts that a change has to pass (fuzz/README.md lists them), with
// HLOG_FUZZ=long what takes hours.
const (
	Short Size = iota
	Usual
	CI
	Long
)

// SizeOf returns the size of this run.
func SizeOf() Size {
	switch v := os.Getenv("HLOG_FUZZ"); v {
	case "":
	case "ci":
		return CI
	case "long":
		return Long
	default:
		panic(fmt.Sprintf("HLOG_FUZZ is %q, not ci or long", v))
	}
	if testing.Short() {
		return Short
	}
	return Usual
}

// Scaled returns the count for the size of this run.
func Scaled(short, usual, ci, long int) int { return []int{short, usual, ci, long}[SizeOf()] }

// UnderRace returns less with the race detector, and n without.
func UnderRace(less, n int) int {
	if Race {
		return less
	}
	return n
}

// Counted logs what a test has counted. The word at its beginning is what .ci/run picks such lines by.
func Counted(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Logf("counted: "+format, args...)
}

// LetGarbageGrow is for the TestMain of a package whose tests open and close thousands of small stores: what lives is
// a few MiB, so that the collector would run every few stores and take as much of the processors as the tests. The limit
// is for race builds, in which all memory of a store is on the Go heap.
func LetGarbageGrow() {
	const (
		percent = 800
		limit   = 2 << 30
	)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
	debug.SetMemoryLimit(min(limit, debug.SetMemoryLimit(-1)))
}
