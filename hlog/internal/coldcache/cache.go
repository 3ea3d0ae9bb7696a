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

	resizing sync.Mutex
	limit    int64 // of resizing: the bytes that all shards may take
}

const (
	minShards = 4
	maxShards = 64
	// shardAim is the size of shard, in bytes, that decides how many there are.
	shardAim = 64 << 10
	// minShardBytes is the smallest shard that is worth having; a smaller one holds nothing.
	minShardBytes = 4096
	// maxShardBytes keeps positions within 32 bits.
	maxShardBytes = 16 << 30
	// shardOverhead is what a shard costs beside its region, in bytes, generously.
	shardOverhead = 256
)

// New returns a cache that takes at most maxBytes of memory, all told; 0 is a cache that holds nothing until it is
// resized. The number of its shards, and so the largest record that it can hold, follows from maxBytes.
func New(maxBytes int64) *Cache {
	n := minShards
	for n < maxShards && int64(n)*shardAim < maxBytes {
		n *= 2
	}
	c := &Cache{shards: make([]shard, n), shift: uint(64 - bits.TrailingZeros(uint(n)))}
	c.Resize(maxBytes)
	return c
}

func (c *Cache) shard(h hash) *shard { return &c.shards[h>>c.shift] }

// Get appends the record at a to dst and reports whether the cache had it.
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
	pos := s.slotAt(i).position()
	s.setHeader(pos, s.header(pos)|headerRead)
	return s.appendRecord(dst, pos), true
}

// Peek is Get for those who look ahead: it counts neither as a hit nor as reading.
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
	return s.appendRecord(dst, s.slotAt(i).position()), true
}

// Put offers the record at a: a whole number of words, which are copied. The cache takes it if there is room, or if it
// was refused a short while ago; what is too large for a shard it never takes.
func (c *Cache) Put(a word.Address, rec []byte) {
	words := len(rec) / word.Align
	if c == nil || words == 0 || len(rec)%word.Align != 0 || a == word.None {
		return
	}
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if words > s.maxWords || s.find(a, h.slot()) >= 0 {
		return
	}
	if !s.hasRoom(1+words) && !s.refusedBefore(h) {
		return
	}
	s.makeRoom(1 + words)
	s.push(a, rec, nil)
}

// Resize sets the most bytes that the cache may take. What is in it stays, the newest first, as far as it fits. With 0
// all memory is given back and the cache holds nothing, which is also how to close it.
func (c *Cache) Resize(maxBytes int64) {
	if c == nil {
		return
	}
	c.resizing.Lock()
	defer c.resizing.Unlock()
	if maxBytes == c.limit {
		return
	}
	c.limit = maxBytes
	each := min(maxBytes/int64(len(c.shards))-shardOverhead, maxShardBytes)
	if each < minShardBytes {
		each = 0
	}
	each -= each % minShardBytes // regions are whole pages
	for i := range c.shards {
		c.shards[i].resize(int(each))
	}
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
