package hlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/internal/word"
)

// image returns a record whose every word follows from its address, so that any mixture of two is recognised.
func imageOf(a word.Address, words int) []byte {
	rec := make([]byte, words*word.Align)
	for i := range words {
		binary.LittleEndian.PutUint64(rec[i*word.Align:], uint64(a)*0x9e3779b97f4a7c15+uint64(i))
	}
	return rec
}

func wordsOf(a word.Address) int { return 1 + int(uint64(a)/8*2654435761>>7%60) }

// checkInvariants verifies R1 to R4 of a cache that nobody uses meanwhile.
func (c *readCache) checkInvariants(t *testing.T) {
	t.Helper()
	if got := c.stats().bytes; got > max(c.limit, 0) {
		t.Fatalf("R4: %d bytes taken, %d allowed", got, c.limit)
	}
	for n := range c.shards {
		s := &c.shards[n]
		if s.region == nil {
			continue
		}
		live := map[int]word.Address{}
		total, pos := 0, s.head
		for total < s.used {
			hd := s.header(pos)
			if !hd.dropped() {
				live[pos] = hd.address()
			}
			total += 1 + hd.words()
			pos = s.wrap(pos + 1 + hd.words())
		}
		if total != s.used || s.used > s.size {
			t.Fatalf("R1: shard %d: entries of %d words, %d used of %d", n, total, s.used, s.size)
		}
		slots := 0
		for i := range s.slotCount() {
			v := s.slotAt(i)
			if v == 0 {
				continue
			}
			slots++
			a, ok := live[v.position()]
			if !ok || hashAddress(a).slot() != v.hash() {
				t.Fatalf("R2: shard %d: slot %d leads to position %d, where no such entry is", n, i, v.position())
			}
			if s.find(a, v.hash()) != i {
				t.Fatalf("R3: shard %d: slot %d of address %d cannot be reached", n, i, a)
			}
		}
		if slots != len(live) || slots != s.entries || slots > s.maxSlots {
			t.Fatalf("R2: shard %d: %d slots, %d live entries, %d counted, %d allowed", n, slots, len(live), s.entries, s.maxSlots)
		}
	}
}

func mustGet(t *testing.T, c *readCache, a word.Address, words int) {
	t.Helper()
	got, ok := c.get(a, []byte("before"))
	if !ok || !c.contains(a) {
		t.Fatalf("address %d is missing (contains: %v)", a, c.contains(a))
	}
	if want := append([]byte("before"), imageOf(a, words)...); !bytes.Equal(got, want) {
		t.Fatalf("address %d holds %x, want %x", a, got, want)
	}
}

func mustMiss(t *testing.T, c *readCache, a word.Address) {
	t.Helper()
	dst := []byte("before")
	if got, ok := c.get(a, dst); ok || c.contains(a) || string(got) != "before" {
		t.Fatalf("address %d is there: %q", a, got)
	}
}

func TestReadCache_ReturnsWhatWasPut(t *testing.T) {
	c := newReadCache(1 << 20)
	defer c.resize(0)
	var all []word.Address
	for a := word.FirstAddress; len(all) < 1000; a += 512 {
		mustMiss(t, c, a)
		c.put(a, imageOf(a, wordsOf(a)))
		all = append(all, a)
	}
	for _, a := range all {
		mustGet(t, c, a, wordsOf(a))
		mustMiss(t, c, a+8)
	}
	// What stands at an address never changes: a second put is none.
	c.put(all[0], imageOf(all[1], wordsOf(all[0])))
	mustGet(t, c, all[0], wordsOf(all[0]))
	if st := c.stats(); st.hits != 1001 || st.misses != 2000 || st.entries != 1000 {
		t.Fatalf("%+v, want 1001 hits, 2000 misses, 1000 entries", st)
	}
	c.checkInvariants(t)
}

func TestReadCache_RefusesWhatIsNoRecord(t *testing.T) {
	c := newReadCache(1 << 18)
	defer c.resize(0)
	for range 3 {
		c.put(word.None, imageOf(0, 4))
		c.put(8192, nil)
		c.put(8192, make([]byte, 12))
		c.put(8192, make([]byte, 1<<18)) // larger than a shard
	}
	mustMiss(t, c, word.None)
	mustMiss(t, c, 8192)
	if n := c.stats().entries; n != 0 {
		t.Fatalf("%d entries", n)
	}
}

