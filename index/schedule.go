package index

import (
	"cmp"
	"math"
	"slices"

	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// tripleBytes is about what a triple takes in a share.
	tripleBytes = 11
	// mergeShare is when runs are merged into the image: when they hold at least this fraction of what the image holds of
	// a range. A triple is then written about 1 + mergeShare times more, until it is merged again.
	mergeShare = 4
	// maxDepth is how many runs may lie over the image before some are merged with each other, and mergeFan how many of
	// them then are.
	maxDepth = 16
	mergeFan = 8
	// smallMerge is when runs are merged with each other as soon as there are mergeFan of them: when that takes no more than
	// this fraction of what a merge may take. Those of a few records that are updated all the time hide each other, and what
	// they hide is known to be dead then.
	smallMerge = 8
	// hiddenShare is which part of the log runs may hide, at the most, of an image that has hardly anything else live.
	hiddenShare = 20
)

// NextMerge returns the merge that is most worth while, if one is: of about maxBytes at the most. All records that the
// shares stand for are of every version to come.
//
// It is that of a range of hashes for which the runs hold most, compared with the image. When there are many runs, so that
// whoever loads a block has to read much, it may be more worth while to merge a few of them with each other: what counts is
// how many runs less there are for what is written.
//
// Nothing is merged with a share whose id is in avoid. What an image has of log that is gone is left out by a merge, and
// counts like what runs hold.
//
// What runs hide of the image is known to be dead only when they are merged. When the image has little but tombstones, a
// run that is short beside it may hide most of what is live: a range whose runs hold much compared with the image's live
// records is merged as well, if what they hide may be a part of the log that matters.
func (l Shares) NextMerge(maxBytes int64, avoid map[uint64]bool, known Known) (m Merge, ok bool) {
	maxTriples := float64(max(maxBytes/tripleBytes, 1))
	bottom := l.bottom()
	ranges := l.ranges(bottom, avoid, known)
	best, depth, all := -1, 0, 0.0
	for i, r := range ranges {
		if r.avoided {
			continue
		}
		depth, all = max(depth, r.depth), all+r.image+r.newer
		if r.due(known.Log) && (best < 0 || r.gain() > ranges[best].gain()) {
			best = i
		}
	}
	if depth >= mergeFan {
		g, ok := l.fewerRuns(bottom)
		many := depth > maxDepth && (best < 0 || g.triples*float64(depth) < all*(mergeFan-1))
		if ok && (many || smallMerge*g.triples <= maxTriples) {
			if m := l.mergeRuns(g, maxTriples); !reads(m.Inputs, avoid) {
				return m, true
			}
		}
	}
	if best < 0 {
		return m, false
	}
	r := ranges[best]
	s, triples := r.span, r.image+r.newer
	if pieces := uint64(math.Ceil(triples / maxTriples)); pieces > 1 {
		s.last = s.first + (s.last-s.first)/pieces
		triples = maxTriples
	}
	for _, next := range ranges[best+1:] { // ranges that have lost most of what they held become one
		if triples += next.image + next.newer; next.avoided || triples > maxTriples/2 {
			break
		}
		s.last = next.last
	}
	return l.merge(s, bottom, word.MaxAddress), true
}

// merge returns the merge of all that the shares hold of a range of hashes and a stretch of log.
func (l Shares) merge(s span, from, to word.Address) Merge {
	m := Merge{First: s.first, Last: s.last, From: word.MaxAddress}
	for _, r := range l.Over(s.first, s.last) {
		if !r.inside(from, to) {
			continue
		}
		m.From, m.To, m.Level = min(m.From, r.From), max(m.To, r.To), max(m.Level, r.Level+1)
		m.Inputs = append(m.Inputs, r)
		m.Bytes += int64(r.in(s) * tripleBytes)
	}
	return m
}

// mergeRange is a range of hashes that the image is divided into.
type mergeRange struct {
	span
	image, newer float64 // triples
	live         float64 // of those of the image, without tombstones
	bytes        float64 // of their records
	depth        int     // runs over the image
	avoided      bool    // one of the shares cannot be merged
}

func (r mergeRange) gain() float64 { return r.newer / (r.image + r.newer) }

// due reports whether it is worth while to merge the range into the image, when there is so much log.
func (r mergeRange) due(log int64) bool {
	if r.newer == 0 || mergeShare*r.newer >= r.image {
		return r.newer > 0
	}
	hidden := r.bytes * min(r.newer/max(r.live, 1), 1) // at the most, by runs that lead to no new key
	return mergeShare*r.newer >= r.live && hiddenShare*hidden >= float64(log)*r.size()
}

