package cold

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/mem"
)

const (
	filterLow     = 7                                 // bits of an order that are kept whole: one of 2^7 absent orders passes
	filterHead    = 72                                // bytes
	filterSample  = 8                                 // words of the upper bits that a sample counts
	filterSamples = (filterHead - filterSampleAt) / 2 // of them
	// FilterBits is about what a record takes in a filter.
	FilterBits = filterLow + 2

	filterOrders = (BlockBytes - filterHead - 16) * 8 / (filterLow + 2) // that a block of filter holds at most
	// Where the fields of a block of filter are.
	filterCountAt  = 8
	filterLowAt    = 10
	filterFirstAt  = 16
	filterLastAt   = 24
	filterFactorAt = 32
	filterSampleAt = 40
)

// scale maps orders evenly to the numbers below n << filterLow, ascending: first to 0, and the others, up to last, by
// factor.
type scale struct{ first, factor uint64 }

// makeScale returns the scale for n orders between first and last.
func makeScale(n int, first, last uint64) scale {
	numbers, orders := uint64(n)<<filterLow, last-first+1
	switch {
	case orders == 0: // all 2^64 of them
		return scale{first, numbers}
	case orders <= numbers:
		return scale{first, 0} // each has a number of its own
	}
	factor, _ := bits.Div64(numbers, 0, orders)
	return scale{first, factor}
}

func (s scale) of(order uint64) uint64 {
	if s.factor == 0 {
		return order - s.first
	}
	n, _ := bits.Mul64(order-s.first, s.factor)
	return n
}

// makeFilter makes b, a block, the filter of orders, which ascend, lie between first and last, and are few enough. seed is
// that of its checksum.
func makeFilter(b []byte, orders []uint64, first, last, seed uint64) {
	clear(b)
	n := len(orders)
	sc := makeScale(n, first, last)
	binary.LittleEndian.PutUint16(b[filterCountAt:], uint16(n))
	b[filterLowAt] = filterLow
	binary.LittleEndian.PutUint64(b[filterFirstAt:], first)
	binary.LittleEndian.PutUint64(b[filterLastAt:], last)
	binary.LittleEndian.PutUint64(b[filterFactorAt:], sc.factor)
	upper, lower := b[filterHead:], b[filterHead+8*upperWords(n):]
	for i, o := range orders {
		q := sc.of(o)
		set := q>>filterLow + uint64(i)
		upper[set/8] |= 1 << (set % 8)
		at := uint(i) * filterLow
		low := uint16(q&(1<<filterLow-1)) << (at % 8)
		lower[at/8] |= byte(low)
		lower[at/8+1] |= byte(low >> 8)
	}
	ones := 0
	for w := range upperWords(n) {
		if w%filterSample == 0 {
			binary.LittleEndian.PutUint16(b[filterSampleAt+w/filterSample*2:], uint16(ones))
		}
		ones += bits.OnesCount64(mem.Load64(upper[8*w:]))
	}
	binary.LittleEndian.PutUint64(b, xxh3.HashSeed(b[8:], seed))
}

// upperWords returns how many words the upper bits of n orders take.
func upperWords(n int) int { return (2*n + 63) / 64 }

// checkFilter returns why b is not a block of filter for orders between first and last, nil if it is.
func checkFilter(b []byte, first, last, seed uint64) error {
	if mem.Load64(b) != xxh3.HashSeed(b[8:BlockBytes], seed) {
		return fmt.Errorf("block of a filter does not fit its checksum")
	}
	n := int(binary.LittleEndian.Uint16(b[filterCountAt:]))
	if n == 0 || n > filterOrders || b[filterLowAt] != filterLow || mem.Load64(b[filterFirstAt:]) != first || mem.Load64(b[filterLastAt:]) != last ||
		mem.Load64(b[filterFactorAt:]) != makeScale(n, first, last).factor {
		return fmt.Errorf("filter of %d orders from %#x to %#x", n, mem.Load64(b[filterFirstAt:]), mem.Load64(b[filterLastAt:]))
	}
	return nil
}

// mayHold reports whether the block of filter at p, which was checked, was made of order or of one that looks like it.
// Whoever calls it finds out by itself whether the memory has changed meanwhile: then the answer means nothing, but
// nothing outside the block is read.
func mayHold(p mem.Ptr, order uint64) bool {
	n := int(uint16(mem.Load(mem.Add(p, filterCountAt))))
	q := scale{mem.Load(mem.Add(p, filterFirstAt)), mem.Load(mem.Add(p, filterFactorAt))}.of(order)
	upper := q >> filterLow
	if n == 0 || n > filterOrders || upper >= uint64(n) {
		return true // it is changing
	}
	at := groupAt(p, n, int(upper))
	lower := mem.Add(p, uintptr(filterHead+8*upperWords(n)))
	for i := at - int(upper); i < n && filterBit(p, at); i, at = i+1, at+1 {
		if lowBits(lower, i) == q&(1<<filterLow-1) {
			return true
		}
	}
	return false
}

// groupAt returns the place, among the upper bits of n orders, behind the zero number upper; the first if upper is 0.
func groupAt(p mem.Ptr, n, upper int) int {
	if upper == 0 {
		return 0
	}
	w, zeros := 0, 0
	for s := 1; s*filterSample < upperWords(n); s++ {
		at := uintptr(filterSampleAt + 2*s)
		ones := int(uint16(mem.Load(mem.Add(p, at&^7)) >> (at % 8 * 8)))
		if before := s*filterSample*64 - ones; before < upper {
			w, zeros = s*filterSample, before
		} else {
			break
		}
	}
	for ; w < upperWords(n); w++ {
		free := ^mem.Load(mem.Add(p, uintptr(filterHead+8*w)))
		k := bits.OnesCount64(free)
		if zeros+k < upper {
			zeros += k
			continue
		}
		for ; zeros+1 < upper; zeros++ {
			free &= free - 1
		}
		return 64*w + bits.TrailingZeros64(free) + 1
	}
	return 64 * w
}

// filterBit returns the upper bit at a place, of those that n orders have at most.
func filterBit(p mem.Ptr, at int) bool {
	return at < 2*filterOrders && mem.Load(mem.Add(p, uintptr(filterHead+at/64*8)))>>(at%64)&1 != 0
}

// lowBits returns the lower bits of order i, which begin at p.
func lowBits(p mem.Ptr, i int) uint64 {
	at := i * filterLow
	word := mem.Add(p, uintptr(at/64*8))
	v := mem.Load(word) >> (at % 64)
	if at%64 > 64-filterLow {
		v |= mem.Load(mem.Add(word, 8)) << (64 - at%64)
	}
	return v & (1<<filterLow - 1)
}
