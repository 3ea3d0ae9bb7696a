package mirrors

import "fmt"

// Result is what an exploration has come to.
type Result struct {
	States, Ends int
	Complete     bool
	Violation    string
	Trace        []string // one step a line
}

// Explore visits every state that can be reached, breadth first, until one is wrong or there are limit states.
func (c Config) Explore(limit int) (r Result) {
	type origin struct {
		from State
		who  int
	}
	first := c.initial()
	seen := map[State]origin{first: {who: -1}}
	fail := func(s State, what string) {
		r.Violation = what
		for o := seen[s]; ; o = seen[s] {
			r.Trace = append([]string{c.describe(&s, o.who)}, r.Trace...)
			if o.who < 0 {
				return
			}
			s = o.from
		}
	}
	for front := []State{first}; len(front) > 0 && len(seen) < limit; {
		var further []State
		for _, s := range front {
			moved := false
			for who := range len(s.m) + 1 {
				var after []State
				var bad string
				if who < len(s.m) {
					after, bad = c.next(s, who)
				} else if n, any := c.arrive(s); any {
					after = []State{n}
				}
				if bad != "" {
					fail(s, fmt.Sprintf("mirror %d: %s", who, bad))
					r.States = len(seen)
					return r
				}
				for _, n := range after {
					moved = true
					if _, known := seen[n]; known {
						continue
					}
					seen[n] = origin{s, who}
					if bad := c.check(&n); bad != "" {
						fail(n, bad)
						r.States = len(seen)
						return r
					}
					further = append(further, n)
				}
			}
			if !moved {
				r.Ends++
				if bad := c.checkEnd(&s); bad != "" {
					fail(s, bad)
					r.States = len(seen)
					return r
				}
			}
		}
		front = further
		r.Complete = len(front) == 0
	}
	r.States = len(seen)
	return r
}

// describe shows a state to people.
func (c *Config) describe(s *State, who int) string {
	v := c.fold(s, s.length)
	text := fmt.Sprintf("by %d: %d entries, head %d, live %07b, pieces %b |", who, s.length, v.head, v.live, s.pieces)
	for i, m := range s.m {
		text += fmt.Sprintf(" %d: op %d pc %d knows %d, claim %d, at %d, trouble %d;", i, m.op, m.pc, m.known, m.claim, m.current, m.trouble)
	}
	if s.length > 0 {
		text += fmt.Sprintf(" last %+v", s.sequence[s.length])
	}
	return text
}
