package coldcache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/internal/word"
)

// recordOf returns a record whose every word follows from its address, so that any mixture of two is recognised.
func recordOf(a word.Address, words int) []byte {
	rec := make([]byte, words*word.Align)
	for i := range words {
		binary.LittleEndian.PutUint64(rec[i*word.Align:], uint64(a)*0x9e3779b97f4a7c15+uint64(i))
	}
	return rec
}

func wordsOf(a word.Address) int { return 1 + int(uint64(a)/8*2654435761>>7%60) }

// checkInvariants verifies Q1 to Q6 of a cache that nobody uses meanwhile.
func (c *Cache) checkInvariants(t *testing.T) {
	t.Helper()
	if _, _, got := c.totals(); got > max(c.limit, 0) {
		t.Fatalf("Q4: %d bytes taken, %d allowed", got, c.limit)
	}
	for n := range c.shards {
		s := &c.shards[n]
		if s.region == nil {
			continue
		}
		live, gapWords := map[int]word.Address{}, map[int]int{}
		total, pos, guests := 0, s.head, 0
		for total < s.used {
			hd := s.header(pos)
			if hd.gap() {
				gapWords[pos] = 1 + hd.words()
			} else {
				live[pos] = hd.address()
			}
			if hd.guest() {
				guests++
			}
			total += 1 + hd.words()
			pos = s.wrap(pos + 1 + hd.words())
		}
		if total != s.used || s.used > s.size {
			t.Fatalf("Q1: shard %d: entries of %d words, %d used of %d", n, total, s.used, s.size)
		}
		for list, first := range s.gaps.lists {
			if some := s.gaps.some[list/64]>>(list%64)&1 == 1; some != (first > 0) {
				t.Fatalf("Q5: shard %d: list %d begins at %d, and is said to have some: %v", n, list, first, some)
			}
			for at, before := int(first)-1, -1; at >= 0; {
				prev, next := s.gapLinks(at)
				if gapList(gapWords[at]) != list || gapWords[at] < minGap || prev != before {
					t.Fatalf("Q5: shard %d: list %d has position %d, a gap of %d words after %d", n, list, at, gapWords[at], before)
				}
				delete(gapWords, at)
				before, at = at, next
			}
		}
		if len(gapWords) > 0 {
			t.Fatalf("Q5: shard %d: gaps in no list: %v", n, gapWords)
		}
		slots := 0
		for i := range s.slotCount() {
			v := s.slotAt(i)
			if v == 0 {
				continue
			}
			slots++
			a, ok := live[s.position(i)]
			if !ok || !s.form.like(v, hashOf(a).slot()) {
				t.Fatalf("Q2: shard %d: slot %d leads to position %d, where no such entry is", n, i, s.position(i))
			}
			if s.find(a, hashOf(a).slot()) != i {
				t.Fatalf("Q3: shard %d: slot %d of address %d cannot be reached", n, i, a)
			}
		}
		if guests != s.guests.here {
			t.Fatalf("Q6: shard %d: %d guests, %d counted", n, guests, s.guests.here)
		}
		if slots != len(live) || slots != s.entries || slots > s.maxSlots {
			t.Fatalf("Q2: shard %d: %d slots, %d live entries, %d counted, %d allowed", n, slots, len(live), s.entries, s.maxSlots)
		}
	}
}

// totals sums up what the shards have served and hold. bytes is the memory taken, everything included.
func (c *Cache) totals() (hits uint64, entries int, bytes int64) {
	for i := range c.shards {
		s := &c.shards[i]
		hits += s.hits
		entries += s.entries
		if s.region != nil {
			bytes += int64(s.region.Size()) + shardOverhead
		}
	}
	return hits, entries, bytes
}

// holds reports whether Get would find a, and leaves no trace.
func (c *Cache) holds(a word.Address) bool {
	_, ok := c.Peek(a, nil)
	return ok
}

func mustGet(t *testing.T, c *Cache, a word.Address, words int) {
	t.Helper()
	got, ok := c.Get(a, []byte("before"))
	if !ok || !c.holds(a) {
		t.Fatalf("address %d is missing (held: %v)", a, c.holds(a))
	}
	if want := append([]byte("before"), recordOf(a, words)...); !bytes.Equal(got, want) {
		t.Fatalf("address %d holds %x, want %x", a, got, want)
	}
}

func mustMiss(t *testing.T, c *Cache, a word.Address) {
	t.Helper()
	dst := []byte("before")
	if got, ok := c.Get(a, dst); ok || c.holds(a) || string(got) != "before" {
		t.Fatalf("address %d is there: %q", a, got)
	}
}

func TestCache_ReturnsWhatWasPut(t *testing.T) {
	c := New(1 << 20)
	defer c.Resize(0, 0)
	var all []word.Address
	for a := word.FirstAddress; len(all) < 1000; a += 512 {
		mustMiss(t, c, a)
		c.Put(a, recordOf(a, wordsOf(a)))
		all = append(all, a)
	}
	for _, a := range all {
		mustGet(t, c, a, wordsOf(a))
		mustMiss(t, c, a+8)
	}
	// What stands at an address never changes: a second put is none.
	c.Put(all[0], recordOf(all[1], wordsOf(all[0])))
	mustGet(t, c, all[0], wordsOf(all[0]))
	if hits, entries, _ := c.totals(); hits != 1001 || hits != c.Hits() || entries != 1000 {
		t.Fatalf("%d hits, %d entries, want 1001 and 1000", hits, entries)
	}
	c.checkInvariants(t)
}

