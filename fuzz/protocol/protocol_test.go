package protocol

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// long reports whether to explore also what takes minutes.
func long() bool { return testkit.SizeOf() == testkit.Long }

func update(key uint8) Op  { return Op{Kind: RMW, Key: key} }
func enlarge(key uint8) Op { return Op{Kind: RMW, Key: key, Big: true} }
func set(key uint8) Op     { return Op{Kind: Set, Key: key} }
func remove(key uint8) Op  { return Op{Kind: Delete, Key: key} }
func take(key uint8) Op    { return Op{Kind: Take, Key: key} }
func get(key uint8) Op     { return Op{Kind: Get, Key: key} }

var (
	one      = []Base{{Key: 0}}
	two      = []Base{{Key: 0}, {Key: 1}}
	deletion = []Base{{Key: 0}, {Key: 0, Tombstone: true}}
)

func ops(a, b []Op) [sessions][]Op { return [sessions][]Op{a, b} }
func do(o ...Op) []Op              { return o }

// scenarios are explored to the end, every time. The two keys always share a chain.
var scenarios = []Config{
	{Name: "updates and a checkpoint", Ops: ops(do(update(0), update(1)), do(update(0), update(1))), Base: two, Checkpoints: 1},
	{Name: "updates and a checkpoint, every access a step", Ops: ops(do(update(0), update(1)), do(update(0), update(1))), Base: two, Checkpoints: 1, Fine: true},
	{Name: "sets, deletes, a checkpoint, a read-only shift", Ops: ops(do(set(0), update(1)), do(update(0), remove(1))), Base: one, Checkpoints: 1, Passes: 1},
	{Name: "values that outgrow their records", Ops: ops(do(enlarge(0), update(0)), do(update(0), set(0))), Base: two, Passes: 2},
	{Name: "two checkpoints", Ops: ops(do(update(0), set(1)), do(update(0))), Base: two, Checkpoints: 2},
	{Name: "eviction", Ops: ops(do(update(0), get(0)), do(update(0), remove(1))), Base: two, Passes: 2, Evict: true},
	{Name: "eviction, every access a step", Ops: ops(do(update(0), get(0)), do(update(0), remove(1))), Base: two, Passes: 2, Evict: true, Fine: true},
	{Name: "eviction and a checkpoint", Ops: ops(do(update(0)), do(update(0))), Base: two, Passes: 1, Evict: true, Checkpoints: 1},
	{Name: "few frames", Ops: ops(do(update(0), enlarge(0)), do(enlarge(1), update(0))), Base: two, Passes: 2, Evict: true, Window: 3},
	{Name: "compaction", Ops: ops(do(update(0)), do(remove(1))), Base: two, Versions: []uint8{2}, Evicted: true, Checkpoints: 1, Compact: true},
	{Name: "compaction under cold reads", Ops: ops(do(take(0)), do(get(1))), Base: two, Versions: []uint8{2}, Evicted: true, Checkpoints: 1, Compact: true},
	{Name: "warming", Ops: ops(do(update(0), update(0)), do(take(1), get(0))), Base: two, Versions: []uint8{2}, Evicted: true, Warm: true, Checkpoints: 1},
	{Name: "warming and compaction", Ops: ops(do(update(0)), do(get(1))), Base: two, Versions: []uint8{2}, Evicted: true, Warm: true, Checkpoints: 1, Compact: true},
	{Name: "compaction of a fuzzy end", Ops: ops(do(update(0)), do(update(0))), Base: one, Checkpoints: 2, Compact: true},
	{Name: "compaction of a deletion", Ops: ops(do(update(0)), do(update(1))), Base: deletion, Versions: []uint8{2}, Checkpoints: 1, Compact: true},
	{Name: "compaction of a deletion, and a restore to before it", Ops: ops(do(update(0)), do(get(0))), Base: deletion, Versions: []uint8{1, 2}, Checkpoints: 1, Compact: true, Restore: true},
	{Name: "growth", Ops: ops(do(update(0), update(0)), do(set(1))), Base: two, Grow: true, Checkpoints: 1},
	{Name: "growth that splits a catch-all", Ops: ops(do(enlarge(0)), do(enlarge(1), update(1))), Base: two, Grow: true, CatchAll: true, Checkpoints: 1},
	{Name: "growth and compaction", Ops: ops(do(update(0)), do(get(1))), Base: two, Versions: []uint8{2}, Grow: true, CatchAll: true, Compact: true, Checkpoints: 1},
	{Name: "growth and a restore", Ops: ops(do(update(0), update(1)), do(update(0))), Base: two, Versions: []uint8{1, 2}, Restore: true, Grow: true, CatchAll: true},
	{Name: "restore and a checkpoint", Ops: ops(do(update(0), update(0)), do(set(1))), Base: two, Versions: []uint8{1, 2}, Restore: true, Target: 1, Checkpoints: 1},
	{Name: "restore of a version with a fuzzy end", Ops: ops(do(update(0)), do(update(0))), Base: two, Restore: true, Checkpoints: 2},
	{Name: "restore and eviction", Ops: ops(do(update(0), get(1)), do(update(1), update(0))), Base: two, Versions: []uint8{1}, Restore: true, Passes: 1, Evict: true},
	{Name: "units and a checkpoint", Ops: ops(do(update(0), update(1)), do(update(1), update(0))), Base: two, Checkpoints: 1, Units: 3},
	{Name: "units and two checkpoints", Ops: ops(do(update(0), update(1)), do(update(0))), Base: two, Checkpoints: 2, Units: 3},
	{Name: "a unit, single operations and a checkpoint, every access a step", Ops: ops(do(update(0), update(1)), do(set(1))), Base: two, Checkpoints: 1, Units: 1, Fine: true},
	{Name: "units and a restore", Ops: ops(do(update(0), update(1)), do(update(1), update(0))), Base: two, Versions: []uint8{1, 2}, Restore: true, Units: 3},
	{Name: "units, a checkpoint and a restore, which give up", Ops: ops(do(update(0), update(1)), do(set(1))), Base: two, Versions: []uint8{2}, Restore: true, Checkpoints: 1, Units: 3, GiveUp: true},
	{Name: "an update that goes first, and two checkpoints", Ops: ops(do(update(0)), do(update(0), set(1))), Base: two, Checkpoints: 2, First: 1},
	{Name: "updates that go first and a checkpoint, every access a step", Ops: ops(do(update(0), take(1)), do(update(0))), Base: two, Checkpoints: 1, First: 3, Fine: true},
	{Name: "an update that goes first, eviction and a checkpoint", Ops: ops(do(update(0)), do(update(0))), Base: two, Passes: 1, Evict: true, Checkpoints: 1, First: 3},
	{Name: "an update that goes first, a checkpoint and a restore", Ops: ops(do(update(0), update(1)), do(set(0))), Base: two, Versions: []uint8{1, 2}, Restore: true, Checkpoints: 1, Target: 1, First: 3},
	{Name: "updates that go first, a restore to a checkpoint", Ops: ops(do(update(0)), do(update(0))), Base: two, Versions: []uint8{1}, Restore: true, Target: 1, Checkpoints: 1, First: 3},
	{Name: "pages held up", Ops: ops(do(set(0), set(1)), do(enlarge(1))), Base: two, Versions: []uint8{2}, Compact: true, Hold: true, Fine: true},
	{Name: "pages held up, and a checkpoint", Ops: ops(do(set(0)), do(get(1))), Base: two, Versions: []uint8{2}, Compact: true, Checkpoints: 1, Hold: true},
	{Name: "pages held up, units and a checkpoint", Ops: ops(do(set(0), set(1)), do()), Base: two, Versions: []uint8{2}, Compact: true, Checkpoints: 1, Hold: true, Units: 1},
	{Name: "pages held up, a unit and a restore", Ops: ops(do(set(0), set(1)), do()), Base: two, Versions: []uint8{1, 2}, Compact: true, Restore: true, Hold: true, Units: 1},
	{Name: "restore and compaction", Ops: ops(do(update(0)), do(get(0))), Base: two, Versions: []uint8{1, 2}, Evicted: true, Restore: true, Compact: true, Checkpoints: 1},
}

