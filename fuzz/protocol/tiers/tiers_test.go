package tiers

import (
	"testing"

	"github.com/hybridlog/hybridlog/fuzz/protocol/search"
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

// searched are the scenarios as package search has them.
func searched() (all []search.Scenario[Plant]) {
	for _, c := range scenarios {
		all = append(all, search.Scenario[Plant]{Name: c.Name, Explore: func(p Plant) search.Result {
			c.Plant = p
			return c.Explore(limit)
		}})
	}
	return all
}

func TestTiers_HoldInEveryOrder(t *testing.T) {
	testkit.Counted(t, "%d states of a log with a cold tier explored", search.Hold(t, Sound, searched()))
}

// Every measure that is left out must show in some scenario.
func TestTiers_CatchPlantedOmissions(t *testing.T) {
	for p := Sound + 1; p < plants; p++ {
		search.Catch(t, p, searched())
	}
}
