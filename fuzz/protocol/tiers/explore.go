package tiers

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
		from  uint32
		actor uint8
	}
	states := []State{c.initial()}
	origins := []origin{{}}
	seen := map[State]struct{}{states[0]: {}}
	fail := func(n int, bad string, actor int) {
		r.Violation = bad
		r.Trace = []string{c.describe(&states[n], actor)}
		for ; n != 0; n = int(origins[n].from) {
			r.Trace = append([]string{c.describe(&states[origins[n].from], int(origins[n].actor))}, r.Trace...)
		}
	}
	for n := 0; n < len(states) && len(states) < limit && r.Violation == ""; n++ {
		moved := false
		for actor := range actors {
			after, bad := c.next(states[n], actor)
			if bad != "" {
				fail(n, bad, actor)
				break
			}
			for _, s := range after {
				moved = true
				if _, known := seen[s]; !known {
					seen[s] = struct{}{}
					states, origins = append(states, s), append(origins, origin{uint32(n), uint8(actor)})
				}
			}
		}
		if !moved && r.Violation == "" {
			r.Ends++
			if bad := c.checkEnd(&states[n]); bad != "" {
				fail(n, bad, actors)
			}
		}
		r.Complete = n == len(states)-1
	}
	r.States = len(states)
	return r
}

// describe says what an actor does in a state.
func (c *Config) describe(s *State, actor int) string {
	what := "all have finished"
	switch actor {
	case actorSession0, actorSession1:
		x := s.session[actor]
		what = fmt.Sprintf("session %d, %v: %s", actor, c.Ops[actor][x.done], opNames[x.pc])
	case actorDemote:
		what = fmt.Sprintf("demotion to %d: %s %d", s.demote.to, demoteNames[s.demote.pc], s.demote.at)
	case actorMerge:
		what = "merge: " + mergeNames[s.merge.pc]
	case actorCut:
		what = "checkpoint: " + cutNames[s.cut.pc]
	case actorRestore:
		what = "restore: " + restoreNames[s.restore.pc]
	case actorScan:
		what = fmt.Sprintf("scan: %s %d", scanNames[s.scan.pc], s.scan.at)
	}
	return fmt.Sprintf("%-45s tail %d, entries %v, tier %+v, segments %+v, version %d", what, s.tail, s.slot, s.tiers[s.tier], s.segs[1:s.written+1], s.control)
}
