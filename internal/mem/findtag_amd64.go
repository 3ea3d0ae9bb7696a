//go:build amd64 && !race

package mem

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// wide says that the bucket can be compared as one vector. VBMI is asked for because the processors that have
// AVX-512 without it slow down for some time when they use it.
var wide = cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VBMI

// FindTag returns the first of the seven entries of the index bucket of hash h whose tag matches h, and where it
// stands; 0 and nil if there is none. Entries without a tag and catch-alls never match. When the first that matches is
// tentative, or changes meanwhile, the answer may be 0 as well. The entry is one that stood in the slot during the call.
//
// There is no branch in it on what the bucket holds, but for whether anything matches: such a branch is mispredicted, and
// keeps the CPU from starting on the next operation's cache misses.
//
//go:noescape
func FindTag(b *Buckets, h uint64) (slot Ptr, entry uint64)

//go:noescape
func findTags(b *Buckets, ring *Ring, hashes *uint64, n int, next *uint64, nextN int, entries *uint64)

// FindTags sets entries[i] to what FindTag finds for hashes[i], and asks for the cache lines of the records that they lead
// to, and of the buckets of the hashes that come next. It reports whether it has: not every machine can, and then
// nothing has happened. The slices of hashes and entries are of one length.
func FindTags(b *Buckets, ring *Ring, hashes, next, entries []uint64) bool {
	if !wide {
		return false
	}
	findTags(b, ring, unsafe.SliceData(hashes), min(len(hashes), len(entries)), unsafe.SliceData(next), min(len(next), len(hashes)), unsafe.SliceData(entries))
	return true
}
