package hlog

import (
	"math/bits"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
)

// segmentsOf returns what the segments hold of version m, and how much of that is dead. The index on disk knows what of a
// segment is the newest of its key (package index, Disk.Live); log that it does not stand for yet counts as live.
func (s *Store) segmentsOf(m *checkpoint.Manifest) (all []SegmentMetrics) {
	s.countShares()
	live := s.disk.Live(s.segmentShift())
	from, to := s.disk.standsFor()
	size := s.segments.Bytes()
	known := map[uint64]int64{} // log of the segment that the shares stand for
	for _, e := range m.Extents {
		for at := e.Start; at < e.End; {
			n := at / size
			end := min(e.End, (n+1)*size)
			if k := len(all); k == 0 || all[k-1].Segment != n {
				all = append(all, SegmentMetrics{Segment: n})
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
		g.DeadBytes = max(known[g.Segment]-live[uint32(g.Segment)].Live, 0)
	}
	return all
}

// liveBytes returns how much of the log of version m is live, by what segmentsOf knows.
func (s *Store) liveBytes(m *checkpoint.Manifest) int64 {
	n := m.LogBytes()
	for _, g := range s.segmentsOf(m) {
		n -= g.DeadBytes
	}
	return n
}

// segmentShift is the size of a segment as a power of two.
func (s *Store) segmentShift() uint { return uint(bits.TrailingZeros64(s.segments.Bytes())) }

// countShares finds out what the shares hold that the store was opened with. One that cannot be read is the business of
// those who need what is in it.
func (s *Store) countShares() {
	for _, r := range s.disk.Uncounted() {
		f, err := s.openShare(r)
		if err != nil {
			continue
		}
		if share, err := index.OpenShare(f, r); err == nil {
			s.disk.Count(share)
		}
		f.Close()
	}
}
