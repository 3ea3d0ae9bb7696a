package mirrors

import (
	"testing"

	"github.com/hybridlog/hybridlog/fuzz/protocol/search"
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
	{Name: "a copy that is gone on with, beside a sweep", Script: [2][]Op{{CommitWhole, Resume}, {Open, Sweep}}, Copies: [2]bool{true}},
	{Name: "a copy that needs its parent's piece, beside retention", Script: [2][]Op{{Commit, Resume}, {Open, Retain}}, Copies: [2]bool{true}, Lossy: true},
	{Name: "a copy that follows a rollback, beside retention", Script: [2][]Op{{CommitWhole, CommitWhole, RollbackOwn, Resume}, {Open, Retain}}, Copies: [2]bool{true}, Lossy: true},
}

const limit = 1_500_000

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

func TestMirrors_HoldInEveryOrderOfCalls(t *testing.T) {
	testkit.Counted(t, "%d states of two mirrors explored", search.Hold(t, Sound, searched()))
}

// Every measure that is left out must show in some scenario.
func TestMirrors_CatchPlantedOmissions(t *testing.T) {
	for p := Sound + 1; p < plants; p++ {
		search.Catch(t, p, searched())
	}
}
