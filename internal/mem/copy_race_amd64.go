//go:build amd64 && race

package mem

import (
	"encoding/binary"
	"runtime"
	"unsafe"
)

// The detector keeps a clock for every word that was ever stored atomically, and is told of every byte that is stored
// plainly: a copy word by word takes it a hundred times as long as the machine. So it is told of the other side of a copy
// as a whole, and on the side of the shared memory it is shown the first and the last word. That is enough to report memory
// that is used anew while it is copied. What orders the reader of a value after its writer are the words that publish it,
// which are atomic.

// CopyOut fills dst from src, which must be 8-aligned. Whole words must be readable there. Whoever copies the words that
// publish values together with these takes [CopyOutAll].
func CopyOut(dst []byte, src Ptr) {
	n := len(dst)
	if n <= 2*WordBytes {
		copyOutWords(dst, src)
		return
	}
	copyUnseen(dst, src)
	Load(src)
	Load(Add(src, uintptr(n-1)&^(WordBytes-1)))
}

// CopyOutAll is [CopyOut], and what the goroutine does next happens after the stores of all copied words.
//
//go:nocheckptr
func CopyOutAll(dst []byte, src Ptr) {
	copyUnseen(dst, src)
	// The words are loaded after the copy: what it has seen was stored before.
	for off := 0; off < len(dst); off += WordBytes {
		Load(Add(src, uintptr(off)))
	}
}

// CopyIn fills dst, which must be 8-aligned, from src. Whole words must be writable there: what is left of the last
// word becomes 0.
func CopyIn(dst Ptr, src []byte) {
	n := len(src)
	if n <= 2*WordBytes {
		copyInWords(dst, src)
		return
	}
	runtime.RaceReadRange(Ptr(unsafe.SliceData(src)), n)
	last := (n - 1) &^ (WordBytes - 1)
	copyInWords(dst, src[:WordBytes])
	// Sound as on amd64 without the detector.
	move(unsafe.Slice((*byte)(dst), last)[WordBytes:], src[WordBytes:last])
	copyInWords(Add(dst, uintptr(last)), src[last:])
}

// copyUnseen is CopyOut of which the detector sees dst only.
func copyUnseen(dst []byte, src Ptr) {
	if len(dst) > 0 {
		runtime.RaceWriteRange(Ptr(unsafe.SliceData(dst)), len(dst))
		// Sound as on amd64 without the detector.
		move(dst, unsafe.Slice((*byte)(src), len(dst)))
	}
}

// move copies src to dst, which is as long. The detector does not see it: it sees copy even here.
//
//go:norace
func move(dst, src []byte) {
	for len(dst) >= WordBytes && len(src) >= WordBytes {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src))
		dst, src = dst[WordBytes:], src[WordBytes:]
	}
	for i := range dst {
		dst[i] = src[i]
	}
}
