// Package search visits all states of a small model, breadth first, and has what the tests of such models have in common. A
// model is a pure function from a state to the next ones; package protocol, whose models are large, has a search of its own
// that keeps hashes instead of states.
package search

import "testing"

// Model is what is searched. A state is a value that says everything: two that are equal are one.
type Model[S comparable] struct {
	First  S
	Actors int
	Next   func(s S, actor int) (after []S, bad string) // the states after a step of the actor, none if it cannot take one
	Check  func(s *S) string                            // says what is wrong in a state; may be nil
	End    func(s *S) string                            // and in one in which nobody can take a step
	// Describe says, for people, what an actor does in a state, and what the state is. actor is Actors when all have finished.
	Describe func(s *S, actor int) string
}

// Result is what an exploration has come to.
type Result struct {
	States, Ends int
	Complete     bool
	Violation    string
	Trace        []string // the shortest way to it, one step a line
}

// Explore visits every state that can be reached, until one is wrong or there are limit states.
func (m Model[S]) Explore(limit int) (r Result) {
	type origin struct {
		from  uint32
		actor int
	}
	states, origins := []S{m.First}, []origin{{}}
	seen := map[S]struct{}{m.First: {}}
	fail := func(n, actor int, what string) {
		r.Violation = what
		r.Trace = []string{m.Describe(&states[n], actor)}
		for ; n != 0; n = int(origins[n].from) {
			o := origins[n]
			r.Trace = append([]string{m.Describe(&states[o.from], o.actor)}, r.Trace...)
		}
	}
	for n := 0; n < len(states) && len(states) < limit && r.Violation == ""; n++ {
		moved := false
		for actor := 0; actor < m.Actors && r.Violation == ""; actor++ {
			after, bad := m.Next(states[n], actor)
			if bad != "" {
				fail(n, actor, bad)
				break
			}
			for _, s := range after {
				moved = true
				if _, known := seen[s]; known {
					continue
				}
				seen[s] = struct{}{}
				states, origins = append(states, s), append(origins, origin{uint32(n), actor})
				if m.Check == nil {
					continue
				}
				if bad := m.Check(&s); bad != "" {
					fail(len(states)-1, m.Actors, bad)
					break
				}
			}
		}
		if !moved && r.Violation == "" {
			r.Ends++
			if bad := m.End(&states[n]); bad != "" {
				fail(n, m.Actors, bad)
			}
		}
		r.Complete = n == len(states)-1
	}
	r.States = len(states)
	return r
}

// Scenario is a model that a test explores, with a measure left out or with none.
type Scenario[Plant any] struct {
	Name    string
	Explore func(p Plant) Result
}

// Hold tests that nothing goes wrong in any scenario, each explored to its end, and returns how many states there are.
func Hold[Plant any](t *testing.T, sound Plant, scenarios []Scenario[Plant]) (states int) {
	t.Helper()
	for _, c := range scenarios {
		r := c.Explore(sound)
		states += r.States
		t.Logf("%-45s %8d states, %6d ends", c.Name, r.States, r.Ends)
		if r.Violation != "" {
			t.Errorf("%s: %s", c.Name, r.Violation)
			for _, step := range r.Trace {
				t.Log("\t", step)
			}
		} else if !r.Complete || r.Ends == 0 {
			t.Errorf("%s: not explored to the end", c.Name)
		}
	}
	return states
}

// Catch tests that a measure that is left out shows in some scenario.
func Catch[Plant any](t *testing.T, p Plant, scenarios []Scenario[Plant]) {
	t.Helper()
	for _, c := range scenarios {
		if r := c.Explore(p); r.Violation != "" {
			t.Logf("%-40v caught in %q after %d states, %d steps: %s", p, c.Name, r.States, len(r.Trace)-1, r.Violation)
			return
		}
	}
	t.Errorf("%v: not caught", p)
}
