// Package step runs the background of a store. What is done in rounds is a [Job], what is done once is given to
// [Jobs.Once]. Usually both have goroutines, as long as there is something to do.
//
// A store that only one goroutine uses can do its background work in that goroutine instead, with a [Work]: a little of it
// whenever the goroutine waits for some, or says that it has time, in an order that a seed decides. A run of such a store
// replays from its seed, call by call.
//
// What is lost is the interleaving within a piece of work: each runs from its beginning to its end. Stores with their
// usual goroutines are for the rest. Goroutines stay where they cannot change what reaches the disk: for reads that are
// spread over several, for views, for Events, and for copies to a remote, which are not stepped.
package step

import (
	"math/rand/v2"
	"slices"
)

// Kind says what a piece of work is for. Of each kind one runs at a time.
type Kind uint8

const (
	Pager  Kind = iota // a turn of the pager
	Cut                // the cut of a checkpoint
	Commit             // the commit of a checkpoint
	Chores             // a round of housekeeping
	Runs               // index runs
	Sizing             // a round of dividing memory
	Merges             // merges of index shares
	Drain              // what waited for the epoch
	Other              // the rest: growth of the index, loading, warming
	numKinds

	// Apart is work that has a goroutine in every store.
	Apart
)

// Work is what the background of one store has to do. It belongs to the goroutine that uses the store. The methods of a
// nil Work do nothing: there is none for a store with goroutines.
type Work struct {
	rng     *rand.Rand
	jobs    []piece
	running [numKinds]bool
	done    int
}

type piece struct {
	kind Kind
	do   func()
}

// New returns a Work that runs things in an order chosen by seed.
func New(seed uint64) *Work { return &Work{rng: rand.New(rand.NewPCG(seed, 7))} }

// Source is implemented by a file system that wants the background of a store on it to be done step by step.
type Source interface{ Work() *Work }

// Of returns the work of a store on the file system, nil if that is no Source.
func Of(fsys any) *Work {
	if s, ok := fsys.(Source); ok {
		return s.Work()
	}
	return nil
}

// Go adds a piece of work. It runs nothing, so that it may be called from anywhere.
func (w *Work) Go(kind Kind, do func()) { w.jobs = append(w.jobs, piece{kind, do}) }

// Once is Go unless work of the kind is waiting already.
func (w *Work) Once(kind Kind, do func()) {
	if !slices.ContainsFunc(w.jobs, func(j piece) bool { return j.kind == kind }) {
		w.Go(kind, do)
	}
}

// Until does work of the kinds, of all kinds if none is given, until done returns true or nothing is left to do. The
// caller is outside the epoch and holds nothing that such work might want.
func (w *Work) Until(done func() bool, kinds ...Kind) {
	if w == nil {
		return
	}
	for !done() && w.one(kinds) {
	}
}

// One does at most one piece of work.
func (w *Work) One(kinds ...Kind) { w.Until(new(once).done, kinds...) }

type once bool

func (o *once) done() bool {
	was := bool(*o)
	*o = true
	return was
}

// Pause does a piece of work, or some, or none: the caller has time and holds nothing.
func (w *Work) Pause(oneIn int) {
	if w == nil {
		return
	}
	for w.rng.IntN(oneIn) == 0 && w.one(nil) {
	}
}

// Rest does everything.
func (w *Work) Rest() { w.Until(func() bool { return false }) }

// Done returns how many pieces of work were done.
func (w *Work) Done() int { return w.done }

// one does one piece of work of the kinds that is not under way already further up; false if there is none.
func (w *Work) one(kinds []Kind) bool {
	var able []int
	for i, j := range w.jobs {
		if !w.running[j.kind] && (len(kinds) == 0 || slices.Contains(kinds, j.kind)) {
			able = append(able, i)
		}
	}
	if len(able) == 0 {
		return false
	}
	i := able[w.rng.IntN(len(able))]
	j := w.jobs[i]
	w.jobs = slices.Delete(w.jobs, i, i+1)
	w.running[j.kind] = true
	defer func() { w.running[j.kind] = false }()
	w.done++
	j.do()
	return true
}
