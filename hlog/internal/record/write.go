package record

import (
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// copyIn is [mem.CopyIn], without a call for a single word.
func copyIn(dst mem.Ptr, src []byte) {
	if len(src) == word.Align {
		mem.StorePlain(dst, mem.Load64(src))
		return
	}
	mem.CopyIn(dst, src)
}

// Write fills the allocation at p with a new record, spare capacity zeroed. It is not visible to anybody before its
// address is published.
func Write(p mem.Ptr, sh Shape, prev word.Address, v word.RecordVersion, heat int, key, value []byte, tombstone bool) {
	s := word.MakeState(sh.KeyLen, sh.ValueLen, sh.Capacity)
	if sh.Large {
		s = 0
		mem.StorePlain(mem.Add(p, sizesOffset), uint64(word.MakeSizes(sh.KeyLen, sh.ValueLen, sh.Capacity)))
	}
	if tombstone {
		s = s.WithTombstone()
	}
	mem.StorePlain(mem.Add(p, stateOffset), uint64(s))
	mem.CopyIn(mem.Add(p, uintptr(sh.KeyOff)), key)
	mem.CopyIn(mem.Add(p, uintptr(sh.ValueOff)), value)
	for off := sh.ValueOff + word.AlignUp(len(value)); off < sh.Size; off += word.Align {
		mem.StorePlain(mem.Add(p, uintptr(off)), 0)
	}
	mem.StorePlain(p, uint64(word.MakeLink(prev, v, sh.Large).WithHeat(heat)))
}

// Abandon marks an allocation whose publication failed (W2).
func Abandon(p mem.Ptr) {
	storeState(p, StateAt(p).WithInvalid())
}

// WriteFiller covers n bytes of log at address a, whose place in memory is p.
func WriteFiller(p mem.Ptr, a word.Address, n int) {
	mem.StorePlain(p, uint64(word.MakeFiller(n, fillerCheck(a, n))))
}
