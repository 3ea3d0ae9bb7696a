package mem

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"unsafe"
)

func mustMap(t testing.TB, size int) *Region {
	t.Helper()
	r, err := Map(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Unmap(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestMap_IsZeroAlignedAndWritable(t *testing.T) {
	for _, size := range []int{1, 7, 8, 4096, 4097, 64 << 10, 2<<20 - 1, 2 << 20, 5<<20 + 123} {
		r := mustMap(t, size)
		if r.Size() != size {
			t.Fatalf("size %d, want %d", r.Size(), size)
		}
		all := r.Bytes(0, size)
		if i := bytes.IndexFunc(all, func(c rune) bool { return c != 0 }); i >= 0 {
			t.Fatalf("size %d: byte %d is not zero", size, i)
		}
		all[0], all[size-1] = 1, 2
		if p := uintptr(r.At(0)); p%pageAlign != 0 {
			t.Fatalf("size %d: %#x is not aligned to a page", size, p)
		}
		if got := *(*byte)(r.At(uintptr(size - 1))); got != 2 && size > 1 {
			t.Fatalf("size %d: At and Bytes disagree: %d", size, got)
		}
	}
}

func TestMap_RefusesImpossibleSizes(t *testing.T) {
	for _, size := range []int{0, -1} {
		if r, err := Map(size); err == nil {
			t.Fatalf("mapped %d bytes: %v", size, r)
		}
	}
}

func TestRegion_BytesOutsidePanics(t *testing.T) {
	r := mustMap(t, 8192)
	for _, c := range [][2]int{{0, 8193}, {8192, 1}, {-8, 8}, {4096, 5000}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Bytes(%d, %d) of 8192 did not panic", c[0], c[1])
				}
			}()
			r.Bytes(c[0], c[1])
		}()
	}
	if b := r.Bytes(8, 16); cap(b) != 16 {
		t.Errorf("capacity %d reaches past the 16 bytes asked for", cap(b))
	}
}

func TestRegion_ReleaseZeroesExactlyItsRange(t *testing.T) {
	const size = 4<<20 + 4096
	r := mustMap(t, size)
	for _, c := range [][2]int{{0, 4096}, {4096, 8192}, {100, 200}, {4000, 5000}, {1, 3 << 20}, {size - 77, 77}, {0, size}, {64, 0}} {
		off, n := c[0], c[1]
		all := r.Bytes(0, size)
		for i := range all {
			all[i] = 0xA5
		}
		r.Release(off, n)
		for i, b := range all {
			if inside := i >= off && i < off+n; inside != (b == 0) {
				t.Fatalf("Release(%d, %d): byte %d is %#x", off, n, i, b)
			}
		}
	}
}

func TestRegion_PrefaultChangesNothing(t *testing.T) {
	r := mustMap(t, 3<<20)
	r.Bytes(5000, 1)[0] = 9
	r.Prefault(4999, 1<<20)
	r.Prefault(0, r.Size())
	if b := r.Bytes(4999, 3); !bytes.Equal(b, []byte{0, 9, 0}) {
		t.Fatalf("after Prefault: %v", b)
	}
}

func TestRegion_UnmapTwice(t *testing.T) {
	r, err := Map(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Unmap(); err != nil {
			t.Fatal(err)
		}
	}
	if r.Size() != 0 {
		t.Fatalf("size %d after Unmap", r.Size())
	}
}

func TestCopy_EveryLengthAndOffset(t *testing.T) {
	r := mustMap(t, 4096)
	for n := range 70 {
		for off := 0; off < 64; off += 8 {
			src := make([]byte, n)
			for i := range src {
				src[i] = byte(rand.UintN(255) + 1)
			}
			all := r.Bytes(0, 256)
			for i := range all {
				all[i] = 0xEE
			}
			CopyIn(r.At(uintptr(off)), src)
			padded := (n + 7) &^ 7
			want := bytes.Repeat([]byte{0xEE}, 256)
			clear(want[off : off+padded])
			copy(want[off:], src)
			if !bytes.Equal(all, want) {
				t.Fatalf("CopyIn of %d bytes at %d:\n%x, want\n%x", n, off, all, want)
			}
			for name, copyOut := range map[string]func([]byte, Ptr){"CopyOut": CopyOut, "CopyOutAll": CopyOutAll} {
				dst := bytes.Repeat([]byte{0xDD}, n+16)
				copyOut(dst[:n], r.At(uintptr(off)))
				if !bytes.Equal(dst, append(bytes.Clone(src), bytes.Repeat([]byte{0xDD}, 16)...)) {
					t.Fatalf("%s of %d bytes at %d: %x, want %x", name, n, off, dst, src)
				}
			}
		}
	}
}

// A program in which one goroutine says by a word of the memory that it is done, and another finds the word in a copy, is
// correct, and the race detector knows it.
func TestCopyOutAll_OrdersWhatFollows(t *testing.T) {
	r := mustMap(t, 4096)
	said := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		said = 1
		StoreRelease(r.At(1000), 7)
	})
	copied := make([]byte, 4000)
	for copied[1000] == 0 {
		runtime.Gosched()
		CopyOutAll(copied, r.At(0))
	}
	if said != 1 {
		t.Error("the copy is ahead of what was done before it")
	}
	wg.Wait()
}

