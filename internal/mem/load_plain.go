//go:build !race

package mem

func loadPlain(p Ptr) uint64 {
	// Sound because the word was written before p could be reached, and does not change.
	return *(*uint64)(p)
}
