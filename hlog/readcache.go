package hlog

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// readCache holds images of cold records, by address, so that cold keys that are read again come from memory. What
// stands at an address never changes and no address is used twice, hence nothing in the cache can be stale; dropping
// is about memory only. All methods are safe for concurrent use, and get, contains and put allocate nothing.
//
// It is divided into shards by a hash of the address. A shard is one region of memory off the heap under one lock:
//
//	+--------------------------------------------+----------------+-------+
//	| ring: header, record, header, record, ...  | slots          | ghost |
//	+--------------------------------------------+----------------+-------+
//
// The ring is a queue of entries without gaps, that wraps in the middle of one if need be. What is read after it
// came in is put to the end once more instead of leaving (second chance, as in CLOCK). Slots is an open-addressing
// hash table of positions in the ring. Ghost remembers addresses that were refused: when the ring is full, a record
// comes in only at its second miss, so that a scan over many keys does not flush what is in use.
//
// Invariants, under the lock of the shard:
//
//	R1  head and used bound the ring's entries, which follow each other without a gap.
//	R2  Every live entry has exactly one slot, and every slot leads to a live entry; entries counts them.
//	R3  A slot can be reached from its home without passing an empty one.
//	R4  The regions of all shards, and shardOverhead for each, are together no larger than the limit. Only while
//	    resize moves a shard, that shard counts twice.
type readCache struct {
	shards []cacheShard // as many as newReadCache made
	shift  uint         // of a hash, to the number of its shard
	// floor is the lowest address that is still served. It only grows; entries below leave as they come to the head.
	floor atomic.Uint64

	resizing sync.Mutex
	limit    int64 // of resizing: the bytes all may take
}

// cacheStats says what the cache did and holds.
type cacheStats struct {
	hits, misses uint64 // of get
	entries      int    // records held
	bytes        int64  // memory taken, everything included
}

const (
	cacheShardsMin = 4
	cacheShardsMax = 64
	// cacheShardAim is the size of shard that decides how many there are.
	cacheShardAim = 64 << 10
	// cacheShardMin is the smallest shard that is worth having, in bytes; a smaller one holds nothing.
	cacheShardMin = 4096
	// cacheShardMaxBytes keeps positions within 32 bits.
	cacheShardMaxBytes = 16 << 30
	// shardOverhead is what a shard costs beside its region, in bytes, generously.
	shardOverhead = 256

	// bytesPerSlot divides a shard between ring and slots: the slots suffice for records of 48 bytes and more. Smaller
	// ones leave up to a quarter of the ring unused.
	bytesPerSlot = 48
	// maxRecordShare is the part of a ring that one record may take.
	maxRecordShare = 8
	// secondChances bounds the work of one put.
	secondChances = 16
	// ghostWays is how many refused addresses share a word of the ghost.
	ghostWays = 4
)

// cacheHeader precedes a record in the ring.
//
//	63     62         45 44                     0
//	+------+------------+------------------------+
//	| read | words      |   address >> 3         |
//	+------+------------+------------------------+
//
// read is set when the record was read since it came to the end of the ring. An entry that was dropped has address 0.
type cacheHeader uint64

const (
	headerAddressBits = word.AddressBits - 3 // an address is a multiple of 8
	headerWordsBits   = 63 - headerAddressBits
	headerRead        = cacheHeader(1) << 63
	maxHeaderWords    = 1<<headerWordsBits - 1
)

func makeCacheHeader(a word.Address, words int) cacheHeader {
	return cacheHeader(words)<<headerAddressBits | cacheHeader(a/word.Align)
}

func (h cacheHeader) address() word.Address {
	return word.Address(h&(1<<headerAddressBits-1)) * word.Align
}
func (h cacheHeader) words() int          { return int(h >> headerAddressBits & maxHeaderWords) }
func (h cacheHeader) read() bool          { return h&headerRead != 0 }
func (h cacheHeader) dropped() bool       { return h.address() == word.None }
func (h cacheHeader) drop() cacheHeader   { return makeCacheHeader(word.None, h.words()) }
func (h cacheHeader) unread() cacheHeader { return h &^ headerRead }

// cacheSlot leads to an entry. 0 is an empty slot, which is why the position is kept plus one.
//
//	63            32 31             0
//	+---------------+----------------+
//	|     hash      | position + 1   |
//	+---------------+----------------+
type cacheSlot uint64

func makeCacheSlot(hash uint32, pos int) cacheSlot {
	return cacheSlot(hash)<<32 | cacheSlot(pos+1)
}
func (s cacheSlot) hash() uint32  { return uint32(s >> 32) }
func (s cacheSlot) position() int { return int(uint32(s)) - 1 }

