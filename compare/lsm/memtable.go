package lsm

import (
	"bytes"
	"encoding/binary"
	"reflect"
)

// memtable is the sorted part in memory: a B+ tree whose leaves hold the offsets of records in an arena. A node keeps
// the first eight bytes of each key beside its offset, so that most comparisons stay inside the node. There are no
// pointers for the garbage collector to follow, and a flushed memtable is used again as it is.
//
// An entry of the arena is the value's room, the value's length, the key's length (4 + 4 + 2 bytes), the key and the
// value. A value that fits the room is overwritten in place; otherwise the record moves to the end of the arena.
type memtable struct {
	arena  []byte
	leaves []leaf
	inners []inner
	root   int32 // inner when height > 0, else leaf
	height int
	count  int
}

const (
	fanout    = 64
	arenaHead = 10
	// nodeShare is about what an entry takes in the nodes, which are two thirds full.
	nodeShare = 18
	noLeaf    = -1
)

// keys is the sorted part that leaves and inner nodes share.
type keys struct {
	n      int
	prefix [fanout]uint64
	at     [fanout]uint32 // offset in the arena of a record with the key
}

type leaf struct {
	keys
	next int32 // to the right, or noLeaf
}

// inner has n separators and n+1 children; child i holds the keys below separator i.
type inner struct {
	keys
	child [fanout + 1]int32
}

var (
	leafBytes  = int64(reflect.TypeFor[leaf]().Size())
	innerBytes = int64(reflect.TypeFor[inner]().Size())
)

func newMemtable() *memtable {
	m := &memtable{}
	m.reset()
	return m
}

func (m *memtable) reset() {
	m.arena, m.inners, m.root, m.height, m.count = m.arena[:0], m.inners[:0], 0, 0, 0
	m.leaves = append(m.leaves[:0], leaf{next: noLeaf})
}

// used returns the bytes that the records take, nodes included.
func (m *memtable) used() int64 { return int64(len(m.arena)) + int64(m.count)*nodeShare }

// held returns the bytes of memory held.
func (m *memtable) held() int64 {
	return int64(cap(m.arena)) + int64(cap(m.leaves))*leafBytes + int64(cap(m.inners))*innerBytes
}

// prefixOf returns the first eight bytes of key as a number that sorts like them.
func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// record returns the parts of the record at an offset.
func (m *memtable) record(at uint32) (key, value []byte) {
	head := m.arena[at:]
	n := binary.LittleEndian.Uint32(head[4:])
	k := int(binary.LittleEndian.Uint16(head[8:]))
	return head[arenaHead : arenaHead+k], head[arenaHead+k : arenaHead+k+int(n)]
}

