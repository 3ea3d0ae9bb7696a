//go:build invariants

package mem

// Goroutine returns a number that no other goroutine has as long as the calling one lives: the address of what the runtime
// keeps of it.
func Goroutine() uintptr