// large are explored in long runs only, to the end as far as millionsOfStates allow.
var large = []Config{
	{Name: "sets, deletes, a checkpoint, two read-only shifts", Ops: ops(do(set(0), update(1)), do(update(0), remove(1))), Base: two, Checkpoints: 1, Passes: 2},
	{Name: "two checkpoints, four operations", Ops: ops(do(update(0), set(1)), do(update(0), take(1))), Base: two, Checkpoints: 2},
	{Name: "eviction, a checkpoint, a deletion", Ops: ops(do(update(0)), do(update(0), take(1))), Base: two, Passes: 1, Evict: true, Checkpoints: 1},
	{Name: "eviction, a checkpoint, four operations", Ops: ops(do(update(0), take(1)), do(update(0), get(1))), Base: two, Passes: 1, Evict: true, Checkpoints: 1},
	{Name: "compaction, four operations", Ops: ops(do(update(0), get(1)), do(take(1), set(0))), Base: two, Versions: []uint8{2}, Evicted: true, Checkpoints: 1, Compact: true},
	{Name: "growth, four operations", Ops: ops(do(update(0), update(0)), do(set(1), update(0))), Base: two, Grow: true, CatchAll: true, Checkpoints: 1},
	{Name: "restore and a checkpoint, four operations", Ops: ops(do(update(0), update(0)), do(set(1), update(0))), Base: two, Versions: []uint8{1, 2}, Restore: true, Checkpoints: 1},
	{Name: "compaction of a fuzzy end, two keys", Ops: ops(do(update(0)), do(update(0))), Base: two, Checkpoints: 2, Compact: true},
	{Name: "compaction of a fuzzy end, four operations", Ops: ops(do(update(0), update(1)), do(update(0), remove(1))), Base: one, Checkpoints: 2, Compact: true},
	{Name: "warming and compaction, four operations", Ops: ops(do(update(0), get(1)), do(take(1), set(0))), Base: two, Versions: []uint8{2}, Evicted: true, Warm: true, Checkpoints: 1, Compact: true},
	{Name: "compaction and eviction", Ops: ops(do(update(0)), do(remove(1), get(0))), Base: two, Versions: []uint8{2}, Compact: true, Checkpoints: 1, Passes: 1, Evict: true},
	{Name: "growth and compaction, a deletion", Ops: ops(do(update(0)), do(take(1))), Base: two, Versions: []uint8{2}, Compact: true, Checkpoints: 1, Grow: true, CatchAll: true},
	{Name: "restore of a version with a fuzzy end, four operations", Ops: ops(do(update(0), update(1)), do(update(0), set(1))), Base: two, Restore: true, Checkpoints: 2},
	{Name: "restore, compaction, two checkpoints", Ops: ops(do(update(0)), do(get(0))), Base: two, Versions: []uint8{1, 2}, Target: 1, Evicted: true, Restore: true, Compact: true, Checkpoints: 2},
	{Name: "units, two checkpoints and a restore, which give up", Ops: ops(do(update(0), update(1)), do(update(1), set(0))), Base: two, Versions: []uint8{2}, Restore: true, Checkpoints: 2, Units: 3, GiveUp: true},
	{Name: "pages held up, three operations and a checkpoint", Ops: ops(do(set(0)), do(enlarge(1), get(0))), Base: two, Versions: []uint8{2}, Compact: true, Checkpoints: 1, Hold: true},
	{Name: "pages held up, units of both sessions and a checkpoint", Ops: ops(do(set(0), set(1)), do(set(0))), Base: two, Versions: []uint8{2}, Compact: true, Checkpoints: 1, Hold: true, Units: 3},
	{Name: "updates that go first, two checkpoints and a restore", Ops: ops(do(update(0), take(1)), do(update(0))), Base: two, Versions: []uint8{1, 2}, Target: 1, Restore: true, Checkpoints: 2, First: 3},
	{Name: "restore, compaction, three operations", Ops: ops(do(update(0), take(1)), do(get(0))), Base: two, Versions: []uint8{1, 2}, Evicted: true, Restore: true, Compact: true, Checkpoints: 1},
}

