package mirrors

import (
	"fmt"

	"github.com/hybridlog/hybridlog/fuzz/protocol/search"
)

// Explore visits every state that can be reached, until one is wrong or there are limit states. The mirrors are the actors, and
// behind them what lets late deletions arrive.
func (c Config) Explore(limit int) search.Result {
	first := c.initial()
	mirrors := len(first.m)
	next := func(s State, who int) (after []State, bad string) {
		if who < mirrors {
			if after, bad = c.next(s, who); bad != "" {
				bad = fmt.Sprintf("mirror %d: %s", who, bad)
			}
		} else if n, any := c.arrive(s); any {
			after = []State{n}
		}
		return after, bad
	}
	return search.Model[State]{First: first, Actors: mirrors + 1, Next: next, Check: c.check, End: c.checkEnd, Describe: c.describe}.Explore(limit)
}

// describe shows a state, and whose step comes next, to people.
func (c *Config) describe(s *State, who int) string {
	v := c.fold(s, s.length)
	text := fmt.Sprintf("next %d: %d entries, head %d, live %07b, pieces %b |", who, s.length, v.head, v.live, s.pieces)
	for i, m := range s.m {
		text += fmt.Sprintf(" %d: op %d pc %d knows %d, claim %d, at %d, trouble %d;", i, m.op, m.pc, m.known, m.claim, m.current, m.trouble)
	}
	if s.length > 0 {
		text += fmt.Sprintf(" last %+v", s.sequence[s.length])
	}
	return text
}
