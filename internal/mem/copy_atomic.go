//go:build !amd64 || race

package mem

import "encoding/binary"

func storeRelease(p Ptr, v uint64) { Word(p).Store(v) }

// CopyOut fills dst from src, which must be 8-aligned. Whole words must be readable there.
func CopyOut(dst []byte, src Ptr) {
	for len(dst) >= WordBytes {
		binary.LittleEndian.PutUint64(dst, Load(src))
		src, dst = Add(src, WordBytes), dst[WordBytes:]
		if len(dst) == 0 {
			return
		}
	}
	if len(dst) == 0 {
		return
	}
	w := Load(src)
	for i := range dst {
		dst[i] = byte(w >> (8 * i))
	}
}

// CopyIn fills dst, which must be 8-aligned, from src. Whole words must be writable there: what is left of the last
// word becomes 0.
func CopyIn(dst Ptr, src []byte) {
	for len(src) >= WordBytes {
		Word(dst).Store(binary.LittleEndian.Uint64(src))
		src = src[WordBytes:]
		if len(src) == 0 {
			return
		}
		dst = Add(dst, WordBytes)
	}
	if len(src) > 0 {
		Word(dst).Store(tail(src))
	}
}