func TestEqual_LooksAtExactlyTheBytes(t *testing.T) {
	r := mustMap(t, 4096)
	for n := range 40 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		CopyIn(r.At(8), b)
		if n%8 != 0 {
			r.Bytes(8+n, 1)[0] = 0x77 // beyond b, in its last word
		}
		if !Equal(r.At(8), b) {
			t.Fatalf("%d equal bytes differ", n)
		}
		for i := range b {
			b[i] ^= 0x10
			if Equal(r.At(8), b) {
				t.Fatalf("%d bytes that differ in byte %d are equal", n, i)
			}
			b[i] ^= 0x10
		}
	}
}

func TestWord_LoadStoreLittleEndian(t *testing.T) {
	r := mustMap(t, 64)
	const v = 0x0102030405060708
	for name, store := range map[string]func(Ptr, uint64){
		"StoreRelease": StoreRelease,
		"StorePlain":   StorePlain,
		"Word":         func(p Ptr, v uint64) { Word(p).Store(v) },
	} {
		p := Add(r.At(0), 16)
		store(p, 0)
		store(p, v)
		if Load(p) != v || Word(p).Load() != v || Load64(r.Bytes(16, 8)) != v || r.Bytes(16, 1)[0] != 8 {
			t.Fatalf("%s: word %#x, bytes %x", name, Load(p), r.Bytes(16, 8))
		}
	}
	var c Cell
	c.Store(5)
	c.StoreRelease(c.Load() + 2)
	if got := c.Add(1); got != 8 || c.Load() != 8 {
		t.Fatalf("cell holds %d, Add returned %d, want 8", c.Load(), got)
	}
}

// A writer publishes a payload by StoreRelease; whoever sees the publication must see the payload.
func TestStoreRelease_PublishesWhatWasWrittenBefore(t *testing.T) {
	const rounds, words = 20_000, 4
	r := mustMap(t, 1<<20)
	flag := r.At(0)
	slot := func(round uint64) Ptr { return r.At(uintptr(64 + round%1024*words*8)) }
	var wg sync.WaitGroup
	wg.Go(func() {
		for round := uint64(1); round <= rounds; round++ {
			for Load(flag) != (round-1)*2 { // the reader has acknowledged the round before
				runtime.Gosched()
			}
			p := slot(round)
			for i := range uintptr(words) {
				StorePlain(Add(p, i*8), round)
			}
			StoreRelease(flag, round*2-1)
		}
	})
	for round := uint64(1); round <= rounds; round++ {
		for Load(flag) != round*2-1 {
			runtime.Gosched()
		}
		var got [words * 8]byte
		CopyOut(got[:], slot(round))
		for i := range words {
			if w := Load64(got[i*8:]); w != round {
				t.Fatalf("round %d published, word %d says %d", round, i, w)
			}
		}
		StoreRelease(flag, round*2)
	}
	wg.Wait()
}

func TestAsBytes_SharesTheValue(t *testing.T) {
	v := struct{ A, B uint32 }{1, 2}
	b := AsBytes(&v)
	if len(b) != 8 {
		t.Fatalf("%d bytes", len(b))
	}
	b[4] = 7
	if v.B != 7 {
		t.Fatalf("B is %d, want 7", v.B)
	}
	var none struct{}
	if n := len(AsBytes(&none)); n != 0 {
		t.Fatalf("an empty value has %d bytes", n)
	}
}

func TestAlignedBytes_AlignedZeroedAndBounded(t *testing.T) {
	for _, align := range []int{1, 8, 512, 4096} {
		for _, n := range []int{0, 1, 4095, 4096, 100_000} {
			b := AlignedBytes(n, align)
			if len(b) != n || cap(b) != n {
				t.Fatalf("AlignedBytes(%d, %d) has length %d, capacity %d", n, align, len(b), cap(b))
			}
			if a := uintptr(unsafe.Pointer(unsafe.SliceData(b))); n > 0 && a%uintptr(align) != 0 {
				t.Fatalf("AlignedBytes(%d, %d) lies at %#x", n, align, a)
			}
		}
	}
}

func TestPrefetch_NeverFaults(t *testing.T) {
	r := mustMap(t, 4096)
	Prefetch(r.At(0))
	Prefetch(nil)
	Prefetch(Add(r.At(0), 4095))
}

func TestAccess_AllocatesNothing(t *testing.T) {
	r := mustMap(t, 4096)
	buf := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		CopyIn(r.At(0), buf)
		CopyOut(buf, r.At(0))
		if !Equal(r.At(0), buf) {
			t.Error("differs")
		}
		StoreRelease(r.At(128), Load(r.At(0)))
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkCopyOut(b *testing.B) {
	r := mustMap(b, 4096)
	for _, n := range []int{8, 16, 100, 1000} {
		b.Run(fmt.Sprintf("bytes=%d", n), func(b *testing.B) {
			buf := make([]byte, n)
			for b.Loop() {
				CopyOut(buf, r.At(0))
			}
		})
	}
}

func BenchmarkEqual(b *testing.B) {
	r := mustMap(b, 4096)
	for _, n := range []int{5, 8, 13, 16, 100} {
		b.Run(fmt.Sprintf("bytes=%d", n), func(b *testing.B) {
			buf := make([]byte, n)
			for b.Loop() {
				if !Equal(r.At(0), buf) {
					b.Fatal("differs")
				}
			}
		})
	}
}

func BenchmarkPrefetch(b *testing.B) {
	r := mustMap(b, 4096)
	for b.Loop() {
		Prefetch(r.At(0))
	}
}
