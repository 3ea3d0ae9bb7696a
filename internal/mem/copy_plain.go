//go:build amd64 && !race

package mem

import "unsafe"

func storeRelease(p Ptr, v uint64) {
	// Sound on amd64: an aligned word is stored whole, and stores are not reordered with older accesses.
	*(*uint64)(p) = v
}

func storePlain(p Ptr, v uint64) { *(*uint64)(p) = v }

// CopyOut fills dst from src, which must be 8-aligned. Whole words must be readable there.
func CopyOut(dst []byte, src Ptr) {
	// Sound because the caller vouches for len(dst) bytes at src; a racing writer is found out by the caller's
	// sequence check, whose loads are not reordered with these.
	copy(dst, unsafe.Slice((*byte)(src), len(dst)))
}

// CopyOutAll is [CopyOut], and what the goroutine does next happens after the stores of all copied words.
func CopyOutAll(dst []byte, src Ptr) { CopyOut(dst, src) }

// CopyIn fills dst, which must be 8-aligned, from src. Whole words must be writable there: what is left of the last
// word becomes 0.
func CopyIn(dst Ptr, src []byte) {
	whole := len(src) &^ (WordBytes - 1)
	if rest := src[whole:]; len(rest) > 0 {
		*(*uint64)(unsafe.Add(dst, whole)) = tail(rest)
	}
	// Sound because the caller vouches for the words at dst.
	copy(unsafe.Slice((*byte)(dst), whole), src)
}
