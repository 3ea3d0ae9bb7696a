//go:build race

package mem

// storePlain is atomic so that a reader which was handed the memory by a compare-and-swap is never reported.
func storePlain(p Ptr, v uint64) { Word(p).Store(v) }

// loadPlain is atomic so that it is never reported beside a StorePlain.
func loadPlain(p Ptr) uint64 { return Word(p).Load() }
