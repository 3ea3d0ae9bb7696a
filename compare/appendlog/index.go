package appendlog

import "github.com/hybridlog/hybridlog/compare/internal/cache"

// location is where a record is.
type location struct {
	offset int64
	file   uint32 // number
	size   uint32 // bytes of the record
}

// cached is the name of the record's value in the cache.
func (l location) cached() cache.Key { return cache.Key{File: uint64(l.file), Place: l.offset} }

// index maps the keys that are present to their locations (A2). The map holds places in a slice instead of the
// locations themselves, so that moving a key allocates nothing.
type index struct {
	places    map[string]uint32
	locations []location
	free      []uint32
	keyBytes  int64
}

const (
	// keyOverhead is what a key takes beside its bytes and its location: a string and a place in a map that is two
	// thirds full, and the rounding of its allocation.
	keyOverhead   = 44
	locationBytes = 16
)

func newIndex() *index { return &index{places: map[string]uint32{}} }

// memory returns about the bytes of memory held.
func (x *index) memory() int64 {
	return x.keyBytes + int64(len(x.places))*keyOverhead + int64(cap(x.locations))*locationBytes + int64(cap(x.free))*4
}

func (x *index) get(key []byte) (location, bool) {
	i, ok := x.places[string(key)]
	if !ok {
		return location{}, false
	}
	return x.locations[i], true
}

// set returns where the record was before, the zero location if the key is new.
func (x *index) set(key []byte, l location) (before location) {
	if i, ok := x.places[string(key)]; ok {
		before, x.locations[i] = x.locations[i], l
		return before
	}
	i := uint32(len(x.locations))
	if n := len(x.free); n > 0 {
		i, x.free = x.free[n-1], x.free[:n-1]
		x.locations[i] = l
	} else {
		x.locations = append(x.locations, l)
	}
	x.places[string(key)] = i
	x.keyBytes += int64(len(key))
	return location{}
}

func (x *index) delete(key []byte) {
	if i, ok := x.places[string(key)]; ok {
		delete(x.places, string(key))
		x.free = append(x.free, i)
		x.keyBytes -= int64(len(key))
	}
}