// search returns the first place whose key is not below key, and whether it is key.
func (m *memtable) search(ks *keys, prefix uint64, key []byte) (int, bool) {
	lo, hi := 0, ks.n
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		c := 0
		switch p := ks.prefix[mid]; {
		case p < prefix:
			c = -1
		case p > prefix:
			c = 1
		default:
			k, _ := m.record(ks.at[mid])
			c = bytes.Compare(k, key)
		}
		switch {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// path is the inner nodes and the places in them on the way to a leaf.
type path struct {
	node  [16]int32
	place [16]int
}

// descend returns the leaf that key belongs to.
func (m *memtable) descend(prefix uint64, key []byte, p *path) int32 {
	node := m.root
	for h := range m.height {
		in := &m.inners[node]
		i, equal := m.search(&in.keys, prefix, key)
		if equal {
			i++
		}
		p.node[h], p.place[h] = node, i
		node = in.child[i]
	}
	return node
}

// get returns key's value, which aliases the arena and is empty for a tombstone.
func (m *memtable) get(key []byte) (value []byte, ok bool) {
	var p path
	prefix := prefixOf(key)
	l := &m.leaves[m.descend(prefix, key, &p)]
	i, ok := m.search(&l.keys, prefix, key)
	if !ok {
		return nil, false
	}
	_, value = m.record(l.at[i])
	return value, true
}

// put sets key's value; an empty one is a tombstone.
func (m *memtable) put(key, value []byte) {
	var p path
	prefix := prefixOf(key)
	node := m.descend(prefix, key, &p)
	l := &m.leaves[node]
	i, ok := m.search(&l.keys, prefix, key)
	if ok {
		head := m.arena[l.at[i]:]
		if room := binary.LittleEndian.Uint32(head); len(value) <= int(room) {
			binary.LittleEndian.PutUint32(head[4:], uint32(len(value)))
			copy(head[arenaHead+len(key):], value)
		} else {
			l.at[i] = m.store(key, value)
		}
		return
	}
	m.count++
	at := m.store(key, value)
	if l.n < fanout {
		l.insert(i, prefix, at)
		return
	}
	m.split(&p, node, i, prefix, at)
}

func (m *memtable) store(key, value []byte) uint32 {
	at := uint32(len(m.arena))
	m.arena = binary.LittleEndian.AppendUint32(m.arena, uint32(len(value)))
	m.arena = binary.LittleEndian.AppendUint32(m.arena, uint32(len(value)))
	m.arena = binary.LittleEndian.AppendUint16(m.arena, uint16(len(key)))
	m.arena = append(m.arena, key...)
	m.arena = append(m.arena, value...)
	return at
}

func (ks *keys) insert(i int, prefix uint64, at uint32) {
	copy(ks.prefix[i+1:ks.n+1], ks.prefix[i:ks.n])
	copy(ks.at[i+1:ks.n+1], ks.at[i:ks.n])
	ks.prefix[i], ks.at[i] = prefix, at
	ks.n++
}

// moveTail moves the places from i on to the empty node dst.
func (ks *keys) moveTail(i int, dst *keys) {
	dst.n = copy(dst.prefix[:], ks.prefix[i:ks.n])
	copy(dst.at[:], ks.at[i:ks.n])
	ks.n = i
}

// split inserts into the full leaf at place i and makes room on the way up. Keys that arrive in order leave full leaves
// behind.
func (m *memtable) split(p *path, node int32, i int, prefix uint64, at uint32) {
	right := int32(len(m.leaves))
	m.leaves = append(m.leaves, leaf{})
	l, r := &m.leaves[node], &m.leaves[right]
	half := fanout / 2
	if i == fanout && l.next == noLeaf {
		half = fanout
	}
	l.moveTail(half, &r.keys)
	r.next, l.next = l.next, right
	if i < half {
		l.insert(i, prefix, at)
	} else {
		r.insert(i-half, prefix, at)
	}
	m.link(p, m.height-1, r.prefix[0], r.at[0], right)
}

// link puts the new node right, whose smallest key is given, beside the child that the path went through at height h.
func (m *memtable) link(p *path, h int, prefix uint64, at uint32, right int32) {
	if h < 0 {
		in := inner{}
		in.insert(0, prefix, at)
		in.child[0], in.child[1] = m.root, right
		m.root = int32(len(m.inners))
		m.inners = append(m.inners, in)
		m.height++
		return
	}
	node, i := p.node[h], p.place[h]
	if m.inners[node].n < fanout {
		m.inners[node].insertChild(i, prefix, at, right)
		return
	}
	fresh := int32(len(m.inners))
	m.inners = append(m.inners, inner{})
	l, r := &m.inners[node], &m.inners[fresh]
	// The separator in the middle moves up: it stands between the two halves.
	const half = fanout / 2
	copy(r.child[:], l.child[half+1:])
	l.moveTail(half+1, &r.keys)
	l.n--
	upPrefix, upAt := l.prefix[half], l.at[half]
	if i <= half {
		l.insertChild(i, prefix, at, right)
	} else {
		r.insertChild(i-half-1, prefix, at, right)
	}
	m.link(p, h-1, upPrefix, upAt, fresh)
}

func (in *inner) insertChild(i int, prefix uint64, at uint32, right int32) {
	copy(in.child[i+2:in.n+2], in.child[i+1:in.n+1])
	in.child[i+1] = right
	in.insert(i, prefix, at)
}

// each calls fn with every record in key order until it fails.
func (m *memtable) each(fn func(key, value []byte) error) error {
	for l := int32(0); l != noLeaf; l = m.leaves[l].next { // Leaf 0 stays the leftmost.
		for i := range m.leaves[l].n {
			if err := fn(m.record(m.leaves[l].at[i])); err != nil {
				return err
			}
		}
	}
	return nil
}