func TestReadCache_StaysWithinItsBytes(t *testing.T) {
	for _, limit := range []int64{-1, 0, 1, 4096, 20_000, 64 << 10, 300_001, 1 << 20, 5 << 20} {
		c := newReadCache(limit)
		for i := range 20_000 {
			a := word.FirstAddress + word.Address(i%5000)*1024
			c.put(a, imageOf(a, wordsOf(a)))
		}
		c.checkInvariants(t)
		st := c.stats()
		if limit >= 64<<10 && (st.entries == 0 || st.bytes < limit*3/4) {
			t.Errorf("limit %d: %d entries, %d bytes: most of it lies idle", limit, st.entries, st.bytes)
		}
		c.resize(0)
		if st := c.stats(); st.bytes != 0 || st.entries != 0 {
			t.Errorf("limit %d: after closing: %+v", limit, st)
		}
	}
}

// Random operations against a map. A cache may have forgotten what the model holds, but must have nothing else, and
// must have forgotten what it was told to.
func TestReadCache_AgreesWithModel(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := newReadCache(64 << 10)
		model := map[word.Address]bool{}
		var floor word.Address
		found := 0
		for op := range 30_000 {
			a := word.FirstAddress + word.Address(rng.ExpFloat64()*200)*1024
			switch r := rng.IntN(10_000); {
			case r < 4500:
				c.put(a, imageOf(a, wordsOf(a)))
				if a >= floor {
					model[a] = true
				}
			case r < 9960:
				got, ok := c.get(a, nil)
				if ok && (!model[a] || !bytes.Equal(got, imageOf(a, wordsOf(a)))) {
					t.Fatalf("seed %d, op %d: address %d: in model %v, holds %x", seed, op, a, model[a], got)
				}
				if ok {
					found++
				}
			case r < 9975:
				lo, hi := a, a+word.Address(rng.IntN(100_000))
				c.dropRange(lo, hi)
				for b := range model {
					if b >= lo && b < hi {
						delete(model, b)
					}
				}
			case r < 9985:
				c.resize(int64(rng.IntN(256 << 10)))
			case r < 9987:
				floor = max(floor, word.FirstAddress+word.Address(rng.IntN(20_000)))
				c.purge(floor)
				c.purge(floor - 8) // never goes back
				for b := range model {
					if b < floor {
						delete(model, b)
					}
				}
			}
			if op%500 == 0 {
				c.checkInvariants(t)
			}
		}
		c.checkInvariants(t)
		if found < 1000 {
			t.Errorf("seed %d: only %d hits: the test tests nothing", seed, found)
		}
		c.resize(0)
	}
}

func TestReadCache_ReadEntriesGetSecondChance(t *testing.T) {
	c := newReadCache(1 << 18)
	defer c.resize(0)
	const words, hot = 10, 40
	at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*words*8 }
	for i := range hot {
		c.put(at(i), imageOf(at(i), words))
	}
	// Many times what the cache can hold streams through, each seen twice, while the hot ones are read.
	for i := hot; i < 40_000; i++ {
		c.put(at(i), imageOf(at(i), words))
		c.put(at(i), imageOf(at(i), words))
		mustGet(t, c, at(i%hot), words)
		if i < 2*hot {
			mustGet(t, c, at(i), words)
		}
	}
	// What was read once, long ago, has had its chance.
	for i := hot; i < 2*hot; i++ {
		mustMiss(t, c, at(i))
	}
	c.checkInvariants(t)
}

func TestReadCache_ScanOfOneHitKeysFlushesNothing(t *testing.T) {
	c := newReadCache(1 << 18)
	defer c.resize(0)
	const words = 10
	at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*words*8 }
	full := 20_000
	for i := range full {
		c.put(at(i), imageOf(at(i), words))
	}
	var held []word.Address
	for i := range full {
		if c.contains(at(i)) {
			held = append(held, at(i))
		}
	}
	if len(held) < 1000 {
		t.Fatalf("only %d entries", len(held))
	}
	for i := full; i < 10*full; i++ {
		c.put(at(i), imageOf(at(i), words))
	}
	lost := 0
	for _, a := range held {
		if !c.contains(a) {
			lost++
		}
	}
	// The ghost remembers 16 bits of four addresses for each place: a few of 180,000 look as if they had been there.
	if lost > 50 {
		t.Fatalf("a scan flushed %d of %d entries", lost, len(held))
	}
	// The second miss, soon after the first, is what gets a record in.
	a := at(11 * full)
	c.put(a, imageOf(a, words))
	mustMiss(t, c, a)
	c.put(a, imageOf(a, words))
	mustGet(t, c, a, words)
}

