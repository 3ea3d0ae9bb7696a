//go:build !amd64

package mem

// CopyOut fills dst from src, which must be 8-aligned. Whole words must be readable there.
func CopyOut(dst []byte, src Ptr) { copyOutWords(dst, src) }

// CopyOutAll is [CopyOut], and what the goroutine does next happens after the stores of all copied words.
func CopyOutAll(dst []byte, src Ptr) { copyOutWords(dst, src) }

// CopyIn fills dst, which must be 8-aligned, from src. Whole words must be writable there: what is left of the last
// word becomes 0.
func CopyIn(dst Ptr, src []byte) { copyInWords(dst, src) }
