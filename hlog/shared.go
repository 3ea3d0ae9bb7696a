package hlog

import (
	"fmt"

	"github.com/hybridlog/hybridlog/internal/lock"
)

// Budget is memory that several stores of a process share (Options.Shared). A store takes of it what it uses: idle ones
// next to nothing, busy ones equal shares of the rest, and one that is alone in being busy nearly all of it. It may be used
// from any goroutine and needs no closing; a store leaves it when it closes.
//
//	bytes   |  idle stores: what they use  |  store A: level  |  store B: level  |  free  |
//
// The level is the most that a store is granted as long as all together want more than there is (max-min fairness). Who
// has more than the level when another store comes gives it up page by page, and what is given up is granted: the sum
// stays within the budget, but for the least that each store needs (some of its pages and its index).
type Budget struct {
	bytes int64

	mu      lock.Mutex[lock.Leaf]
	members map[*budget]struct{} // the open stores
	used    int64                // of all members
	wanted  int64                // of all members, each at most its Options.MemoryBytes
	level   int64                // see above; bytes when there is enough for all
	stale   int64                // how much wanted and used have changed since the level was found
}

// NewBudget returns a budget of so many bytes, at least MinMemoryBytes; else ErrOptions.
func NewBudget(bytes int64) (*Budget, error) {
	if bytes < MinMemoryBytes {
		return nil, optionError("Budget", bytes, fmt.Sprintf("at least %d", MinMemoryBytes))
	}
	return &Budget{bytes: bytes, level: bytes, members: map[*budget]struct{}{}}, nil
}

// Bytes returns the size of the budget.
func (b *Budget) Bytes() int64 { return b.bytes }

// Used returns how many bytes the open stores use at the moment.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// join adds a store.
func (b *Budget) join(m *budget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[m] = struct{}{}
}

// leave gives back what m has.
func (b *Budget) leave(m *budget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.members[m]; !ok {
		return
	}
	delete(b.members, m)
	b.used -= m.used
	b.wanted -= m.wanted
	b.findLevel()
}

// staleShare of the budget is how much may change before the level is found anew.
const staleShare = 64

// grant notes what m uses and wants, and returns how many bytes it may have, and the members that have to give up some
// so that m gets its share.
func (b *Budget) grant(m *budget, used, wanted int64) (bytes int64, givers []*budget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.members[m]; !ok {
		return used, nil // it is closing
	}
	wanted = min(max(wanted, used), m.total)
	b.stale += abs(used-m.used) + abs(wanted-m.wanted)
	b.used += used - m.used
	b.wanted += wanted - m.wanted
	m.used, m.wanted = used, wanted
	if b.stale > b.bytes/staleShare {
		b.findLevel()
	}
	free := b.bytes - b.used
	if b.wanted <= b.bytes {
		return min(m.total, used+max(free, 0)), nil
	}
	share := min(m.total, b.level)
	if used >= share || free >= share-used {
		return share, nil
	}
	for o := range b.members {
		if o.used > b.level {
			givers = append(givers, o)
		}
	}
	return used + max(free, 0), givers
}

// findLevel finds the level at which the members, each of which gets what it wants or the level, share all there is. The
// caller holds mu.
func (b *Budget) findLevel() {
	b.stale = 0
	b.level = b.bytes
	if b.wanted <= b.bytes {
		return
	}
	rest, hungry := b.bytes, int64(len(b.members))
	for {
		level := rest / max(hungry, 1)
		content, count := int64(0), int64(0) // those who want no more than that
		for m := range b.members {
			if m.wanted <= level {
				content += m.wanted
				count++
			}
		}
		left := int64(len(b.members)) - count
		if left == hungry || left == 0 {
			b.level = level
			return
		}
		rest, hungry = b.bytes-content, left
	}
}

func abs(n int64) int64 { return max(n, -n) }