func TestCache_RefusesWhatIsNoRecord(t *testing.T) {
	c := New(1 << 18)
	defer c.Resize(0, 0)
	for range 3 {
		c.Put(word.None, recordOf(0, 4))
		c.Put(8192, nil)
		c.Put(8192, make([]byte, 12))
		c.Put(8192, make([]byte, 1<<18)) // larger than a shard
	}
	mustMiss(t, c, word.None)
	mustMiss(t, c, 8192)
	if _, n, _ := c.totals(); n != 0 {
		t.Fatalf("%d entries", n)
	}
}

func TestCache_StaysWithinItsBytes(t *testing.T) {
	for _, limit := range []int64{-1, 0, 1, 4096, 20_000, 64 << 10, 300_001, 1 << 20, 5 << 20} {
		c := New(limit)
		for i := range 20_000 {
			a := word.FirstAddress + word.Address(i%5000)*1024
			c.Put(a, recordOf(a, wordsOf(a)))
		}
		c.checkInvariants(t)
		_, entries, bytes := c.totals()
		if limit >= 64<<10 && (entries == 0 || bytes < limit*3/4) {
			t.Errorf("limit %d: %d entries, %d bytes: most of it lies idle", limit, entries, bytes)
		}
		c.Resize(0, 0)
		if _, entries, bytes := c.totals(); bytes != 0 || entries != 0 {
			t.Errorf("limit %d: after closing: %d entries, %d bytes", limit, entries, bytes)
		}
	}
}

// Random operations against a map. A cache may have forgotten what the model holds, but must have nothing else.
func TestCache_AgreesWithModel(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := New(64 << 10)
		model := map[word.Address]bool{}
		found := 0
		for op := range 30_000 {
			a := word.FirstAddress + word.Address(rng.ExpFloat64()*200)*1024
			switch r := rng.IntN(10_000); {
			case r < 2500:
				c.Put(a, recordOf(a, wordsOf(a)))
				model[a] = true
			case r < 3500:
				c.Keep(a, recordOf(a, wordsOf(a)), rng.IntN(MaxHeat+1))
				model[a] = true
			case r < 3800:
				c.Welcome(a)
				c.Invite(a, recordOf(a, wordsOf(a)))
				model[a] = true
			case r < 4500: // superseded: the key's next record is at another address
				if _, ok := c.Take(a); ok && !model[a] {
					t.Fatalf("seed %d, op %d: address %d was there", seed, op, a)
				}
				delete(model, a)
			case r < 9990:
				got, ok := c.Get(a, nil)
				if ok && (!model[a] || !bytes.Equal(got, recordOf(a, wordsOf(a)))) {
					t.Fatalf("seed %d, op %d: address %d: in model %v, holds %x", seed, op, a, model[a], got)
				}
				if ok {
					found++
				}
			default:
				c.Resize(int64(rng.IntN(256<<10)), 0)
			}
			if op%500 == 0 {
				c.checkInvariants(t)
			}
		}
		c.checkInvariants(t)
		if found < 1000 {
			t.Errorf("seed %d: only %d hits: the test tests nothing", seed, found)
		}
		c.Resize(0, 0)
	}
}

func TestCache_ReadEntriesGetSecondChance(t *testing.T) {
	c := New(1 << 18)
	defer c.Resize(0, 0)
	const words, hot = 10, 40
	at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*words*8 }
	for i := range hot {
		c.Put(at(i), recordOf(at(i), words))
	}
	// Many times what the cache can hold streams through, each seen twice, while the hot ones are read.
	for i := hot; i < 40_000; i++ {
		c.Put(at(i), recordOf(at(i), words))
		c.Put(at(i), recordOf(at(i), words))
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

func TestCache_ScanOfOneHitKeysFlushesNothing(t *testing.T) {
	c := New(1 << 18)
	defer c.Resize(0, 0)
	const words = 10
	at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*words*8 }
	full := 20_000
	for i := range full {
		c.Put(at(i), recordOf(at(i), words))
	}
	var held []word.Address
	for i := range full {
		if c.holds(at(i)) {
			held = append(held, at(i))
		}
	}
	if len(held) < 1000 {
		t.Fatalf("only %d entries", len(held))
	}
	for i := full; i < 10*full; i++ {
		c.Put(at(i), recordOf(at(i), words))
	}
	lost := 0
	for _, a := range held {
		if !c.holds(a) {
			lost++
		}
	}
	// The ghost remembers 16 bits of four addresses for each place: a few of 180,000 look as if they had been there.
	if lost > 50 {
		t.Fatalf("a scan flushed %d of %d entries", lost, len(held))
	}
	// The third miss, soon after the others, is what gets a record in.
	a := at(11 * full)
	for range 2 {
		c.Put(a, recordOf(a, words))
		mustMiss(t, c, a)
	}
	c.Put(a, recordOf(a, words))
	mustGet(t, c, a, words)
}

