package hlog

import (
	"encoding/binary"

	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
	"github.com/hybridlog/hybridlog/internal/word"
)

// What a file of the tier has of a key gets a place in the cache of cold records, too (keep.go): so a key that is read again
// and again is not read from disk each time. It is cached for the file, not for the key or the tier: a search comes to the
// files of a tier newest first, and asks the cache where it would read records. So a newer record, which a demotion has
// written, is found first, and a tier that a restore brings back finds what its own files have (T35). What was cached of a
// file that has been merged away is not asked for any more, and leaves.
//
//	entry    0   id of the file
//	         8   length of the key, 4 bytes, and of the value, 4 bytes
//	         16  key, value; zeros, so that it is whole words

const entryHead = 16

// tierReader is what a session or a view reads tiers with.
type tierReader struct {
	block []byte  // what was read of a file
	entry []byte  // of the cache
	use   coldUse // of the record that was found

	lacking *tier // held: a delete wants to read filters of it
	asked   bool  // the delete has asked for filters already
}

// cachedAt returns the address under which the cache has what a file has of keys with hash h. Others may have the same one.
func cachedAt(id, h uint64) word.Address {
	return coldcache.Beyond | word.Address(fold(h, id))&(coldcache.Beyond-1)&^(word.Align-1)
}

// appendEntry appends the entry of a record to b.
func appendEntry(b []byte, id uint64, key, value []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, id)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(key)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	b = append(append(b, key...), value...)
	for len(b)%word.Align != 0 {
		b = append(b, 0)
	}
	return b
}

// valueOf returns the value in an entry, if it is that of the file and the key.
func valueOf(entry []byte, id uint64, key []byte) (value []byte, ok bool) {
	if binary.LittleEndian.Uint64(entry) != id {
		return nil, false
	}
	k, v := int(binary.LittleEndian.Uint32(entry[8:])), int(binary.LittleEndian.Uint32(entry[12:]))
	if string(entry[entryHead:][:k]) != string(key) {
		return nil, false
	}
	return entry[entryHead+k:][:v], true
}

// cached returns the value of key, whose hash is h, that the cache has of a file, or that was read ahead of it. It is valid until r is used again.
func (c *coldTier) cached(r *tierReader, id uint64, key []byte, h uint64, does access) (value []byte, ok bool) {
	at := cachedAt(id, h)
	r.use = coldUse{}
	if does == updating {
		r.use = c.s.useOf(at)
	}
	if entry, ok := c.s.lookUp(at, r.entry[:0], does); ok {
		r.entry = entry
		return valueOf(entry, id, key)
	}
	if entry, ok := c.s.prefetcher.claim(at, r.entry[:0], does); ok {
		r.entry = entry
		if does == reading {
			c.s.cache.Put(at, entry)
		}
		return valueOf(entry, id, key)
	}
	return nil, false
}

// keep offers the cache what was read of a file. scratch is used, and returned.
func (c *coldTier) keep(scratch []byte, id uint64, key []byte, h uint64, value []byte) []byte {
	if c.s.cache == nil {
		return scratch
	}
	scratch = appendEntry(scratch[:0], id, key, value)
	c.s.cache.Put(cachedAt(id, h), scratch)
	return scratch
}