// cacheHash is the hash of an address. Its high bits choose the shard, bits 20 to 51 the slot and the ghost's word,
// the low bits are what the ghost remembers.
type cacheHash uint64

func hashAddress(a word.Address) cacheHash { return cacheHash(mix(uint64(a), 0)) }

func (h cacheHash) slot() uint32 { return uint32(h >> 20) }
func (h cacheHash) ghost() uint16 {
	return max(uint16(h), 1) // 0 is nothing
}

// scale maps a hash evenly to [0, n), in order.
func scale(hash uint32, n int) int {
	hi, _ := bits.Mul64(uint64(hash)<<32, uint64(n))
	return int(hi)
}

// newReadCache returns a cache that takes at most maxBytes of memory, all told. The number of its shards, and so the
// largest record it can hold, follows from maxBytes; see resize for changing it later.
func newReadCache(maxBytes int64) *readCache {
	n := cacheShardsMin
	for n < cacheShardsMax && int64(n)*cacheShardAim < maxBytes {
		n *= 2
	}
	c := &readCache{shards: make([]cacheShard, n), shift: uint(64 - bits.TrailingZeros(uint(n)))}
	c.resize(maxBytes)
	return c
}

func (c *readCache) shard(h cacheHash) *cacheShard { return &c.shards[h>>c.shift] }

