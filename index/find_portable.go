//go:build !amd64 || race

package index

import (
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// findSpecific returns the first specific entry of the main bucket of h that matches it, and where it stands; 0 if there
// is none, or if somebody is just changing it.
func findSpecific(b *mem.Buckets, h uint64) (mem.Ptr, word.Entry) { return findEach(b, h) }

// Seek returns the owner of h if that takes no more than one look at one bucket, and 0 otherwise, of which nothing
// follows: Find tells. It is small enough to become part of its caller. The
// caller is inside the epoch.
func (x *Index) Seek(h uint64) word.Entry {
	_, e := findEach(x.steady.Load(), h)
	return e
}

// SeekAll does Seek for many hashes, and asks for the cache lines of the records that they lead to in a log at ring, and
// of the buckets of the hashes that come next. No slice is longer than hashes, and entries is as long. The caller is
// inside the epoch.
func (x *Index) SeekAll(ring *mem.Ring, hashes, next, entries []uint64) {
	seekEach(x.steady.Load(), ring, hashes, next, entries)
}
