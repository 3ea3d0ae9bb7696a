package tiers

import (
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

var (
	two  = []Op{{Set, 0}, {Set, 1}}
	gone = []Op{{Set, 0}, {Delete, 0}, {Set, 1}}
)

var scenarios = []Config{
	{Name: "updates of a cold key", Ops: [2][]Op{{{RMW, 0}}, {{RMW, 0}, {RMW, 0}}}, Base: two, Cold: true, Demotions: 1},
	{Name: "an absent key", Ops: [2][]Op{{{RMW, 0}}, {{Set, 0}, {RMW, 0}}}, Demotions: 2},
	{Name: "keys that share an entry", Ops: [2][]Op{{{RMW, 0}, {Get, 1}}, {{Set, 1}, {Set, 0}}}, Base: two, Cold: true, Shared: true, Demotions: 1},
	{Name: "deletes", Ops: [2][]Op{{{Delete, 0}, {RMW, 0}}, {{Get, 0}, {Set, 1}}}, Base: two, Cold: true, Demotions: 2},
	{Name: "deletes and merges", Ops: [2][]Op{{{Delete, 0}}, {{Get, 0}, {RMW, 0}}}, Base: two, Cold: true, Demotions: 2, Merges: 2},
	{Name: "merges under readers", Ops: [2][]Op{{{Get, 0}, {RMW, 0}}, {{Set, 1}}}, Base: two, Cold: true, Demotions: 2, Merges: 1},
	{Name: "three segments", Ops: [2][]Op{{{Delete, 0}, {Set, 1}}, {{Get, 0}}}, Base: two, Cold: true, Demotions: 3, Merges: 2},
	{Name: "a checkpoint", Ops: [2][]Op{{{RMW, 0}, {Set, 0}}, {{Get, 0}}}, Base: two, Cold: true, Demotions: 2, Cut: true},
	{Name: "a checkpoint and merges", Ops: [2][]Op{{{RMW, 0}, {Delete, 0}}, nil}, Base: two, Cold: true, Demotions: 2, Merges: 1, Cut: true},
	{Name: "a restore", Ops: [2][]Op{{{Set, 0}}, {{RMW, 0}}}, Base: two, Demotions: 1, Cut: true, Restore: true},
	{Name: "a restore, a key is absent", Ops: [2][]Op{{{Set, 0}}, {{RMW, 0}, {Get, 0}}}, Demotions: 2, Cut: true, Restore: true},
	{Name: "a restore of shared entries", Ops: [2][]Op{{{Set, 0}, {Delete, 1}}, {{Get, 1}}}, Base: two, Shared: true, Demotions: 1, Merges: 1, Cut: true, Restore: true},
	{Name: "a scan", Ops: [2][]Op{{{Set, 0}}, {{RMW, 1}}}, Base: two, Demotions: 2, Scan: true},
	{Name: "a scan of cold keys", Ops: [2][]Op{{{RMW, 0}, {Set, 0}}, nil}, Base: two, Cold: true, Shared: true, Demotions: 2, Merges: 1, Scan: true},
	{Name: "what was deleted in the log", Ops: [2][]Op{{{RMW, 0}, {Get, 1}}, {{Set, 0}}}, Base: gone, Demotions: 2},
}

const limit = 4_000_000

func TestTiers_HoldInEveryOrder(t *testing.T) {
	total := 0
	for _, c := range scenarios {
		r := c.Explore(limit)
		total += r.States
		t.Logf("%-30s %8d states, %6d ends", c.Name, r.States, r.Ends)
		if r.Violation != "" {
			t.Errorf("%s: %s\n\t%s", c.Name, r.Violation, strings.Join(r.Trace, "\n\t"))
		} else if !r.Complete || r.Ends == 0 {
			t.Errorf("%s: not explored to the end", c.Name)
		}
	}
	testkit.Counted(t, "%d states of a log with a cold tier explored", total)
}

// Every measure that is left out must show in some scenario.
func TestTiers_CatchPlantedOmissions(t *testing.T) {
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
