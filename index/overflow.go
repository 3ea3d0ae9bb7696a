package index

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/mem"
)

const (
	// chunkShareBits is the size of a chunk of overflow buckets: the main buckets divided by 2 to this.
	chunkShareBits = 3
	// minChunkBits makes the smallest chunk one page of memory.
	minChunkBits = 6
	// maxChunks bounds a table's overflow buckets, at 64 times its main buckets.
	maxChunks = 512
	// growShare is when the table should double: overflow buckets in use beyond this fraction of the main buckets.
	growShare = 10
)

// overflow counts a table's overflow buckets. Buckets are taken one after the other and never given back.
type overflow struct {
	mu      sync.Mutex
	mapped  uint64 // buckets in chunks
	used    atomic.Uint64
	held    uint64 // buckets set aside for moving or loading (I7)
	moved   uint64 // of used, those that moving or loading took
	growAt  uint64 // growth is wanted from this number of used ones on
	regions []*mem.Region
}

// free reports whether an insert could take a bucket.
func (o *overflow) free() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.freeLocked()
}

func (o *overflow) freeLocked() bool { return o.used.Load()-o.moved+o.held < o.mapped }

// release ends the setting aside.
func (o *overflow) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held, o.moved = 0, 0
}

// extend links an overflow bucket to last, the last bucket of a chain: again when done or when somebody else did,
// full when there is none.
func (x *Index) extend(t *table, last mem.Ptr) result {
	o := &t.overflow
	o.mu.Lock()
	defer o.mu.Unlock()
	if loadLink(last) != 0 {
		return again // somebody was faster, or a mover has claimed the bucket (I6)
	}
	if !o.freeLocked() {
		return full
	}
	i := o.used.Load()
	if !mem.Word(mem.Add(last, linkOffset)).CompareAndSwap(0, uint64(makeLink(i))) {
		return again
	}
	o.used.Store(i + 1)
	if i+1 > o.growAt && !t.busy.Load() {
		x.want.Store(true)
	}
	return again
}

// takeForMove returns an unused overflow bucket of those set aside (I7).
func (t *table) takeForMove() (uint64, mem.Ptr) {
	o := &t.overflow
	o.mu.Lock()
	defer o.mu.Unlock()
	i := o.used.Load()
	if i >= o.mapped || o.moved >= o.held {
		panic(fmt.Sprintf("index: I7: moving took %d overflow buckets of %d set aside, %d of %d in all",
			o.moved, o.held, i, o.mapped))
	}
	o.used.Store(i + 1)
	o.moved++
	return i, t.overflowBucket(i)
}

// newTable returns a table of 2^bits buckets with room for held overflow buckets that are set aside and some more.
// The lock is held or nobody else knows the index.
func (x *Index) newTable(bits uint, held uint64, bounded bool) (*table, error) {
	t := &table{Buckets: mem.Buckets{Mask: 1<<bits - 1, Bits: bits}}
	t.chunkBits = max(minChunkBits, bits-min(bits, chunkShareBits))
	n := (held + 1<<t.chunkBits/2 + 1<<t.chunkBits - 1) >> t.chunkBits
	if n > maxChunks {
		return nil, fmt.Errorf("index: %d overflow buckets are too many for 2^%d buckets", held, bits)
	}
	main := max(int64(bucketBytes)<<bits, 4096)
	chunk := int64(bucketBytes) << t.chunkBits
	if err := x.take(t, main+int64(n)*chunk, bounded); err != nil {
		return nil, err
	}
	var err error
	if t.region, err = x.mapMemory(main); err == nil {
		t.Base = t.region.At(0)
		for range n {
			if err = x.mapChunk(t); err != nil {
				break
			}
		}
	}
	if err != nil {
		x.free(t)
		return nil, err
	}
	t.overflow.held = held
	t.overflow.growAt = (t.Mask + 1) / growShare
	return t, nil
}

// take asks Config for n bytes for t, which a bounded caller must be granted. The lock is held or nobody else knows
// the index.
func (x *Index) take(t *table, n int64, bounded bool) error {
	if bounded && x.cfg.MaxBytes != nil && x.bytes.Load()+n > x.cfg.MaxBytes() {
		return errNoMemory
	}
	switch {
	case x.cfg.Reserve(n):
		t.reserved += n
	case bounded:
		return errNoMemory
	}
	return nil
}

// errNoMemory never leaves the package: not to be allowed more is not an error of an operation.
var errNoMemory = errors.New("index: Config allows no more memory")

func (x *Index) mapMemory(n int64) (*mem.Region, error) {
	r, err := mem.Map(int(n))
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	x.bytes.Add(n)
	return r, nil
}

// mapChunk adds a chunk of overflow buckets to t.
func (x *Index) mapChunk(t *table) error {
	o := &t.overflow
	r, err := x.mapMemory(int64(bucketBytes) << t.chunkBits)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t.chunks[len(o.regions)] = r.At(0)
	o.regions = append(o.regions, r)
	o.mapped += 1 << t.chunkBits
	return nil
}

// free gives back the memory of t, which nobody can reach any more.
func (x *Index) free(t *table) {
	regions := t.overflow.regions
	if t.region != nil {
		regions = append(regions, t.region)
	}
	for _, r := range regions {
		x.bytes.Add(-int64(r.Size()))
		// A mapping that the system refuses to take back is lost; there is nothing a caller could do about it.
		_ = r.Unmap()
	}
	if n := t.reserved; n > 0 {
		t.reserved = 0
		x.cfg.Reserve(-n)
	}
}

// room makes room for an insert that found none: it helps a growth to end, starts one, adds overflow buckets, or
// declares that there is no memory. forced adds overflow buckets whatever Config says. It may wait.
func (x *Index) room(forced bool) error {
	x.lock <- struct{}{}
	t := x.table.Load()
	if t.old.Load() != nil {
		<-x.lock
		return x.finishGrowth(context.Background())
	}
	grows, err := x.moreRoom(t, forced)
	<-x.lock
	if grows {
		x.spawn(x.moveAll)
	}
	return err
}

// moreRoom is room for a table that does not grow; it reports whether it now does. The lock is held.
func (x *Index) moreRoom(t *table, forced bool) (grows bool, err error) {
	if x.closed || t.overflow.free() {
		return false, nil
	}
	if x.startGrowth(true) == nil {
		return true, nil
	}
	switch err := x.addChunk(t, !forced); {
	case err == nil:
		t.capped.Store(false)
	case forced:
		return false, err
	default:
		t.capped.Store(true)
	}
	return false, nil
}

// addChunk takes memory for another chunk of overflow buckets. The lock is held.
func (x *Index) addChunk(t *table, bounded bool) error {
	o := &t.overflow
	if len(o.regions) == maxChunks {
		return fmt.Errorf("index: a table of 2^%d buckets has %d overflow buckets and cannot have more", t.Bits, o.mapped)
	}
	before := t.reserved
	if err := x.take(t, int64(bucketBytes)<<t.chunkBits, bounded); err != nil {
		return err
	}
	err := x.mapChunk(t)
	if granted := t.reserved - before; err != nil && granted > 0 {
		t.reserved = before
		x.cfg.Reserve(-granted)
	}
	return err
}
