//go:build race || !(unix || windows)

package mem

func (r *Region) mapMemory(size int) error {
	// Whole words at the end: copies read and write the last word as a whole.
	r.b = AlignedBytes((size+WordBytes-1)&^(WordBytes-1), pageAlign)[:size]
	return nil
}

func (r *Region) release(b []byte) { clear(b) }

func (r *Region) discard([]byte) {}

func (r *Region) prefault([]byte) {}

func (r *Region) unmapMemory() error { return nil }

// WantHuge does nothing: the heap is the runtime's.
func (r *Region) WantHuge() {}
