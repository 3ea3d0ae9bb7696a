//go:build (amd64 || arm64) && !race

package mem

// Prefetch asks for the cache line at p and does not wait for it. It never faults, whatever p is.
//
//go:noescape
func Prefetch(p Ptr)