// ranges returns the ranges that the image, which begins at bottom, is divided into, in order. Where a share is to be
// avoided a range takes no part in anything: what it holds, and how many runs lie over it, says nothing of the others.
func (l Shares) ranges(bottom word.Address, avoid map[uint64]bool, known Known) (ranges []mergeRange) {
	starts := []uint64{0}
	for _, r := range l {
		if r.From == bottom {
			starts = append(starts, r.First)
			if r.Last < math.MaxUint64 {
				starts = append(starts, r.Last+1)
			}
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	for i, first := range starts {
		r := mergeRange{span: span{first, math.MaxUint64}}
		if i+1 < len(starts) {
			r.last = starts[i+1] - 1
		}
		var image []float64 // runs of one stretch may be the image, as long as it is as short as that
		inputs := l.Over(r.first, r.last)
		for _, o := range inputs {
			if o.From == bottom {
				n := o.in(r.span)
				image = append(image, n)
				r.newer += n * known.Stale[o.ID]
				r.live += n * (1 - known.Tombstones[o.ID])
				r.bytes += float64(o.Live) * n / float64(max(o.Triples, 1))
				continue
			}
			r.newer += o.in(r.span)
			r.depth++
		}
		slices.Sort(image)
		for i, n := range image {
			if i == len(image)-1 {
				r.image = n
			} else {
				r.newer += n
			}
		}
		r.avoided = reads(inputs, avoid)
		ranges = append(ranges, r)
	}
	return ranges
}

// stretch is a stretch of log.
type stretch struct{ from, to word.Address }

func (r ShareRef) stretch() stretch { return stretch{r.From, r.To} }

// runGroup is runs that follow each other in the log.
type runGroup struct {
	stretch
	level   int     // of what they are merged to
	triples float64 // of those that have not been
	depth   float64 // how many shares stand for a hash, on the average
	begun   bool    // a part of the hashes has been merged
}

// runs returns the runs, each as a group of its own, in the order of the log. Those of which a part has been merged with each
// other are one group, of what is left of that.
func (l Shares) runs(bottom word.Address) (runs []runGroup) {
	sorted := slices.SortedFunc(slices.Values(l), func(a, b ShareRef) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.To, a.To), cmp.Compare(b.Level, a.Level))
	})
	for _, r := range sorted {
		if r.From == bottom {
			continue
		}
		n := len(runs) - 1
		var open, triples float64
		for _, p := range l.open(r) {
			open, triples = open+p.size(), triples+r.in(p)
		}
		switch {
		case n < 0 || r.From >= runs[n].to:
			runs = append(runs, runGroup{stretch: r.stretch(), level: r.Level, triples: triples, depth: open})
		case runs[n].stretch == r.stretch() && runs[n].level == r.Level:
			runs[n].triples += triples
			runs[n].depth += open
		default: // it is merged into the runs before, as far as that has come
			g := &runs[n]
			if !g.begun {
				g.begun, g.triples = true, 0
			}
			g.triples += triples
		}
	}
	return runs
}

// fewerRuns returns the runs that it takes least to merge with each other, out of those that follow each other in the log.
// If that has been begun, what is left of it counts.
func (l Shares) fewerRuns(bottom word.Address) (best runGroup, ok bool) {
	runs := l.runs(bottom)
	for i, r := range runs {
		g := r
		if !r.begun {
			if i+mergeFan > len(runs) || slices.ContainsFunc(runs[i:i+mergeFan], func(r runGroup) bool { return r.begun }) {
				continue
			}
			g = runGroup{stretch: stretch{r.from, runs[i+mergeFan-1].to}}
			for _, r := range runs[i : i+mergeFan] {
				g.triples += r.triples
				g.level = max(g.level, r.level+1)
			}
		}
		if !ok || g.triples < best.triples {
			best, ok = g, true
		}
	}
	return best, ok
}

// mergeRuns returns the next piece of merging g.
func (l Shares) mergeRuns(g runGroup, maxTriples float64) Merge {
	part, found := span{}, false // the first in which some of them are not superseded
	for _, r := range l {
		if !r.inside(g.from, g.to) || r.Level >= g.level || found && r.First >= part.first {
			continue
		}
		if parts := l.open(r); len(parts) > 0 && (!found || parts[0].first < part.first) {
			part, found = parts[0], true
		}
	}
	var triples float64
	for _, r := range l.Over(part.first, part.last) {
		if r.inside(g.from, g.to) {
			triples += r.in(part)
		}
	}
	if pieces := uint64(math.Ceil(triples / maxTriples)); pieces > 1 {
		part.last = part.first + (part.last-part.first)/pieces
	}
	m := l.merge(part, g.from, g.to)
	m.From, m.To, m.Level = g.from, g.to, g.level
	return m
}

// reads reports whether the id of one of the inputs is in avoid.
func reads(inputs []ShareRef, avoid map[uint64]bool) bool {
	return slices.ContainsFunc(inputs, func(r ShareRef) bool { return avoid[r.ID] })
}