func TestReadCache_PurgeAndDropRange(t *testing.T) {
	c := newReadCache(1 << 20)
	defer c.resize(0)
	at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*64 }
	for i := range 100 {
		c.put(at(i), imageOf(at(i), 8))
	}
	c.dropRange(at(40), at(60))
	c.purge(at(10))
	c.put(at(5), imageOf(at(5), 8))
	for i := range 100 {
		if i < 10 || i >= 40 && i < 60 {
			mustMiss(t, c, at(i))
		} else {
			mustGet(t, c, at(i), 8)
		}
	}
	c.put(at(50), imageOf(at(50), 8)) // what was dropped may come back, what was purged not
	mustGet(t, c, at(50), 8)
	c.checkInvariants(t)
}

func TestReadCache_ResizeKeepsTheNewest(t *testing.T) {
	c := newReadCache(1 << 20)
	defer c.resize(0)
	at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*128 }
	const n = 4000
	for i := range n {
		c.put(at(i), imageOf(at(i), 16))
	}
	before := c.stats().entries
	c.resize(4 << 20)
	c.checkInvariants(t)
	if got := c.stats().entries; got != before {
		t.Fatalf("growing lost %d of %d entries", before-got, before)
	}
	c.resize(128 << 10)
	c.checkInvariants(t)
	left := c.stats().entries
	if left < before/20 || left > before/5 {
		t.Fatalf("an eighth of the memory keeps %d of %d entries", left, before)
	}
	for i := n - left/2; i < n; i++ {
		mustGet(t, c, at(i), 16)
	}
	mustMiss(t, c, at(0))
}

func TestReadCache_ConcurrentUse(t *testing.T) {
	c := newReadCache(128 << 10)
	defer c.resize(0)
	ops := 30_000
	if testing.Short() {
		ops = 5_000
	}
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 2))
			var dst []byte
			for range ops {
				a := word.FirstAddress + word.Address(rng.ExpFloat64()*300)*1024
				var ok bool
				if dst, ok = c.get(a, dst[:0]); !ok {
					c.put(a, imageOf(a, wordsOf(a)))
				} else if !bytes.Equal(dst, imageOf(a, wordsOf(a))) {
					t.Errorf("address %d holds %x", a, dst)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 60 {
			c.resize(int64(64+i%3*64) << 10)
			c.dropRange(word.Address(i)*4096, word.Address(i)*4096+40_000)
			c.stats()
		}
		c.purge(word.FirstAddress + 64<<10)
	})
	wg.Wait()
	c.checkInvariants(t)
}

func TestReadCache_AllocatesNothing(t *testing.T) {
	c := newReadCache(256 << 10)
	defer c.resize(0)
	rec, dst := imageOf(8192, 14), make([]byte, 0, 1024)
	a := word.FirstAddress
	if n := testing.AllocsPerRun(20_000, func() {
		a += 128
		c.put(a, rec)
		c.put(a, rec)
		dst, _ = c.get(a, dst[:0])
		dst, _ = c.get(a-128*50, dst[:0])
		c.contains(a + 8)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkReadCache(b *testing.B) {
	for _, words := range []int{4, 16, 128} {
		c := newReadCache(64 << 20)
		const n = 20_000
		at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*4096 }
		for i := range n {
			c.put(at(i), imageOf(at(i), words))
		}
		b.Run(fmt.Sprintf("op=get/bytes=%d", words*8), func(b *testing.B) {
			dst, i := make([]byte, 0, 2048), 0
			for b.Loop() {
				i++
				if _, ok := c.get(at(i*7919%n), dst); !ok {
					b.Fatal("missing")
				}
			}
		})
		c.resize(1 << 20)
		b.Run(fmt.Sprintf("op=put/bytes=%d", words*8), func(b *testing.B) {
			rec, i := imageOf(8, words), n
			for b.Loop() {
				i++
				c.put(at(i), rec)
				c.put(at(i), rec)
			}
		})
		c.resize(0)
	}
}