const millionsOfStates = 30

// tooLongForShort is how many states of a scenario are explored with -short, which slow builds use.
const tooLongForShort = 40_000

// limit returns how many states of a scenario to explore at most.
func limit() int {
	if testing.Short() {
		return tooLongForShort
	}
	return millionsOfStates * 1_000_000
}

func TestProtocol_HoldsInEveryOrderOfSteps(t *testing.T) {
	all := scenarios
	if long() {
		for _, c := range append(scenarios, large...) {
			if !c.Fine {
				c.Name += ", every access a step"
				c.Fine = true
				all = append(all, c)
			}
		}
		all = append(all, large...)
	}
	total := 0
	for _, c := range all {
		r := New(c).Explore(limit())
		total += r.States
		t.Logf("%-60s %s", c.Name, r)
		if r.Violation != nil {
			t.Errorf("%s: %s", c.Name, r.Violation)
		} else if r.Ends == 0 && !testing.Short() {
			t.Errorf("%s: no operation ever ended", c.Name)
		} else if !r.Complete && !long() && !testing.Short() {
			t.Errorf("%s: not explored to the end", c.Name)
		}
	}
	testkit.Counted(t, "%d states of the model explored", total)
}

// Every mistake must be found, in the scenario that shows it soonest.
func TestProtocol_CatchesPlantedMistakes(t *testing.T) {
	where := map[Plant]string{
		NoSeal:            "values that outgrow their records",
		NoMove:            "compaction",
		InPlaceAnyVersion: "two checkpoints",
		InPlaceToSafe:     "values that outgrow their records",
		NoCutWait:         "two checkpoints",
		NoAwaitCut:        "two checkpoints",
		NoFlushDrain:      "updates and a checkpoint, every access a step",
		NoEvictDrain:      "eviction",
		NoSkip:            "compaction",
		StoreEntry:        "values that outgrow their records",
		KeepVersion:       "two checkpoints",
		StaleUpdate:       "values that outgrow their records",
		LateBegin:         "compaction under cold reads",
		CompactAlways:     "compaction",
		CompactSkipsEnd:   "compaction of a fuzzy end",
		DropTombstone:     "compaction of a deletion, and a restore to before it",
		NoFreeze:          "growth",
		CoarseIndex:       "growth that splits a catch-all",
		FillOutside:       "sets, deletes, a checkpoint, a read-only shift",
		NoRestoreDrain:    "restore and a checkpoint",
		CutInUnit:         "units and a checkpoint",
		RestoreInUnit:     "units and a restore",
		LookFirst:         "units and a checkpoint",
		NoLook:            "units and a checkpoint",
		OpenEarly:         "units and a checkpoint",
		NoCarry:           "an update that goes first, and two checkpoints",
		CarryStale:        "an update that goes first, and two checkpoints",
		CarryOldVersion:   "an update that goes first, and two checkpoints",
		CarryPaused:       "an update that goes first, a checkpoint and a restore",
		HoldCompaction:    "pages held up",
		AskFirst:          "pages held up",
		HoldUnits:         "pages held up, units and a checkpoint",
		UnitsUntold:       "pages held up, units and a checkpoint",
		HoldUntilVersion:  "pages held up",
		LiftUntold:        "pages held up",
	}
	for p := Sound + 1; p < plants; p++ {
		if p == NoBump || p == CarryOverRestore {
			continue // see TestProtocol_WhatRestoresNeedNot
		}
		found := false
		for _, c := range scenarios {
			if c.Name != where[p] {
				continue
			}
			found = true
			c.Plant = p
			r := New(c).Explore(limit())
			if r.Violation == nil {
				if r.Complete || !testing.Short() {
					t.Errorf("%v: not caught in %q, %s", p, c.Name, r)
				}
				continue
			}
			t.Logf("%-45v caught after %7d states, %2d steps: %s", p, r.States, len(r.Violation.Trace), r.Violation.What)
		}
		if !found {
			t.Errorf("%v: no scenario is named %q", p, where[p])
		}
	}
}

