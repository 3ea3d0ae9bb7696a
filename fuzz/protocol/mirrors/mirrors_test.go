package mirrors

import (
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

var scenarios = []Config{
	{Name: "alone, answers lost", Script: [2][]Op{{Commit, Rollback, Commit, Retain}}, Lossy: true, Alone: true},
	{Name: "alone, opened anew", Script: [2][]Op{{CommitWhole, Retain, Rollback, Open, Commit, Retain, Rollback}}, Lossy: true, Alone: true},
	{Name: "alone, back to what was purged", Script: [2][]Op{{Commit, CommitWhole, Retain, RollbackOwn, Commit}}, Lossy: true, Alone: true},
	{Name: "two without epochs", Script: [2][]Op{{Commit, Commit}, {Commit, Retain, Commit}}, Lossy: true},
	{Name: "two with epochs", Script: [2][]Op{{Commit, Commit}, {Open, Commit, Commit}}, Epoch: [2]uint8{1, 2}, Lossy: true},
	{Name: "taking turns", Script: [2][]Op{{Commit, Open, Commit}, {Open, Commit, Open}}, Lossy: true},
	{Name: "purges under uploads", Script: [2][]Op{{Commit, Commit}, {Open, CommitWhole, Retain}}, Lossy: true},
	{Name: "purges under uploads, by turns", Script: [2][]Op{{CommitWhole, Retain, Commit}, {Open, Rollback, Commit}}},
	{Name: "purges of what is shared", Script: [2][]Op{{Retain, Commit}, {Open, CommitWhole, Commit, Retain}}},
	{Name: "rollbacks", Script: [2][]Op{{Commit, Rollback, Commit}, {Open, Commit, Rollback}}},
	{Name: "rollbacks, with epochs", Script: [2][]Op{{Commit, Rollback, Commit}, {Open, Rollback, Commit}}, Epoch: [2]uint8{1, 2}},
	{Name: "trimming under a paused writer", Script: [2][]Op{{Commit, Commit}, {Open, Commit, Commit, Trim}}},
	{Name: "trimming under a paused writer, with epochs", Script: [2][]Op{{Commit, Commit}, {Open, Commit, Trim, Commit}}, Epoch: [2]uint8{1, 2}, Lossy: true},
}

const limit = 1_500_000

func TestMirrors_HoldInEveryOrderOfCalls(t *testing.T) {
	total := 0
	for _, c := range scenarios {
		r := c.Explore(limit)
		total += r.States
		t.Logf("%-45s %8d states, %5d ends", c.Name, r.States, r.Ends)
		if r.Violation != "" {
			t.Errorf("%s: %s\n\t%s", c.Name, r.Violation, strings.Join(r.Trace, "\n\t"))
		} else if !r.Complete || r.Ends == 0 {
			t.Errorf("%s: not explored to the end", c.Name)
		}
	}
	testkit.Counted(t, "%d states of two mirrors explored", total)
}

// Every measure that is left out must show in some scenario.
func TestMirrors_CatchPlantedOmissions(t *testing.T) {
	for p := Sound + 1; p < plants; p++ {
		caught := false
		for _, c := range scenarios {
			c.Plant = p
			if r := c.Explore(limit); r.Violation != "" {
				t.Logf("%-40v caught in %q after %d states, %d steps: %s", p, c.Name, r.States, len(r.Trace)-1, r.Violation)
				caught = true
				break
			}
		}
		if !caught {
			t.Errorf("%v: not caught", p)
		}
	}
}