// get appends the record at a to dst and reports whether the cache had it.
func (c *readCache) get(a word.Address, dst []byte) ([]byte, bool) {
	h := hashAddress(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(a, h.slot())
	if i < 0 || uint64(a) < c.floor.Load() {
		s.misses++
		return dst, false
	}
	s.hits++
	pos := s.slotAt(i).position()
	hd := s.header(pos)
	s.setHeader(pos, hd|headerRead)
	first, second := s.span(s.wrap(pos+1), hd.words())
	return append(append(dst, first...), second...), true
}

// peek is get for those who look ahead: it counts as neither hit nor miss, nor as reading.
func (c *readCache) peek(a word.Address, dst []byte) ([]byte, bool) {
	h := hashAddress(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(a, h.slot())
	if i < 0 || uint64(a) < c.floor.Load() {
		return dst, false
	}
	pos := s.slotAt(i).position()
	first, second := s.span(s.wrap(pos+1), s.header(pos).words())
	return append(append(dst, first...), second...), true
}

// contains reports whether get would find a. It counts as neither hit nor miss, nor as reading.
func (c *readCache) contains(a word.Address) bool {
	h := hashAddress(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(a, h.slot()) >= 0 && uint64(a) >= c.floor.Load()
}

// put offers the record at a, a whole number of words as they stand on disk. The cache takes it if there is room, or
// if it was refused a short while ago; what is too large for a shard it never takes.
func (c *readCache) put(a word.Address, rec []byte) {
	words := len(rec) / word.Align
	if words == 0 || len(rec)%word.Align != 0 || a == word.None {
		return
	}
	h := hashAddress(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	floor := word.Address(c.floor.Load())
	if words > s.maxWords || a < floor || s.find(a, h.slot()) >= 0 {
		return
	}
	if !s.hasRoom(1+words) && !s.refusedBefore(h) {
		return
	}
	s.makeRoom(1+words, floor)
	s.push(a, rec, nil)
}

// purge stops serving records below an address. Their memory is reused as the ring turns.
func (c *readCache) purge(below word.Address) {
	for {
		old := c.floor.Load()
		if uint64(below) <= old || c.floor.CompareAndSwap(old, uint64(below)) {
			return
		}
	}
}

// dropRange forgets the records from lo up to hi, hi excluded. It looks at every entry. A put that is under way may
// still bring one of them in.
func (c *readCache) dropRange(lo, hi word.Address) {
	for i := range c.shards {
		c.shards[i].dropRange(lo, hi)
	}
}

// resize sets the most bytes that the cache may take. What is in it stays, the newest first, as far as it fits. With
// 0 all memory is given back and the cache holds nothing, which is also how to close it.
func (c *readCache) resize(maxBytes int64) {
	c.resizing.Lock()
	defer c.resizing.Unlock()
	if maxBytes == c.limit {
		return
	}
	c.limit = maxBytes
	each := min(maxBytes/int64(len(c.shards))-shardOverhead, cacheShardMaxBytes)
	if each < cacheShardMin {
		each = 0
	}
	each -= each % cacheShardMin // regions are whole pages
	for i := range c.shards {
		c.shards[i].resize(int(each))
	}
}

func (c *readCache) stats() cacheStats {
	var t cacheStats
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		t.hits += s.hits
		t.misses += s.misses
		t.entries += s.entries
		if s.region != nil {
			t.bytes += int64(s.region.Size()) + shardOverhead
		}
		s.mu.Unlock()
	}
	return t
}

// cacheShard is a part of the cache with a lock of its own. Positions and lengths in the ring are in words.
type cacheShard struct {
	mu       sync.Mutex
	region   *mem.Region // nil when the shard holds nothing
	ring     []byte
	slots    []byte
	ghosts   []byte
	size     int // of the ring
	head     int // position of the oldest entry
	used     int // words from head on
	entries  int // that are not dropped
	maxSlots int // entries that the slots can bear
	maxWords int // of a record

	hits, misses uint64
	_            [64]byte // keeps the neighbour's lock off this one's lines
}

func wordAt(b []byte, i int) uint64     { return mem.Load64(b[i*word.Align:]) }
func setWord(b []byte, i int, v uint64) { binary.LittleEndian.PutUint64(b[i*word.Align:], v) }

func (s *cacheShard) header(pos int) cacheHeader       { return cacheHeader(wordAt(s.ring, pos)) }
func (s *cacheShard) setHeader(pos int, h cacheHeader) { setWord(s.ring, pos, uint64(h)) }
func (s *cacheShard) slotAt(i int) cacheSlot           { return cacheSlot(wordAt(s.slots, i)) }
func (s *cacheShard) setSlot(i int, v cacheSlot)       { setWord(s.slots, i, uint64(v)) }
func (s *cacheShard) slotCount() int                   { return len(s.slots) / word.Align }

// wrap brings a position that is at most one turn too large back into the ring.
func (s *cacheShard) wrap(pos int) int {
	if pos >= s.size {
		pos -= s.size
	}
	return pos
}

// span returns the words of the ring from pos on, in two pieces where they wrap.
func (s *cacheShard) span(pos, words int) (first, second []byte) {
	n := min(words, s.size-pos)
	return s.ring[pos*word.Align : (pos+n)*word.Align], s.ring[:(words-n)*word.Align]
}

// find returns the number of a's slot, or -1.
func (s *cacheShard) find(a word.Address, hash uint32) int {
	n := s.slotCount()
	if n == 0 {
		return -1
	}
	for i := scale(hash, n); ; i++ {
		if i == n {
			i = 0
		}
		v := s.slotAt(i)
		if v == 0 {
			return -1
		}
		if v.hash() == hash && s.header(v.position()).address() == a {
			return i
		}
	}
}

// insert gives the entry at pos a slot (R2).
func (s *cacheShard) insert(hash uint32, pos int) {
	n := s.slotCount()
	i := scale(hash, n)
	for s.slotAt(i) != 0 {
		if i++; i == n {
			i = 0
		}
	}
	s.setSlot(i, makeCacheSlot(hash, pos))
}

// remove empties slot i and moves those after it up, so that none is cut off from its home (R3).
func (s *cacheShard) remove(i int) {
	n := s.slotCount()
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		v := s.slotAt(j)
		if v == 0 {
			break
		}
		// v may move to i unless its home lies after i, up to j, going round.
		fromHome := j - scale(v.hash(), n)
		if fromHome < 0 {
			fromHome += n
		}
		fromHole := j - i
		if fromHole < 0 {
			fromHole += n
		}
		if fromHome >= fromHole {
			s.setSlot(i, v)
			i = j
		}
	}
	s.setSlot(i, 0)
}

// refusedBefore reports whether h is in the ghost, and leaves it there, newest, if not. The ghost forgets what it was
// given longest ago.
func (s *cacheShard) refusedBefore(h cacheHash) bool {
	i := scale(h.slot(), len(s.ghosts)/word.Align)
	w := wordAt(s.ghosts, i)
	const width = 64 / ghostWays
	for way := range ghostWays {
		if uint16(w>>(way*width)) == h.ghost() {
			return true
		}
	}
	setWord(s.ghosts, i, w<<width|uint64(h.ghost()))
	return false
}

// hasRoom reports whether an entry of so many words, header included, fits in without another one leaving.
func (s *cacheShard) hasRoom(words int) bool {
	return s.used+words <= s.size && s.entries < s.maxSlots
}

// makeRoom lets the oldest entries leave until one of so many words fits in. Those that were read go to the end, but
// only so many, and none from below floor.
func (s *cacheShard) makeRoom(words int, floor word.Address) {
	chances := secondChances
	for !s.hasRoom(words) {
		hd := s.header(s.head)
		if hd.read() && !hd.dropped() && hd.address() >= floor && chances > 0 {
			chances--
			s.requeue()
			continue
		}
		if !hd.dropped() {
			s.remove(s.mustFind(hd.address()))
			s.entries--
		}
		s.pop(1 + hd.words())
	}
}

func (s *cacheShard) pop(words int) {
	s.head = s.wrap(s.head + words)
	s.used -= words
}

func (s *cacheShard) mustFind(a word.Address) int {
	i := s.find(a, hashAddress(a).slot())
	if invariant.Enabled && i < 0 {
		invariant.Check(false, "R2: no slot for the entry of address %d", a)
	}
	return i
}

// requeue moves the oldest entry to the end of the ring and forgets that it was read.
func (s *cacheShard) requeue() {
	hd := s.header(s.head).unread()
	words := 1 + hd.words()
	slot := s.mustFind(hd.address())
	s.setHeader(s.head, hd)
	from, to := s.head, s.wrap(s.head+s.used)
	s.move(from, to, words) // onto itself when the ring is full to the last word: there the end is where the head was
	s.head = s.wrap(s.head + words)
	s.setSlot(slot, makeCacheSlot(s.slotAt(slot).hash(), to))
}

// move copies words from one position to another that lies before it, going round; the two may overlap. It goes on in
// pieces that wrap on neither side, from the front, so that nothing is overwritten before it was copied.
func (s *cacheShard) move(from, to, words int) {
	for words > 0 {
		n := min(words, s.size-from, s.size-to)
		copy(s.ring[to*word.Align:(to+n)*word.Align], s.ring[from*word.Align:(from+n)*word.Align])
		from, to, words = s.wrap(from+n), s.wrap(to+n), words-n
	}
}

// push appends an entry, whose record may come in two pieces; there is room.
func (s *cacheShard) push(a word.Address, first, second []byte) {
	words := (len(first) + len(second)) / word.Align
	if invariant.Enabled && !s.hasRoom(1+words) {
		invariant.Check(false, "R1: %d words do not fit into a ring of %d with %d used", 1+words, s.size, s.used)
	}
	pos := s.wrap(s.head + s.used)
	s.setHeader(pos, makeCacheHeader(a, words))
	s.write(s.wrap(pos+1), first)
	s.write(s.wrap(pos+1+len(first)/word.Align), second)
	s.used += 1 + words
	s.entries++
	s.insert(hashAddress(a).slot(), pos)
}

// write copies whole words into the ring from pos on.
func (s *cacheShard) write(pos int, b []byte) {
	first, second := s.span(pos, len(b)/word.Align)
	copy(second, b[copy(first, b):])
}

// walk calls fn for every entry that is not dropped, from the oldest on.
func (s *cacheShard) walk(fn func(pos int, hd cacheHeader)) {
	for pos, left := s.head, s.used; left > 0; {
		hd := s.header(pos)
		if !hd.dropped() {
			fn(pos, hd)
		}
		pos, left = s.wrap(pos+1+hd.words()), left-1-hd.words()
	}
}

func (s *cacheShard) dropRange(lo, hi word.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.walk(func(pos int, hd cacheHeader) {
		if a := hd.address(); a >= lo && a < hi {
			s.remove(s.mustFind(a))
			s.setHeader(pos, hd.drop())
			s.entries--
		}
	})
}

// resize gives the shard another region of so many bytes, none if 0, and takes the newest entries along.
func (s *cacheShard) resize(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next cacheShard
	if bytes > 0 {
		next.lay(bytes)
	}
	if s.region != nil && next.region != nil {
		words, entries := 0, s.entries // what is still to come, all of which has to fit
		s.walk(func(_ int, hd cacheHeader) { words += 1 + hd.words() })
		s.walk(func(pos int, hd cacheHeader) {
			if words <= next.size && entries <= next.maxSlots && hd.words() <= next.maxWords {
				first, second := s.span(s.wrap(pos+1), hd.words())
				next.push(hd.address(), first, second)
			}
			words, entries = words-1-hd.words(), entries-1
		})
	}
	if s.region != nil {
		_ = s.region.Unmap() // a cache that cannot give memory back can do nothing about it
	}
	s.region, s.ring, s.slots, s.ghosts = next.region, next.ring, next.slots, next.ghosts
	s.size, s.head, s.used, s.entries = next.size, next.head, next.used, next.entries
	s.maxSlots, s.maxWords = next.maxSlots, next.maxWords
}

// lay maps a region and divides it. When the system has no memory to give, the shard holds nothing.
func (s *cacheShard) lay(bytes int) {
	region, err := mem.Map(bytes)
	if err != nil {
		return
	}
	slots := bytes / bytesPerSlot
	ghosts := slots / ghostWays
	s.region = region
	s.size = bytes/word.Align - slots - ghosts
	s.ring = region.Bytes(0, s.size*word.Align)
	s.slots = region.Bytes(len(s.ring), slots*word.Align)
	s.ghosts = region.Bytes(len(s.ring)+len(s.slots), ghosts*word.Align)
	s.maxSlots = slots / 4 * 3 // linear probing slows down steeply from there on, and R3 needs an empty slot
	s.maxWords = min(s.size/maxRecordShare, maxHeaderWords)
}
