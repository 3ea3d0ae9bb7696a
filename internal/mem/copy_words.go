//go:build !amd64 || race

package mem

import "encoding/binary"

func storeRelease(p Ptr, v uint64) { Word(p).Store(v) }

// copyOutWords is [CopyOut] word by word.
func copyOutWords(dst []byte, src Ptr) {
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

// copyInWords is [CopyIn] word by word.
func copyInWords(dst Ptr, src []byte) {
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
