package tiers

import (
	"fmt"

	"github.com/hybridlog/hybridlog/fuzz/protocol/search"
)

// Explore visits every state that can be reached, until one is wrong or there are limit states.
func (c Config) Explore(limit int) search.Result {
	return search.Model[State]{First: c.initial(), Actors: actors, Next: c.next, End: c.checkEnd, Describe: c.describe}.Explore(limit)
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
