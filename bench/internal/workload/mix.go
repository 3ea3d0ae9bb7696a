package workload

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
)

// Op is one kind of operation.
type Op uint8

// The kinds of operation a load is mixed from.
const (
	Get    Op = iota // read the value
	Set              // replace the value
	RMW              // read the value, change it, write it back
	Delete           // remove the key
)

func (o Op) String() string { return [...]string{"get", "set", "rmw", "delete"}[o] }

// Mix is the share of each kind of operation, in percent; the rest is Get.
type Mix struct {
	Name             string
	Set, RMW, Delete int
}

var mixes = map[string]Mix{
	"update": {Name: "update", Set: 100},
	"mixed":  {Name: "mixed", Set: 50},
	"read":   {Name: "read"},
	"rmw":    {Name: "rmw", RMW: 100},
	"getrmw": {Name: "getrmw", RMW: 50},
	// churn inserts a key and deletes it again: operation 2j sets the key of pick 2j, 2j+1 deletes the same.
	"churn": {Name: "churn", Set: 50, Delete: 50},
}

// MixByName returns one of the named mixes: update, mixed (half get, half set), read, rmw, getrmw (half get, half
// rmw), churn (insert then delete).
func MixByName(name string) (Mix, error) {
	m, ok := mixes[name]
	if !ok {
		return Mix{}, fmt.Errorf("bench: mix %q is none of %s", name, strings.Join(MixNames(), ", "))
	}
	return m, nil
}

// MixNames lists the named mixes in alphabetical order.
func MixNames() []string {
	var out []string
	for n := range mixes {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// Plan is a load drawn beforehand: what to do to which key. A loop that runs out of it begins again.
type Plan struct {
	Ops   []Op
	Picks []uint32
}

// Len is the number of operations in the plan.
func (p Plan) Len() int { return len(p.Picks) }

// NewPlan draws count operations of a mix over keys picked by d.
func NewPlan(d Dist, m Mix, keys, count int, seed uint64) Plan {
	p := Plan{Picks: d.Picks(keys, count, seed), Ops: make([]Op, count)}
	r := rand.New(rand.NewPCG(seed, 0xd1b54a32d192ed03))
	for i := range p.Ops {
		if m.Name == "churn" {
			p.Ops[i] = Set
			if i%2 == 1 {
				p.Ops[i] = Delete
				p.Picks[i] = p.Picks[i-1]
			}
			continue
		}
		switch x := r.IntN(100); {
		case x < m.Set:
			p.Ops[i] = Set
		case x < m.Set+m.RMW:
			p.Ops[i] = RMW
		case x < m.Set+m.RMW+m.Delete:
			p.Ops[i] = Delete
		}
	}
	return p
}

// Sequence is the plan that does op once to every key in order, from key number from on: a load or a sweep.
func Sequence(op Op, from, count int) Plan {
	p := Plan{Picks: make([]uint32, count), Ops: make([]Op, count)}
	for i := range p.Picks {
		p.Picks[i] = uint32(from + i)
		p.Ops[i] = op
	}
	return p
}
