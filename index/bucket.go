package index

import (
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// bucketBytes is the size of a bucket: one cache line, so that finding an entry is one miss.
	bucketBytes = 64
	bucketShift = 6
	// bucketSlots is the number of entries of a bucket. The link takes the place of the eighth.
	bucketSlots = 7
	linkOffset  = bucketSlots * mem.WordBytes
)

// Seven entries and a link fill the bucket exactly.
const _ = uint(bucketBytes-linkOffset-mem.WordBytes) + uint(1<<bucketShift-bucketBytes)

// link is the last word of a bucket: the overflow bucket that follows it, and in a table that is being replaced how
// far the bucket has been moved.
//
//	63      62        61        48 47                    0
//	+-------+---------+-----------+-----------------------+
//	| moved | claimed |     0     |  overflow bucket + 1  |
//	+-------+---------+-----------+-----------------------+
//
// moved stands only in main buckets; claimed in overflow buckets as well, where it keeps the chain from growing (I6).
// The overflow bucket is counted from 1 so that the zero word of fresh memory is an unlinked bucket.
type link uint64

const (
	movedBit   link = 1 << 63
	claimedBit link = 1 << 62
	linkMask   link = 1<<48 - 1
)

// makeLink returns the link to overflow bucket i.
func makeLink(i uint64) link { return link(i + 1) }

// target returns the overflow bucket that l leads to, if it does.
func (l link) target() (i uint64, ok bool) { return uint64(l&linkMask) - 1, l&linkMask != 0 }

func (l link) moved() bool   { return l&movedBit != 0 }
func (l link) claimed() bool { return l&(claimedBit|movedBit) != 0 }

// result is what a scan or an insert has come to. The first two are those of [Status].
type result uint8

const (
	miss  = result(Absent)
	hit   = result(Found)
	again = result(NeedLoad) + iota // something is under way: wait a little and begin again
	full                            // there is no room
)

// table is one table. What stands before the chunks never changes while anybody can see the table, except that the
// pointers for a beginning become nil.
type table struct {
	mem.Buckets
	// busy is set while old or image is.
	busy  atomic.Bool
	old   atomic.Pointer[table] // the table that is being moved here
	image atomic.Pointer[image] // where buckets are loaded from

	// chunks holds the overflow buckets, 2^chunkBits each. A chunk is set before any of its buckets is linked.
	chunkBits uint
	chunks    [maxChunks]mem.Ptr

	region   *mem.Region
	overflow overflow
	moves    moves       // of this table into the next one
	capped   atomic.Bool // no memory can be had: full buckets get catch-alls
	reserved int64       // bytes that Config.Reserve has granted; under the lock
}

// bucket returns main bucket b.
func (t *table) bucket(b uint64) mem.Ptr { return mem.Add(t.Base, uintptr(b)<<bucketShift) }

// overflowBucket returns overflow bucket i.
func (t *table) overflowBucket(i uint64) mem.Ptr {
	within := i & (1<<t.chunkBits - 1)
	return mem.Add(t.chunks[i>>t.chunkBits], uintptr(within)<<bucketShift)
}

// next returns the overflow bucket after b, or nil.
func (t *table) next(b mem.Ptr) mem.Ptr {
	i, ok := loadLink(b).target()
	if !ok {
		return nil
	}
	return t.overflowBucket(i)
}

func slotOf(b mem.Ptr, i int) mem.Ptr { return mem.Add(b, uintptr(i)*mem.WordBytes) }

func loadLink(b mem.Ptr) link { return link(mem.Load(mem.Add(b, linkOffset))) }

// findEach is findSpecific, entry by entry: for machines without mem.FindTag, and what that is tested against.
func findEach(b *mem.Buckets, h uint64) (mem.Ptr, word.Entry) {
	q := word.MakeQuery(h, b.Bits)
	bucket := mem.Add(b.Base, uintptr(h&b.Mask)<<bucketShift)
	for i := range bucketSlots {
		p := slotOf(bucket, i)
		if e := word.Entry(mem.Load(p)); e.Tag() > word.CatchAll && q.Matches(e.Tag()) {
			if e.Tentative() {
				break
			}
			return p, e
		}
	}
	return nil, 0
}

// seekEach is SeekAll, one by one.
func seekEach(b *mem.Buckets, ring *mem.Ring, hashes, next, entries []uint64) {
	for i, h := range hashes {
		if i < len(next) {
			mem.Prefetch(mem.Add(b.Base, uintptr(next[i]&b.Mask)<<bucketShift))
		}
		_, e := findSpecific(b, h)
		entries[i] = uint64(e)
		mem.Prefetch(mem.Add(ring.Base, uintptr(uint64(e.Address())&ring.Mask)))
	}
}

// find returns the owner of h: hit, miss, or again if it is tentative or was moved.
func (t *table) find(h uint64) (mem.Ptr, word.Entry, result) {
	p, e := findSpecific(&t.Buckets, h)
	step()
	if e != 0 {
		return p, e, hit
	}
	return t.findSlowly(t.bucket(h&t.Mask), word.MakeQuery(h, t.Bits))
}

// findSlowly is find for a chain whose main bucket has no specific entry that matches, or has one that changes.
func (t *table) findSlowly(b mem.Ptr, q word.Query) (owner mem.Ptr, e word.Entry, r result) {
	for ; b != nil; b = t.next(b) {
		for i := range bucketSlots {
			p := slotOf(b, i)
			step()
			switch f := word.Entry(mem.Load(p)); {
			case f == 0 || !q.Matches(f.Tag()):
			case f == word.Frozen || f.Tentative():
				return nil, 0, again
			case f.Tag() == word.CatchAll:
				// It is the owner only if no specific entry is; those come after it (I3).
				owner, e, r = p, f, hit
			default:
				return p, f, hit
			}
		}
	}
	return owner, e, r
}
