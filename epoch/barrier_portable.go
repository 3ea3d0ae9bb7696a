//go:build !linux || !amd64 || race

package epoch

// plainEnter says that this build can enter with a plain store. It cannot: see the package comment.
const plainEnter = false

func membarrierWorks() bool { return false }

func fenceThreads() {}

// Prepare does nothing here: there is nothing to register.
func Prepare() {}
