package workload

import "encoding/binary"

// Key overwrites dst with the key of number i: the number in big-endian order, so that a sorted engine keeps the
// keys in order, cut to its low bytes when dst is shorter than eight, repeated-byte padding in front when it is
// longer. Numbers that differ within the bytes that fit give keys that differ.
func Key(dst []byte, i uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], i)
	if len(dst) <= 8 {
		copy(dst, b[8-len(dst):])
		return
	}
	pad := dst[:len(dst)-8]
	for j := range pad {
		pad[j] = 'k'
	}
	copy(dst[len(pad):], b[:])
}

// Value overwrites dst with the value that write number seq gives to key i: eight bytes of both mixed together (as
// many as fit), then a filler that a compressor would not get much out of.
func Value(dst []byte, i, seq uint64) {
	x := Mix64(i ^ seq<<32 ^ seq>>32)
	for len(dst) >= 8 {
		binary.LittleEndian.PutUint64(dst, x)
		dst = dst[8:]
		x += 0x9e3779b97f4a7c15
	}
	for j := range dst {
		dst[j] = byte(x) | 1 // never all zero, so that no value can be mistaken for one that was never written
		x >>= 8
	}
}

// Mix64 is the finalizer of splitmix64: one to one on 64 bits, every input bit reaching every output bit.
func Mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Keys64 turns picks into the 8-byte keys of the benchmarks on whole words: pick i becomes Mix64(i).
func Keys64(picks []uint32) []uint64 {
	out := make([]uint64, len(picks))
	for i, p := range picks {
		out[i] = Mix64(uint64(p))
	}
	return out
}
