package coldcache

import (
	"math/bits"
	"sync"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Cache holds records by address. A nil Cache holds nothing and takes nothing.
type Cache struct {
	shards []shard // as many as New made
	shift  uint    // of a hash, to the number of its shard

	// Pressed, if it is not nil, is called now and then while records are refused for lack of room, without a lock. It is
	// set before the cache is used.
	Pressed func()

	resizing sync.Mutex
	limit    int64 // of resizing: the bytes that all shards may take
	record   int   // of resizing: what Resize was told
}

const (
	minShards = 4
	maxShards = 64
	// shardAim is the size of shard, in bytes, that decides how many there are.
	shardAim = 512 << 10
	// minShardBytes is the smallest shard that is worth having; a smaller one holds nothing.
	minShardBytes = 4096
	// maxShardBytes keeps positions within 32 bits.
	maxShardBytes = 16 << 30
	// shardOverhead is what a shard costs beside its region, in bytes, generously.
	shardOverhead = 1024
	// defaultRecord is the size that records are expected to have when nobody says, in bytes.
	defaultRecord = 48
)

// New returns a cache that takes at most maxBytes of memory, all told. The number of its shards, and so the largest record
// that it can hold, follows from maxBytes.
func New(maxBytes int64) *Cache {
	c := NewEmpty(maxBytes)
	c.Resize(maxBytes, 0)
	return c
}

// NewEmpty returns a cache that has the shards of one of maxBytes, and holds nothing until it is resized.
func NewEmpty(maxBytes int64) *Cache {
	n := minShards
	for n < maxShards && int64(n)*shardAim < maxBytes {
		n *= 2
	}
	return &Cache{shards: make([]shard, n), shift: uint(64 - bits.TrailingZeros(uint(n)))}
}

// NewQueue is NewEmpty for a cache that keeps what it is given in that order: no gap is used for what came later.
func NewQueue(maxBytes int64) *Cache {
	c := NewEmpty(maxBytes)
	for i := range c.shards {
		c.shards[i].inOrder = true
	}
	return c
}

func (c *Cache) shard(h hash) *shard { return &c.shards[h>>c.shift] }

// Get appends the record at a to dst and reports whether the cache had it, which counts as a use of it.
func (c *Cache) Get(a word.Address, dst []byte) ([]byte, bool) {
	if c == nil {
		return dst, false
	}
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(a, h.slot())
	if i < 0 {
		return dst, false
	}
	s.hits++
	pos := s.position(i)
	hd := s.header(pos)
	if hd.guest() {
		s.guests.hits++
	}
	if hd.heat() < MaxHeat {
		s.setHeader(pos, hd.withHeat(hd.heat()+1))
	}
	return s.appendRecord(dst, pos), true
}

// Peek is Get for those who look ahead: it counts neither as a hit nor as a use.
func (c *Cache) Peek(a word.Address, dst []byte) ([]byte, bool) {
	if c == nil {
		return dst, false
	}
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(a, h.slot())
	if i < 0 {
		return dst, false
	}
	return s.appendRecord(dst, s.position(i)), true
}

// Put offers the record at a, which was read from disk: a whole number of words, which are copied. The cache takes it if
// there is room, or if it remembers to have refused it or let it go, as often as [drift] says. What is too large for a shard
// it never takes.
func (c *Cache) Put(a word.Address, rec []byte) {
	words := len(rec) / word.Align
	if c == nil || words == 0 || len(rec)%word.Align != 0 || a == word.None {
		return
	}
	if c.put(a, rec, 0, false) && c.Pressed != nil {
		c.Pressed()
	}
}

// Keep offers the record at a, which leaves the log's memory, with its heat. The cache takes it unless it is too large.
func (c *Cache) Keep(a word.Address, rec []byte, heat int) {
	if c == nil || len(rec) == 0 || len(rec)%word.Align != 0 || a == word.None {
		return
	}
	c.put(a, rec, heat, true)
}

// put is Put, or with certain Keep. pressed asks for a call of Pressed.
func (c *Cache) put(a word.Address, rec []byte, heat int, certain bool) (pressed bool) {
	words := len(rec) / word.Align
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.region == nil {
		s.refused++
		return s.refused%pressure == 0
	}
	if words > s.maxWords || s.find(a, h.slot()) >= 0 {
		return false
	}
	if !certain && !s.hasRoom(1+words) && s.missed(h) < s.drift.asks() {
		s.remember(h)
		s.refused++
		return s.refused%pressure == 0
	}
	s.insert(makeHeader(a, words, heat), rec)
	return false
}

// pressure is how many records a shard refuses until Pressed is called.
const pressure = 1024

// Wants reports whether the cache has room for a record of so many bytes, header included, that leaves the log's memory
// without having been used. If not, it remembers the address: should the record be read after all, it is taken.
func (c *Cache) Wants(a word.Address, bytes int) bool {
	if c == nil || a == word.None {
		return false
	}
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if words := bytes / word.Align; s.region != nil && words <= s.maxWords && s.hasRoom(1+words) {
		return true
	}
	if s.region != nil && s.remembers(h) == 0 {
		s.remember(h)
	}
	return false
}

// Missed notes that the record at a was asked for by somebody who will not offer it, since it is about to be superseded. It
// reports whether the cache remembers to have refused the record, or to have let it go.
func (c *Cache) Missed(a word.Address) (remembered bool) {
	if c == nil {
		return false
	}
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.region != nil && s.missed(h) > 0
}

// Heat returns the heat of the record at a; ok is false if the cache does not have it. It does not count as a use.
func (c *Cache) Heat(a word.Address) (heat int, ok bool) {
	if c == nil {
		return 0, false
	}
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(a, h.slot())
	if i < 0 {
		return 0, false
	}
	return s.header(s.position(i)).heat(), true
}

// Has reports whether the cache has the record at a. It does not count as a use.
func (c *Cache) Has(a word.Address) bool {
	_, ok := c.Heat(a)
	return ok
}

// Take removes the record at a, which has been superseded, and returns its heat; ok is false if the cache does not have it.
func (c *Cache) Take(a word.Address) (heat int, ok bool) {
	if c == nil {
		return 0, false
	}
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(a, h.slot())
	if i < 0 {
		return 0, false
	}
	pos := s.position(i)
	hd := s.header(pos)
	s.remove(i)
	s.gone(hd)
	s.makeGap(pos, 1+hd.words())
	return hd.heat(), true
}

// Resize sets the most bytes that the cache may take, and how many bytes its records are expected to have, 0 if that is
// not known. What is in it stays, the newest first, as far as it fits. With 0 for maxBytes all memory is given back and the
// cache holds nothing, which is also how to close it.
func (c *Cache) Resize(maxBytes int64, record int) {
	if c == nil {
		return
	}
	c.resizing.Lock()
	defer c.resizing.Unlock()
	if record <= 0 {
		record = defaultRecord
	}
	if maxBytes == c.limit && record == c.record {
		return
	}
	c.limit, c.record = maxBytes, record
	each := min(maxBytes/int64(len(c.shards))-shardOverhead, maxShardBytes)
	if each < minShardBytes {
		each = 0
	}
	each -= each % minShardBytes // regions are whole pages
	for i := range c.shards {
		c.shards[i].resize(int(each), record)
	}
}

// Left returns how many records have left to make room.
func (c *Cache) Left() (n uint64) {
	if c == nil {
		return 0
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.left
		s.mu.Unlock()
	}
	return n
}

// Hits returns how often Get has found what it was asked for.
func (c *Cache) Hits() (n uint64) {
	if c == nil {
		return 0
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.hits
		s.mu.Unlock()
	}
	return n
}
