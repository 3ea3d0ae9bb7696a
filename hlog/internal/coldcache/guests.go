package coldcache

import "github.com/hybridlog/hybridlog/internal/word"

// A record that is read from disk comes in a block with others, which were written at about the same time. Where keys are
// used together again that were used together before, as in a hot set that moves on, these are worth more than what they
// push out: each read brings in a part of the set. Elsewhere they push out what is used. So they are guests, and each shard
// compares how often a guest is read, in its first round, with how often another entry is:
//
//	they come in                   where
//	with each read                 guests are read at least guestWorth times as often as others
//	until they are a small part    they are not: so it shows when that changes
//	not at all                     they are not, and there are as many as that
type guests struct {
	here  int    // entries that are guests
	shown int    // reads whose companions were asked for, in the window that goes on
	came  int    // guests in that window
	hits  int    // on guests in it
	own   uint64 // hits of the shard before it
	on    bool   // what the window before has told
}

const (
	// guestTrial is the part of the entries that guests are where they are not worth their place.
	guestTrial = 32
	// guestWorth is how often a guest is to be read, for each time that another entry is, to be worth its place, and
	// leastYield for how many guests that came in there must be a hit to be worth the work.
	guestWorth = 0.5
	leastYield = 64
	// A window has a part of as many reads as there are entries: a shorter one where guests come in, since they have soon
	// replaced everything.
	trialWindow, guestWindow = 2, 16
)

// Welcome reports whether the companions of the record at a, which has been read from disk, should be invited.
func (c *Cache) Welcome(a word.Address) bool {
	if c == nil {
		return false
	}
	s := c.shard(hashOf(a))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.region == nil {
		return false
	}
	g := &s.guests
	g.shown++
	window := trialWindow
	if g.on {
		window = guestWindow
	}
	if g.shown >= max(s.entries/window, leastWindow) {
		g.judge(s.entries, s.hits)
	}
	return g.on || g.here <= s.entries/guestTrial
}

// judge ends a window of a shard with so many entries, and hits since it was made.
func (g *guests) judge(entries int, hits uint64) {
	own := float64(hits-g.own) - float64(g.hits)
	others := float64(entries - g.here)
	if g.here > 0 {
		g.on = float64(g.hits)*others >= guestWorth*own*float64(g.here) && g.hits > 0 && g.hits*leastYield >= g.came
	}
	*g = guests{here: g.here, own: hits, on: g.on}
}

// Invite offers the record at a, a companion of one for which Welcome has said so. The cache takes it unless it is too large.
func (c *Cache) Invite(a word.Address, rec []byte) {
	words := len(rec) / word.Align
	if c == nil || words == 0 || len(rec)%word.Align != 0 || a == word.None {
		return
	}
	h := hashOf(a)
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.region == nil || words > s.maxWords || s.find(a, h.slot()) >= 0 {
		return
	}
	s.guests.came++
	s.insert(makeHeader(a, words, 0).asGuest(), rec)
}
