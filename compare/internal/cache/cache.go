// Package cache keeps bytes read from immutable files in memory, so that an engine spends the memory its structures
// leave over on what is read most. It is a second-chance ring per shard.
package cache

import (
	"bytes"
	"sync"
)

const (
	shards = 16
	// overhead is about what an entry takes besides its bytes: its place in the ring and in the map.
	overhead = 96
)

// Key names cached bytes: a file by its number, which is never used twice, and a place in it.
type Key struct {
	File  uint64
	Place int64
}

// Cache may be used from any goroutine.
type Cache struct {
	shard [shards]shard
}

type shard struct {
	mu      sync.Mutex
	max     int64
	bytes   int64
	byKey   map[Key]int
	entries []entry
	free    []int // places of entries without data
	hand    int
	_       [64]byte
}

type entry struct {
	key  Key
	data []byte // nil: the place is free
	used bool   // since the hand last passed
}

// New returns a cache that holds at most max bytes, its own included.
func New(max int64) *Cache {
	c := &Cache{}
	for i := range c.shard {
		c.shard[i].byKey = map[Key]int{}
	}
	c.Resize(max)
	return c
}

func (c *Cache) of(k Key) *shard {
	h := (k.File*0x9e3779b97f4a7c15 + uint64(k.Place)) * 0xd6e8feb86659fd93
	return &c.shard[h>>(64-4)]
}

// Get returns the bytes of k, which must not be changed, or nil.
func (c *Cache) Get(k Key) []byte {
	s := c.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.byKey[k]
	if !ok {
		return nil
	}
	s.entries[i].used = true
	return s.entries[i].data
}

// Put keeps data, which the caller no longer changes, until others push it out.
func (c *Cache) Put(k Key, data []byte) {
	s := c.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	size := int64(cap(data)) + overhead
	if _, ok := s.byKey[k]; ok || len(data) == 0 || size > s.max/4 {
		return
	}
	s.makeRoom(size)
	s.insert(k, data)
}

// Offer keeps a copy of data if nothing has to go for it.
func (c *Cache) Offer(k Key, data []byte) {
	s := c.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byKey[k]; !ok && len(data) > 0 && s.bytes+int64(len(data)+len(data)/4)+overhead <= s.max {
		s.insert(k, bytes.Clone(data))
	}
}

func (s *shard) insert(k Key, data []byte) {
	i := len(s.entries)
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		s.entries = append(s.entries, entry{})
	}
	s.entries[i] = entry{key: k, data: data}
	s.byKey[k] = i
	s.bytes += int64(cap(data)) + overhead
}

// Take removes the bytes of k and returns them, or nil.
func (c *Cache) Take(k Key) []byte {
	s := c.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.byKey[k]
	if !ok {
		return nil
	}
	data := s.entries[i].data
	s.remove(i)
	return data
}

func (s *shard) remove(i int) {
	e := &s.entries[i]
	s.bytes -= int64(cap(e.data)) + overhead
	delete(s.byKey, e.key)
	*e = entry{}
	s.free = append(s.free, i)
}

// makeRoom evicts until size more bytes fit.
func (s *shard) makeRoom(size int64) {
	for s.bytes+size > s.max && s.bytes > 0 {
		s.hand = (s.hand + 1) % len(s.entries)
		switch e := &s.entries[s.hand]; {
		case e.data == nil:
		case e.used:
			e.used = false
		default:
			s.remove(s.hand)
		}
	}
}

// Resize changes how many bytes the cache holds at most.
func (c *Cache) Resize(max int64) {
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.Lock()
		s.max = max / shards
		s.makeRoom(0)
		s.mu.Unlock()
	}
}

// Bytes returns the bytes held.
func (c *Cache) Bytes() (n int64) {
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.Lock()
		n += s.bytes
		s.mu.Unlock()
	}
	return n
}
