package index

import "maps"

// counted is what the segments of log hold of a whole share.
type counted struct {
	segments []SegmentBytes
	triples  int64
}

// count notes what shares hold that were just written.
func (d *Disk) count(shares []Written) {
	for _, w := range shares {
		d.counted[w.ID] = counted{w.Segments, w.Triples}
	}
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
	d.counted[s.ref.ID] = counted{s.segments, s.triples}
}

// Live returns, by segment, the bytes of the records that the shares lead to. What else there is of the log below the
// address that [Disk.Written] returns is dead, but for what runs hide of each other, and of the image, until they are
// merged: that counts as live. uncounted are those shares that are left out since nothing is known of them.
func (d *Disk) Live() (live map[uint32]SegmentBytes, uncounted int) {
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
		c, ok := d.counted[r.ID]
		if known[r.ID] = ok; !ok {
			uncounted++
			continue
		}
		// Hashes are spread evenly: a part of the range has as large a part of what each segment holds.
		var open float64
		for _, p := range shares.open(r) {
			open += p.size()
		}
		part := open / r.span().size() * float64(r.Triples) / float64(max(c.triples, 1))
		for _, g := range c.segments {
			n := live[g.Segment]
			n.Segment = g.Segment
			n.Live += int64(float64(g.Live) * part)
			n.Tombstones += int64(float64(g.Tombstones) * part)
			live[g.Segment] = n
		}
	}
	maps.DeleteFunc(d.counted, func(id uint64, _ counted) bool { return !known[id] }) // they have been merged
	return live, uncounted
}

func refsOf(written []Written) (refs []ShareRef) {
	for _, w := range written {
		refs = append(refs, w.ShareRef)
	}
	return refs
}