func (r Result) String() string {
	s := fmt.Sprintf("%8d states, %9d steps, %2d deep, %6d ends", r.States, r.Transitions, r.Depth, r.Ends)
	if !r.Complete {
		s += ", not all"
	}
	return s
}

func (v *Violation) String() string {
	return v.What + "\n\t" + strings.Join(v.Trace, "\n\t")
}

// A restore begins a new log version, and no update is carried over one, although the model finds nothing wrong when either is
// left out: what an update has read before is told apart from what a restore brings back by address and state alone. If this
// ever fails it has become necessary.
func TestProtocol_WhatRestoresNeedNot(t *testing.T) {
	for _, c := range scenarios {
		if !c.Restore {
			continue
		}
		for _, p := range []Plant{NoBump, CarryOverRestore} {
			if p == CarryOverRestore && c.First == 0 {
				continue
			}
			c.Plant = p
			r := New(c).Explore(limit())
			t.Logf("%v, %-60s %s", p, c.Name, r)
			if r.Violation != nil {
				t.Errorf("%v, %s: %s", p, c.Name, r.Violation)
			}
		}
	}
}

// Padding has undefined bytes; two equal states would differ in them.
func TestState_HasNoPadding(t *testing.T) {
	typ := reflect.TypeFor[State]()
	if used := bytesOf(typ); used != typ.Size() {
		t.Errorf("State has %d bytes, its fields have %d", typ.Size(), used)
	}
}

func bytesOf(t reflect.Type) (n uintptr) {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			n += bytesOf(t.Field(i).Type)
		}
		return n
	case reflect.Array:
		return uintptr(t.Len()) * bytesOf(t.Elem())
	}
	return t.Size()
}
