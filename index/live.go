package index

import (
	"maps"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// leastTombstone is what a tombstone takes at least, in bytes: two words of header, and a key.
const leastTombstone = 3 * mem.WordBytes

// counted is what the segments of log hold of a whole share.
type counted struct {
	segments            []SegmentBytes
	shift               uint
	triples, tombstones int64
	own                 bool
}

// count notes what shares hold that were just written.
func (d *Disk) count(shares []Written) {
	for _, w := range shares {
		d.counted[w.ID] = counted{w.Segments, w.Shift, w.Triples, w.Tombstones, w.Own}
	}
}

// Begin tells that the log below a is gone: the next merges leave it out.
func (d *Disk) Begin(a word.Address) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a > d.begin {
		d.begin = a
		d.replan()
	}
}

// Known is what is known of some shares, and of the log that they stand for, besides what their [ShareRef]s say.
type Known struct {
	// Log is about how many bytes of log there are.
	Log int64
	// Stale is, by id, the part of a share that leads to log which is gone, and Tombstones the part of its triples that are
	// of tombstones. Of a share that is missing nothing is known.
	Stale, Tombstones map[uint64]float64
}

// known returns what is known of the shares.
func (d *Disk) known() Known {
	k := Known{Log: int64(d.written - min(d.begin, d.written)), Stale: map[uint64]float64{}, Tombstones: map[uint64]float64{}}
	for id, c := range d.counted {
		var gone, live, tombstones int64
		for _, g := range c.segments {
			live, tombstones = live+g.Live, tombstones+g.Tombstones
			if word.Address(g.Segment+1)<<c.shift <= d.begin {
				gone += g.Live + g.Tombstones
			}
		}
		all := live + tombstones
		if gone > 0 {
			k.Stale[id] = float64(gone) / float64(all)
		}
		switch {
		case c.tombstones > 0:
			k.Tombstones[id] = float64(c.tombstones) / float64(c.triples)
		case tombstones > 0: // they were not counted: as many as there may be, since it is found out by the merge that follows
			k.Tombstones[id] = min(float64(tombstones)/leastTombstone/float64(c.triples), 1)
		}
	}
	return k
}

// Uncounted returns shares of which it is not known what the segments of log hold of them: those of the version that was
// adopted. [Disk.Count] tells it.
func (d *Disk) Uncounted() (refs []ShareRef) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.shares {
		if _, ok := d.counted[r.ID]; !ok {
			refs = append(refs, r)
		}
	}
	return refs
}

// Count tells what a share holds.
func (d *Disk) Count(s *Share) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counted[s.ref.ID] = counted{s.segments, s.shift, s.triples, s.tombstones, s.own}
	d.replan()
}

// Live returns, by segment of 2^shift bytes of log, the bytes of the records that the shares lead to. What else there is
// of the log below the address that [Disk.Written] returns is dead, but for what runs hide of each other, and of the image,
// until they are merged: that counts as live. Of a share that has not been counted it is only known how much there is in
// all, which is taken to be spread evenly over its log.
func (d *Disk) Live(shift uint) (live map[uint32]SegmentBytes) {
	d.mu.Lock()
	defer d.mu.Unlock()
	shares := d.shares
	for _, r := range d.young {
		for _, g := range r.Groups {
			shares = append(shares[:len(shares):len(shares)], refsOf(g.Shares)...)
		}
	}
	known := make(map[uint64]bool, len(shares))
	live = map[uint32]SegmentBytes{}
	for _, r := range shares {
		known[r.ID] = true
		// Hashes are spread evenly: a part of the range has as large a part of what each segment holds.
		var open float64
		for _, p := range shares.open(r) {
			open += p.size()
		}
		part := open / r.span().size()
		c, ok := d.counted[r.ID]
		if ok && c.shift == shift {
			part *= float64(r.Triples) / float64(max(c.triples, 1))
		} else {
			c.segments = r.spread(d.begin, shift)
		}
		for _, g := range c.segments {
			n := live[g.Segment]
			n.Segment = g.Segment
			n.Live += int64(float64(g.Live) * part)
			n.Tombstones += int64(float64(g.Tombstones) * part)
			live[g.Segment] = n
		}
	}
	maps.DeleteFunc(d.counted, func(id uint64, _ counted) bool { return !known[id] }) // they have been merged
	return live
}

// spread divides the live bytes of r evenly among the segments of its log that there is, which begins at begin.
func (r ShareRef) spread(begin word.Address, shift uint) (segments []SegmentBytes) {
	from := max(r.From, begin)
	for at := from; at < r.To; {
		end := min(r.To, (at>>shift+1)<<shift)
		part := float64(end-at) / float64(r.To-from)
		segments = append(segments, SegmentBytes{Segment: uint32(at >> shift), Live: int64(float64(r.Live) * part)})
		at = end
	}
	return segments
}

func refsOf(written []Written) (refs []ShareRef) {
	for _, w := range written {
		refs = append(refs, w.ShareRef)
	}
	return refs
}
