package shares

import (
	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
)

// Segment is what a segment of log holds of a version.
type Segment struct {
	Number    uint64
	LogBytes  int64
	DeadBytes int64 // of LogBytes
}

// SegmentsOf returns what the segments hold of version m, and how much of that is dead. The index on disk knows what of a
// segment is the newest of its key (package index, Disk.Live); log that it does not stand for yet counts as live.
func (d *Index) SegmentsOf(m *checkpoint.Manifest) (all []Segment) {
	d.countShares()
	live := d.Live(d.SegmentShift)
	from, to := d.standsFor()
	size := uint64(1) << d.SegmentShift
	known := map[uint64]int64{} // log of the segment that the shares stand for
	for _, e := range m.Extents {
		for at := e.Start; at < e.End; {
			n := at / size
			end := min(e.End, (n+1)*size)
			if k := len(all); k == 0 || all[k-1].Number != n {
				all = append(all, Segment{Number: n})
			}
			all[len(all)-1].LogBytes += int64(end - at)
			if a, b := max(at, from), min(end, to); a < b {
				known[n] += int64(b - a)
			}
			at = end
		}
	}
	for i := range all {
		g := &all[i]
		g.DeadBytes = max(known[g.Number]-live[uint32(g.Number)].Live, 0)
	}
	return all
}

// LiveBytes returns how much of the log of version m is live, by what SegmentsOf knows.
func (d *Index) LiveBytes(m *checkpoint.Manifest) int64 {
	n := m.LogBytes()
	for _, g := range d.SegmentsOf(m) {
		n -= g.DeadBytes
	}
	return n
}

// countShares finds out what the shares hold that the store was opened with.
func (d *Index) countShares() {
	for _, r := range d.Uncounted() {
		d.look(r, d.Count)
	}
}

// look has use read a share. One that cannot be opened is passed over: that is the business of those who need what is in it.
func (d *Index) look(r index.ShareRef, use func(*index.Share)) {
	f, err := d.Open(r)
	if err != nil {
		return
	}
	defer f.Close()
	if share, err := index.OpenShare(f, r); err == nil {
		use(share)
	}
}
