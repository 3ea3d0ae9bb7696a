package index

import (
	"maps"

	"github.com/hybridlog/hybridlog/internal/word"
)

// counted is what the segments of log hold of a whole share.
type counted struct {
	segments []SegmentBytes
	shift    uint
	triples  int64
}

// count notes what shares hold that were just written.
func (d *Disk) count(shares []Written) {
	for _, w := range shares {
		d.counted[w.ID] = counted{w.Segments, w.Shift, w.Triples}
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

// stale returns, by id, the part of the bytes that shares lead to which lie in segments that are gone.
func (d *Disk) stale() map[uint64]float64 {
	parts := map[uint64]float64{}
	if d.begin == 0 {
		return parts
	}
	for id, c := range d.counted {
		var gone, all int64
		for _, g := range c.segments {
			all += g.Live + g.Tombstones
			if word.Address(g.Segment+1)<<c.shift <= d.begin {
				gone += g.Live + g.Tombstones
			}
		}
		if gone > 0 {
			parts[id] = float64(gone) / float64(all)
		}
	}
	return parts
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
	d.counted[s.ref.ID] = counted{s.segments, s.shift, s.triples}
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
