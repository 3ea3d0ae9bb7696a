package index

import (
	"cmp"
	"math"
	"slices"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Depth returns how many shares have to be read for a hash, at the most.
func (l Shares) Depth() int { return l.depth(0) }

// deeper reports whether more than n shares have to be read for some hash.
func (l Shares) deeper(n int) bool { return len(l) > n && l.depth(n) > n }

// depth returns Depth if that is more than n, else n.
func (l Shares) depth(n int) int {
	starts := []uint64{0}
	for _, r := range l {
		starts = append(starts, r.First)
		if r.Last < math.MaxUint64 {
			starts = append(starts, r.Last+1)
		}
	}
	slices.Sort(starts)
	coming := slices.SortedFunc(slices.Values(l), func(a, b ShareRef) int { return cmp.Compare(a.First, b.First) })
	var here Shares                                // whose ranges have begun, and have not ended
	for _, first := range slices.Compact(starts) { // from one to the next the same shares stand for all hashes
		here = slices.DeleteFunc(here, func(r ShareRef) bool { return r.Last < first })
		for len(coming) > 0 && coming[0].First <= first {
			here, coming = append(here, coming[0]), coming[1:]
		}
		if n < len(here) {
			n = max(n, len(here.Over(first, first)))
		}
	}
	return n
}

// shallower returns a merge of runs with each other that makes fewer shares to be read for some hashes: that for which least has
// to be written for each share less. It is whole or, if runs were being merged with each other already, the next piece of that.
func (l Shares) shallower(maxBytes int64, avoid map[uint64]bool) (m Merge, ok bool) {
	runs := l.runs(l.bottom())
	var best runGroup
	least := math.Inf(1)
	for i, r := range runs {
		if r.begun {
			if cost := r.triples / (mergeFan - 1); cost < least {
				best, least = r, cost
			}
			continue
		}
		g := runGroup{stretch: r.stretch}
		for _, next := range runs[i:min(i+mergeFan, len(runs))] {
			if next.begun {
				break
			}
			g.to, g.level = next.to, max(g.level, next.level+1)
			g.triples, g.depth = g.triples+next.triples, g.depth+next.depth
			if cost := g.triples / (g.depth - 1); g.depth > 1.5 && cost < least {
				best, least = g, cost
			}
		}
	}
	if math.IsInf(least, 1) {
		return m, false
	}
	m = l.mergeRuns(best, float64(max(maxBytes/tripleBytes, 1)))
	return m, len(m.Inputs) > 0 && !reads(m.Inputs, avoid)
}

// Shallow reports whether no more than n shares have to be read for each hash by a version that is named now: as Name has it.
func (d *Disk) Shallow(n int, logVersion uint64, cut word.Address) bool {
	named, _ := d.Name(logVersion, cut)
	return !named.deeper(n)
}

// TakeShallower hands out a merge like TakeMerge does, if one makes fewer shares to be read for some hashes, however many bytes
// merges have written already. out is closed when a merge ends that is handed out: until then none can be; it is nil when none is.
func (d *Disk) TakeShallower() (m Merge, ok bool, out <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.merging {
		return m, false, d.mergeEnds
	}
	if m, ok = d.shares.shallower(d.cfg.MergeBytes, d.damaged); ok {
		m.era = d.era
		d.handOut()
	}
	return m, ok, nil
}

// handOut notes that a merge is handed out.
func (d *Disk) handOut() { d.merging, d.mergeEnds = true, make(chan struct{}) }

// takeBack notes that none is.
func (d *Disk) takeBack() {
	if d.merging {
		d.merging = false
		close(d.mergeEnds)
	}
}
