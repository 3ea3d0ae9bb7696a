package mem

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// Ptr points at memory, most often into a [Region]. The garbage collector follows it when it points into the Go heap
// and ignores it when it does not, so it is safe to keep in either build.
type Ptr = unsafe.Pointer

// WordBytes is the size of a word, in bytes.
const WordBytes = 8

// Add returns p + n bytes. The result must lie in the same region as p.
func Add(p Ptr, n uintptr) Ptr {
	// Sound because the caller stays inside one region, which is one mapping or one heap object.
	return unsafe.Add(p, n)
}

// Address returns p as a number, for structures that the kernel reads. The memory must be off the heap, or kept alive
// otherwise: a number does not. Memory of the heap does not move, stacks do.
func Address(p Ptr) uintptr { return uintptr(p) }

// Word returns the word at p, which must be 8-aligned, as a typed atomic.
func Word(p Ptr) *atomic.Uint64 {
	// Sound because atomic.Uint64 is one 8-byte word without further fields, asserted below.
	return (*atomic.Uint64)(p)
}

// An atomic.Uint64 must be exactly the word that it is laid over.
const _ = uint(unsafe.Sizeof(atomic.Uint64{})-WordBytes) + uint(WordBytes-unsafe.Sizeof(atomic.Uint64{}))

// Load returns the word at p, which must be 8-aligned. No later access of the goroutine happens before it.
func Load(p Ptr) uint64 { return (*atomic.Uint64)(p).Load() }

// LoadPlain returns the word at p, which must be 8-aligned. It is for what does not change any more while the caller can
// see it; unlike that of [Load] the result costs nothing if it is not used.
func LoadPlain(p Ptr) uint64 { return loadPlain(p) }

// CompareAndSwap replaces the word at p, which must be 8-aligned, if it is old. No access of the goroutine passes it.
func CompareAndSwap(p Ptr, old, new uint64) bool {
	return (*atomic.Uint64)(p).CompareAndSwap(old, new)
}

// StoreRelease sets the word at p, which must be 8-aligned, after all earlier accesses of the goroutine. Later loads
// may pass it.
func StoreRelease(p Ptr, v uint64) { storeRelease(p, v) }

// StorePlain sets the word at p, which must be 8-aligned. It is for memory that nobody else can see yet; publish it
// with [StoreRelease] or a compare-and-swap.
func StorePlain(p Ptr, v uint64) { storePlain(p, v) }

// Cell is a word on the Go heap that can also be stored plainly, as [StoreRelease] does. Its zero value is 0. It must
// not be copied after first use.
type Cell struct{ word atomic.Uint64 }

// Load returns the word. No later access of the goroutine happens before it.
func (c *Cell) Load() uint64 { return c.word.Load() }

// Store sets the word, sequentially consistent: no access of the goroutine passes it in either direction.
func (c *Cell) Store(v uint64) { c.word.Store(v) }

// StoreRelease sets the word after all earlier accesses of the goroutine. Later loads may pass it.
func (c *Cell) StoreRelease(v uint64) { storeRelease(Ptr(&c.word), v) }

// Add adds n and returns the new word, sequentially consistent.
func (c *Cell) Add(n uint64) uint64 { return c.word.Add(n) }

// AddAlone adds n for the only goroutine that writes the cell: by a load and a store, without the locked instruction that
// Add takes. Other goroutines may load the cell meanwhile.
func (c *Cell) AddAlone(n uint64) { c.StoreRelease(c.Load() + n) }

// Load64 returns the first 8 bytes of b as a little-endian word. It panics when b is shorter.
func Load64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// tail returns up to 7 bytes as the low bytes of a word, the others 0. The loads overlap: the same byte is then or-ed
// to the same place twice.
func tail(b []byte) uint64 {
	n := len(b)
	switch {
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<(8*(n-4))
	case n > 0:
		return uint64(b[0]) | uint64(b[n/2])<<(8*(n/2)) | uint64(b[n-1])<<(8*(n-1))
	}
	return 0
}

// Equal reports whether the memory at p, which must be 8-aligned, begins with b. It reads whole words; bytes of the
// last word beyond b are not compared.
func Equal(p Ptr, b []byte) bool {
	for len(b) >= WordBytes {
		if Load(p) != Load64(b) {
			return false
		}
		p, b = Add(p, WordBytes), b[WordBytes:]
		if len(b) == 0 {
			return true
		}
	}
	if len(b) == 0 {
		return true
	}
	return (Load(p)^tail(b))<<(64-8*len(b)) == 0
}

// Of returns the address of the first of b, which must be 8-aligned and is kept alive by the result.
func Of(b []byte) Ptr { return Ptr(unsafe.SliceData(b)) }

// AsBytes returns the bytes of *v, which share its memory. T must hold no pointers; the caller has checked that.
func AsBytes[T any](v *T) []byte {
	// Sound because the slice covers exactly *v and keeps it alive.
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// AsWord returns the 8 bytes of *v as a little-endian word. T must be 8 bytes and hold no pointers; the caller has checked
// that.
func AsWord[T any](v *T) uint64 {
	// Sound because *v is 8 bytes, aligned or not: only machines that load words from anywhere are compiled for.
	return *(*uint64)(unsafe.Pointer(v))
}

// FromWord returns the T whose 8 bytes are a little-endian word. T must be 8 bytes and hold no pointers.
func FromWord[T any](w uint64) T {
	// Sound because w is 8 bytes and aligned for every T of that size.
	return *(*T)(unsafe.Pointer(&w))
}

// AsWords returns the values of s as words, which share their memory. T must be 8 bytes and hold no pointers.
func AsWords[T any](s []T) []uint64 {
	// Sound as in AsWord; the slice covers exactly s and keeps it alive.
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(s))), len(s))
}

// OnWord returns fn as a function on a word. T must be 8 bytes and hold no pointers.
func OnWord[T any](fn func(*T, bool)) func(*uint64, bool) {
	// Sound because pointers are passed alike, whatever they point at, and the word is a T.
	return *(*func(*uint64, bool))(unsafe.Pointer(&fn))
}

// OnWordOf is OnWord for a function that is also told a number.
func OnWordOf[T any](fn func(int, *T, bool)) func(int, *uint64, bool) {
	// Sound as in OnWord.
	return *(*func(int, *uint64, bool))(unsafe.Pointer(&fn))
}

// AlignedBytes returns n zeroed bytes of the Go heap whose first lies at a multiple of align, a power of two. It is
// for direct I/O, which wants 4096.
//
// Inlined it could end up on a stack, and stacks move.
//
//go:noinline
func AlignedBytes(n, align int) []byte {
	b := make([]byte, n+align-1)
	// The address is only looked at, never turned back into a pointer. Heap objects do not move.
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & uintptr(align-1))
	return b[skip : skip+n : skip+n]
}