// As long as what the cache has is what is asked for, a record must be missed three times to come in. When others are asked for
// again and again, twice is enough, and what was read often before gives way to them soon.
func TestCache_DriftLetsOthersIn(t *testing.T) {
	c := New(1 << 18)
	defer c.Resize(0, 0)
	const words, n = 10, 20_000
	next := word.FirstAddress
	address := func() word.Address {
		next += words * 8
		return next
	}
	misses := func() (times int) { // of a record, until it is there
		a := address()
		for ; !c.holds(a); times++ {
			c.Put(a, recordOf(a, words))
		}
		return times
	}
	var old []word.Address
	for range n {
		a := address()
		if c.Put(a, recordOf(a, words)); c.holds(a) {
			old = append(old, a)
		}
	}
	most := 0
	for i := range 100 * leastWindow {
		for range MaxHeat {
			c.Get(old[i%len(old)], nil)
		}
		c.Put(address(), recordOf(next, words))
		if i > 50*leastWindow {
			most = max(most, misses())
		}
	}
	if most != 3 {
		t.Errorf("a record came in after %d misses where others are read", most)
	}
	kept := func() (n int) {
		for _, a := range old {
			if c.holds(a) {
				n++
			}
		}
		return n
	}
	if n := kept(); n < len(old)/2 {
		t.Fatalf("%d of %d are left that were read", n, len(old))
	}
	for range len(old) {
		misses()
	}
	least := 3
	for range 100 {
		least = min(least, misses())
	}
	if least != 2 {
		t.Errorf("a record came in after %d misses where only others are read", least)
	}
	for range 2 * len(old) {
		misses()
	}
	if n := kept(); n > len(old)/10 {
		t.Errorf("%d of %d are left that were read before others were", n, len(old))
	}
	c.checkInvariants(t)
}

func TestCache_ResizeKeepsTheNewest(t *testing.T) {
	c := New(1 << 20)
	defer c.Resize(0, 0)
	at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*128 }
	const n = 4000
	for i := range n {
		c.Put(at(i), recordOf(at(i), 16))
	}
	_, before, _ := c.totals()
	c.Resize(4<<20, 0)
	c.checkInvariants(t)
	if _, got, _ := c.totals(); got != before {
		t.Fatalf("growing lost %d of %d entries", before-got, before)
	}
	c.Resize(128<<10, 0)
	c.checkInvariants(t)
	_, left, _ := c.totals()
	if left < before/20 || left > before/5 {
		t.Fatalf("an eighth of the memory keeps %d of %d entries", left, before)
	}
	for i := n - left/2; i < n; i++ {
		mustGet(t, c, at(i), 16)
	}
	mustMiss(t, c, at(0))
}

func TestCache_ConcurrentUse(t *testing.T) {
	c := New(128 << 10)
	defer c.Resize(0, 0)
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
				if dst, ok = c.Get(a, dst[:0]); !ok {
					c.Put(a, recordOf(a, wordsOf(a)))
				} else if !bytes.Equal(dst, recordOf(a, wordsOf(a))) {
					t.Errorf("address %d holds %x", a, dst)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 60 {
			c.Resize(int64(64+i%3*64)<<10, 0)
			c.Hits()
		}
	})
	wg.Wait()
	c.checkInvariants(t)
}

func TestCache_AllocatesNothing(t *testing.T) {
	c := New(256 << 10)
	defer c.Resize(0, 0)
	rec, dst := recordOf(8192, 14), make([]byte, 0, 1024)
	a := word.FirstAddress
	if n := testing.AllocsPerRun(20_000, func() {
		a += 128
		c.Put(a, rec)
		c.Put(a, rec)
		dst, _ = c.Get(a, dst[:0])
		dst, _ = c.Get(a-128*50, dst[:0])
		dst, _ = c.Peek(a-128*50, dst[:0])
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkCache(b *testing.B) {
	for _, words := range []int{4, 16, 128} {
		c := New(64 << 20)
		const n = 20_000
		at := func(i int) word.Address { return word.FirstAddress + word.Address(i)*4096 }
		for i := range n {
			c.Put(at(i), recordOf(at(i), words))
		}
		b.Run(fmt.Sprintf("op=get/bytes=%d", words*8), func(b *testing.B) {
			dst, i := make([]byte, 0, 2048), 0
			for b.Loop() {
				i++
				if _, ok := c.Get(at(i*7919%n), dst); !ok {
					b.Fatal("missing")
				}
			}
		})
		c.Resize(1<<20, 0)
		b.Run(fmt.Sprintf("op=put/bytes=%d", words*8), func(b *testing.B) {
			rec, i := recordOf(8, words), n
			for b.Loop() {
				i++
				c.Put(at(i), rec)
				c.Put(at(i), rec)
			}
		})
		c.Resize(0, 0)
	}
}
