package coldcache

import (
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/internal/word"
)

const guestWords, guestBlock = 15, 32

// guestLoad reads records of n blocks in a cache for a fifth of them, and invites those behind each that is missed.
type guestLoad struct {
	c      *Cache
	rng    *rand.Rand
	misses int
}

func newGuestLoad(blocks int) *guestLoad {
	return &guestLoad{c: New(int64(blocks * guestBlock / 5 * 144)), rng: rand.New(rand.NewPCG(1, 3))}
}

func (l *guestLoad) at(block, i int) word.Address {
	return word.FirstAddress + word.Address(block*guestBlock+i)*(guestWords+1)*word.Align
}

func (l *guestLoad) read(block, i int) {
	a := l.at(block, i)
	if _, ok := l.c.Get(a, nil); ok {
		return
	}
	l.misses++
	l.c.Put(a, recordOf(a, guestWords))
	if l.c.Welcome(a) {
		for i++; i < guestBlock; i++ {
			b := l.at(block, i)
			l.c.Invite(b, recordOf(b, guestWords))
		}
	}
}

// guests returns how many entries there are, and how many of them are guests.
func (c *Cache) guests() (entries, guests int) {
	for i := range c.shards {
		entries, guests = entries+c.shards[i].entries, guests+c.shards[i].guests.here
	}
	return entries, guests
}

// Where the records of some blocks are read for a while, and then those of others, they come in with each other. Where each
// record is read as often as ever, some often and most seldom, guests are few.
func TestCache_GuestsComeWhereTheyAreRead(t *testing.T) {
	const blocks, n = 600, 60_000
	together := newGuestLoad(blocks)
	defer together.c.Resize(0, 0)
	for i := range n {
		if i == n/2 {
			together.misses = 0
		}
		const hot = blocks / 10 // blocks of a set; each record of it is read once or twice
		together.read((i/(hot*guestBlock*5/4)*hot+together.rng.IntN(hot))%blocks, together.rng.IntN(guestBlock))
	}
	together.c.checkInvariants(t)
	if least := n / 2 / guestBlock; together.misses > n/2/5 || together.misses < least {
		t.Errorf("%d misses of %d reads of sets that come back, with %d blocks each", together.misses, n/2, blocks/10)
	}
	apart := newGuestLoad(blocks)
	defer apart.c.Resize(0, 0)
	for range n {
		r := min(int(apart.rng.ExpFloat64()*blocks*guestBlock/10), blocks*guestBlock-1) * 7919 % (blocks * guestBlock)
		apart.read(r/guestBlock, r%guestBlock)
	}
	apart.c.checkInvariants(t)
	if entries, guests := apart.c.guests(); guests > entries/guestTrial*2 || guests == 0 {
		t.Errorf("%d of %d entries are guests where nothing is read together", guests, entries)
	}
}
