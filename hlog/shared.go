package hlog

import (
	"fmt"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/lock"
)

// Budget is memory that several stores of a process share (Options.Shared). A store takes of it what it uses: idle ones
// next to nothing, busy ones equal shares of the rest, and one that is alone in being busy nearly all of it. It may be used
// from any goroutine and needs no closing; a store leaves it when it closes.
//
//	bytes   |  idle stores: what they use  |  store A: level  |  store B: level  |  free  |
//
// The level is the most that a store is granted as long as all together want more than there is (max-min fairness). Who
// has more than the level when another store comes gives it up page by page, and what is given up is granted: so the sum
// stays about within the budget. Buffers, index and cold tier of a store follow the level, too, down to the least that it
// cannot do without (some of its pages, and a little for the rest). Open refuses a store, with ErrBudgetFull, when the
// budget has not got that beside the stores that are busy. An index does not become smaller when the level falls.
type Budget struct {
	bytes int64

	mu      lock.Mutex[lock.Leaf]
	members map[*member]struct{} // the open stores
	used    int64                // of all members
	wanted  int64                // of all members, each at most its Options.MemoryBytes
	level   atomic.Int64         // see above; bytes when there is enough for all. Changed with mu held
	stale   int64                // how much wanted and used have changed since the level was found
}

// member is a store in a budget.
type member struct {
	most  int64 // that it may take
	least int64 // that it cannot do without when it is busy

	used   int64  // of Budget.mu: bytes that it uses
	wanted int64  // of Budget.mu: bytes that it would use if there were enough
	kick   func() // of Budget.mu: has it look at what it may use; nil: it takes no memory yet
}

// NewBudget returns a budget of so many bytes, at least MinMemoryBytes; else ErrOptions.
func NewBudget(bytes int64) (*Budget, error) {
	if bytes < MinMemoryBytes {
		return nil, optionError("Budget", bytes, fmt.Sprintf("at least %d", MinMemoryBytes))
	}
	b := &Budget{bytes: bytes, members: map[*member]struct{}{}}
	b.level.Store(bytes)
	return b, nil
}

// Bytes returns the size of the budget.
func (b *Budget) Bytes() int64 { return b.bytes }

// Used returns how many bytes the open stores use at the moment.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// join adds a store. ErrBudgetFull when there is not enough for the least that it needs, if all who are busy had theirs.
func (b *Budget) join(m *member) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	needed := m.least
	for o := range b.members {
		needed += min(o.used, o.least)
	}
	if needed > b.bytes {
		return fmt.Errorf("%w: with %d stores in it, %d bytes of %d are needed for one more", ErrBudgetFull, len(b.members), needed, b.bytes)
	}
	b.members[m] = struct{}{}
	return nil
}

// needs says that m cannot do without so much, which is not what it had joined with.
func (b *Budget) needs(m *member, least int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.least = least
}

// start says how m is asked to give memory up.
func (b *Budget) start(m *member, kick func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.kick = kick
}

// leave gives back what m has.
func (b *Budget) leave(m *member) {
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

// grant notes what m uses and wants, and returns how many bytes it may take now, and how many when it has grown: its share. givers
// ask others to give up some, so that m gets that.
func (b *Budget) grant(m *member, used, wanted int64) (now, share int64, givers []func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.members[m]; !ok {
		return used, used, nil // it is closing
	}
	wanted = min(max(wanted, used), m.most)
	b.stale += abs(used-m.used) + abs(wanted-m.wanted)
	b.used += used - m.used
	b.wanted += wanted - m.wanted
	m.used, m.wanted = used, wanted
	if b.stale > b.bytes/staleShare {
		b.findLevel()
	}
	free := max(b.bytes-b.used, 0)
	if b.wanted <= b.bytes {
		// It takes what it needs, and some more in steps: others may be about to take what is free.
		step := max(m.least, used/4)
		return min(m.most, used+min(free, wanted-used+step)), min(m.most, used+free), nil
	}
	share = min(m.most, b.level.Load())
	if used >= share || free >= share-used {
		return share, share, nil
	}
	for o := range b.members {
		if o.used > b.level.Load() && o.kick != nil {
			givers = append(givers, o.kick)
		}
	}
	return used + free, share, givers
}

// findLevel finds the level at which the members, each of which gets what it wants or the level, share all there is. The
// caller holds mu.
func (b *Budget) findLevel() {
	b.stale = 0
	b.level.Store(b.levelNow())
}

// levelNow returns the level. The caller holds mu.
func (b *Budget) levelNow() int64 {
	if b.wanted <= b.bytes {
		return b.bytes
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
			return level
		}
		rest, hungry = b.bytes-content, left
	}
}

func abs(n int64) int64 { return max(n, -n) }
