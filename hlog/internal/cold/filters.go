package cold

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// arenaSlots is how many blocks of filter share a region of memory.
const arenaSlots = 64

// Filters keeps blocks of filter in memory, off the heap, as many as it may, those in use before the others (CLOCK). It
// serves the shares of all tiers of a store. Its methods are safe for concurrent use, and looking into it takes no lock.
//
// A share knows for each block of its filter which slot has it. A slot is read like a record is: its version is odd while
// it changes, and what was read counts if the version is even and was so before (T34). The memory stays mapped until
// [Filters.Close], whatever becomes of a slot.
type Filters struct {
	arenas atomic.Pointer[[]*arena] // grows only

	mu   sync.Mutex
	most int      // blocks that may be held
	held int      // blocks that are
	free []uint32 // slots that hold nothing
	hand uint32   // of the clock: a slot

	reads, passes atomic.Int64 // of Put; of orders that a filter let pass
}

type arena struct {
	region *mem.Region
	slots  [arenaSlots]filterSlot
}

type filterSlot struct {
	version atomic.Uint32
	used    atomic.Bool // since the hand came by
	share   *Share      // of Filters.mu: whose block it is, nil if nobody's
	block   int
}

// NewFilters returns filters that take at most maxBytes of memory.
func NewFilters(maxBytes int64) *Filters {
	f := &Filters{}
	f.arenas.Store(new([]*arena))
	f.Resize(maxBytes)
	return f
}

// slot returns slot id and its memory.
func (f *Filters) slot(id uint32) (*filterSlot, mem.Ptr) {
	a := (*f.arenas.Load())[(id-1)/arenaSlots]
	n := (id - 1) % arenaSlots
	return &a.slots[n], a.region.At(uintptr(n) * BlockBytes)
}

// answer is what a filter says of an order.
type answer int

const (
	unknown answer = iota // the block of filter is not in memory
	no                    // it is in no record of the share
	maybe
)

// filterOf returns which block of a share's filter an order belongs to, and whether one does.
func (s *Share) filterOf(order uint64) (n int, ok bool) {
	n = sort.Search(len(s.filters), func(i int) bool { return s.filters[i] > order }) - 1
	return n, n >= 0 && order >= s.ref.First && order <= s.ref.Last
}

// ask returns what the filter of s says of an order, and, if that is unknown, the number of the block that would tell.
func (f *Filters) ask(s *Share, order uint64) (a answer, block int) {
	n, ok := s.filterOf(order)
	if !ok {
		return no, 0
	}
	id := s.slots[n].Load()
	if id == 0 {
		return unknown, n
	}
	sl, p := f.slot(id)
	v := sl.version.Load()
	if v%2 != 0 || s.slots[n].Load() != id {
		return unknown, n
	}
	a = no
	if mayHold(p, order) {
		a = maybe
	}
	if sl.version.Load() != v {
		return unknown, n
	}
	if !sl.used.Load() {
		sl.used.Store(true)
	}
	return a, n
}

// filterHolds reports whether b, a block of the filter of s that was checked, has seen order.
func (s *Share) filterHolds(b []byte, order uint64) bool { return mayHold(mem.Of(b), order) }

// filterExtent returns where block n of the filter lies.
func (s *Share) filterExtent(n int) Extent { return Extent{s.filterAt(n), BlockBytes} }

// Put takes over b, block n of the filter of s as it was read, or returns a *[CorruptError]. When the share has been
// forgotten, or there is no room at all, it keeps nothing.
func (f *Filters) Put(s *Share, n int, b []byte) error {
	if err := s.checkFilterBlock(b, n); err != nil {
		return err
	}
	f.reads.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.forgotten || s.slots[n].Load() != 0 {
		return nil
	}
	id := f.takeSlot()
	if id == 0 {
		return nil
	}
	sl, p := f.slot(id)
	mem.CopyIn(p, b[:BlockBytes])
	sl.share, sl.block = s, n
	sl.used.Store(true)
	sl.version.Add(1)
	s.slots[n].Store(id)
	f.held++
	return nil
}

// takeSlot returns a slot that holds nothing, whose version is odd; 0 if none may be used.
func (f *Filters) takeSlot() uint32 {
	if f.held >= f.most {
		return f.evict()
	}
	if len(f.free) == 0 && !f.grow() {
		return f.evict()
	}
	id := f.free[len(f.free)-1]
	f.free = f.free[:len(f.free)-1]
	return id
}

// grow adds an arena. Its slots are free.
func (f *Filters) grow() bool {
	r, err := mem.MapSparse(arenaSlots * BlockBytes)
	if err != nil {
		return false
	}
	a := &arena{region: r}
	old := *f.arenas.Load()
	all := append(old[:len(old):len(old)], a)
	for i := range a.slots {
		a.slots[i].version.Store(1)
		f.free = append(f.free, uint32((len(all)-1)*arenaSlots+arenaSlots-i))
	}
	f.arenas.Store(&all)
	return true
}

// evict empties the slot that was not used for longest, about, and returns it; 0 if none holds anything.
func (f *Filters) evict() uint32 {
	slots := uint32(len(*f.arenas.Load()) * arenaSlots)
	for range 2 * slots {
		if f.hand++; f.hand > slots {
			f.hand = 1
		}
		sl, _ := f.slot(f.hand)
		if sl.share == nil {
			continue
		}
		if !sl.used.Load() {
			f.empty(f.hand)
			return f.hand
		}
		sl.used.Store(false)
	}
	return 0
}

// empty takes a slot from its share. Its version becomes odd.
func (f *Filters) empty(id uint32) {
	sl, _ := f.slot(id)
	sl.version.Add(1)
	sl.share.slots[sl.block].Store(0)
	sl.share = nil
	f.held--
}

// Resize sets how many bytes may be taken. What has been used least goes first.
func (f *Filters) Resize(maxBytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.most = int(max(maxBytes, 0) / BlockBytes)
	for f.held > f.most {
		id := f.evict()
		if id == 0 {
			return
		}
		f.give(id)
	}
}

// give makes an empty slot free, and its memory the system's.
func (f *Filters) give(id uint32) {
	f.free = append(f.free, id)
	(*f.arenas.Load())[(id-1)/arenaSlots].region.Discard(int((id-1)%arenaSlots)*BlockBytes, BlockBytes)
}

// Forget drops what is held of a share that no tier has any more.
func (f *Filters) Forget(s *Share) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.forgotten = true
	for n := range s.slots {
		if id := s.slots[n].Load(); id != 0 {
			f.empty(id)
			f.give(id)
		}
	}
}

// Bytes returns how much memory blocks take.
func (f *Filters) Bytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(f.held) * BlockBytes
}

// Close gives all memory back. Nobody may look into filters any more.
func (f *Filters) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range *f.arenas.Load() {
		for i := range a.slots {
			if sl := &a.slots[i]; sl.share != nil {
				sl.share.slots[sl.block].Store(0)
				sl.share = nil
			}
		}
		a.region.Unmap()
	}
	f.arenas.Store(new([]*arena))
	f.free, f.held, f.most = nil, 0, 0
}
