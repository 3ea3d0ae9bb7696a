package hlog

import (
	"math/bits"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Memory goes by use. A record that was used while it was in memory gets a place in the cache when its page leaves; one
// that was not leaves, and the cache remembers its address, so that it comes in if it is missed soon. In the cache it stays
// for as many rounds as it has heat. It never goes back to the tail because it was read, so that reading costs no log;
// when it is changed its next record is at the tail, with its heat, and the cache has its place for others.
//
//	           set, rmw                          read from disk for the second time
//	               |                                          |
//	               v                                          v
//	  +------------------------+   leaves with heat   +---------------+
//	  | frames: a queue, where |--------------------->|     cache     |--> leaves without heat,
//	  | changes are in place   |<---------------------|               |    is remembered
//	  +------------------------+   set, rmw: a copy   +---------------+
//	               |                with the heat
//	               +--> leaves without heat, is remembered
//
//	H12  What the cache has at an address is what the disk has there. A record comes from a frame only below safeReadOnly,
//	     where it does not change any more (H2), and before head passes it, so that those who look for it find frame, cache
//	     or disk, and the same in each. Which of them a reader finds does not matter: what it may return was decided when
//	     it read the entry.
//	H13  Heat is a hint. It is on no disk, no operation depends on it, and no change of it touches what is stored. Scans,
//	     compaction and warming add none; compaction passes it on.

// keeper decides about the records that leave memory. The pager alone uses it.
type keeper struct {
	guard   *epoch.Guard
	page    uint64 // the last one that left
	lookups uint64 // of cold records, when it did
	asked   uint64 // the last page that left after there had been lookups since the one before
}

// idleTurns is how many times as much as memory holds leaves without a lookup of a cold record before nothing is kept any
// more.
const idleTurns = 2

// leaving is reclog's Hooks.Leaving.
func (s *Store) leaving(r *reclog.Leaving) {
	k := &s.memory.keeper
	if page := uint64(r.At) / uint64(s.opts.PageBytes); page != k.page {
		k.page = page
		if n := s.coldLookups(); n != k.lookups {
			k.lookups, k.asked = n, page
		}
	}
	if (k.page-k.asked)*uint64(s.opts.PageBytes) > idleTurns*uint64(s.opts.MemoryBytes) {
		return // nobody asks for what has left memory
	}
	if r.Heat == 0 && !s.cache.Wants(r.At, r.Size) {
		return
	}
	if rec := r.Record(); s.isNewest(r.At, rec) {
		s.cache.Keep(r.At, rec, rounds(r.Heat))
	}
}

// coldLookups returns how often operations have asked for records that are not in memory.
func (s *Store) coldLookups() uint64 { return uint64(s.counters.coldReads.Value()) + s.cache.Hits() }

// isNewest reports whether the record at a is the first of its chain. The answer is a hint: it may change at any time, and
// it is no while the store is being restored.
func (s *Store) isNewest(a word.Address, rec record.Bytes) (newest bool) {
	k := &s.memory.keeper
	if k.guard == nil {
		k.guard = s.epochs.Register()
	}
	h := s.hash(rec.OnlyKey())
	k.guard.Enter()
	defer k.guard.Exit()
	if control(s.control.Load()).open() {
		_, e, status := s.index().Find(h)
		newest = status == index.Found && e.Address() == a
	}
	return newest
}

// A record in memory has two bits for its heat, the cache counts up to coldcache.MaxHeat. So the heat h of a record stands for
// 2^h-1 rounds in the cache.
const _ = uint(1<<word.MaxHeat-1-coldcache.MaxHeat) + uint(coldcache.MaxHeat-(1<<word.MaxHeat-1))

// rounds returns the heat in the cache of a record that has left memory with heat.
func rounds(heat int) int { return 1<<heat - 1 }

// heatAfter returns the heat in memory of a record whose predecessor at a was good for so many rounds in the cache. What lies
// between two heats is rounded up or down by chance, so that on average nothing is lost.
func heatAfter(rounds int, a word.Address) int {
	heat := bits.Len(uint(rounds+1)) - 1
	chance := uint64(a) * 0x9e3779b97f4a7c15 >> 32 % (1 << heat)
	if rest := rounds + 1 - 1<<heat; int(chance) < rest {
		heat++
	}
	return heat
}

// heatNow returns the heat of a record in memory that is superseded, this use included.
func heatNow(x record.Seen) int { return min(x.Heat()+1, word.MaxHeat) }

// useOf returns what is known of the use of the record at a, which is on disk and is read now to be updated.
func (s *Store) useOf(a word.Address) coldUse {
	heat, ok := s.cache.Heat(a)
	switch {
	case ok:
		return coldUse{heat: heatAfter(min(heat+1, coldcache.MaxHeat), a), cached: a}
	case s.cache.Missed(a):
		return coldUse{heat: 1}
	}
	return coldUse{}
}

// lookUp looks for the record at a in the cache, for what an operation or a walk does.
func (s *Store) lookUp(a word.Address, dst []byte, does access) ([]byte, bool) {
	if does == passing {
		return s.cache.Peek(a, dst)
	}
	return s.cache.Get(a, dst)
}

// superseded has the record that was just published inherit the heat of one of the same key on disk at a, if that is in the
// cache, with this use, and lets that go.
func (s *Session) superseded(a word.Address, key []byte) {
	rec, ok := s.store.cache.Peek(a, s.cached[:0])
	if !ok {
		return
	}
	s.cached = rec
	if string(record.Bytes(rec).OnlyKey()) == string(key) {
		s.inherit(a, 1)
	}
}

// inherit has the record that was just published inherit the heat of the one at a, and so many uses, if that is in the cache,
// and lets that go.
func (s *Session) inherit(a word.Address, uses int) {
	heat, ok := s.store.cache.Take(a)
	if heat = heatAfter(min(heat+uses, coldcache.MaxHeat), a); !ok || heat == 0 {
		return
	}
	s.guard.Enter()
	if at := s.published; uint64(at) >= s.log.Head() {
		record.See(at, s.log.At(at)).Warm(heat)
	}
	s.guard.Exit()
}
