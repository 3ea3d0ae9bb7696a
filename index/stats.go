package index

import (
	"math"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Stats are figures about an index.
type Stats struct {
	Buckets         int64 // main buckets of the newest table
	OverflowBuckets int64 // overflow buckets in use
	// Entries is the number of entries that have a chain. Of a large index it is an estimate, from a sample of its
	// buckets.
	Entries      int64
	Load         float64 // Entries per slot of the main buckets
	LongestChain int     // buckets of the longest chain that was seen, the main bucket included
	CatchAlls    int64   // entries that had to become catch-alls for lack of memory
	Growths      int64   // since it was opened
	Growing      bool    // a growth goes on
	Bytes        int64   // memory held
	Blocks       int64   // blocks of the image that the index was opened with, 0 when all are loaded
	BlocksLoaded int64   // of Blocks
}

const (
	// sampledBuckets is how many buckets Stats looks at, some milliseconds: enough for an estimate within one per cent.
	sampledBuckets = 1 << 15
	sampleBatch    = 256 // of them in one stay in the epoch
)

// Stats returns figures about the index as it is now. It looks at up to 2^15 buckets.
func (x *Index) Stats() Stats { return x.Survey(nil) }

// crowdBuckets is how many buckets Crowd looks at: enough for an estimate within some per cent.
const crowdBuckets = 1 << 12

// Crowd returns Stats.Entries, from a smaller sample, and Stats.Growing.
func (x *Index) Crowd() (entries int64, growing bool) {
	s := x.survey(nil, crowdBuckets)
	return s.Entries, s.Growing
}

// Survey returns Stats and calls visit, unless it is nil, with the addresses of the entries that it looks at, of a large
// index a sample. visit is called inside the epoch and must not wait; the slice is reused.
func (x *Index) Survey(visit func([]word.Address)) Stats { return x.survey(visit, sampledBuckets) }

func (x *Index) survey(visit func([]word.Address), sampled uint64) Stats {
	g := x.cfg.Epoch.Register()
	defer g.Release()
	t := x.table.Load()
	s := Stats{
		CatchAlls: x.catchAlls.Load(),
		Growths:   x.growths.Load(),
		Bytes:     x.bytes.Load(),
	}
	// With more buckets than are looked at, they are taken at equal distances.
	n := min(t.Mask+1, sampled)
	step := (t.Mask + 1) / n
	var seen int64
	var found []word.Address
	for i := uint64(0); i < n; i += sampleBatch {
		g.Enter()
		if now := x.table.Load(); now != t {
			// It has doubled; go on with the fresh table at the same place of the bucket numbers.
			step *= (now.Mask + 1) / (t.Mask + 1)
			t = now
		}
		for j := i; j < min(i+sampleBatch, n); j++ {
			var entries, chain int
			entries, chain, found = t.countEntries(j*step, found)
			seen += int64(entries)
			s.LongestChain = max(s.LongestChain, chain)
		}
		if visit != nil {
			visit(found)
		}
		found = found[:0]
		g.Exit()
	}
	s.Buckets = int64(t.Mask + 1)
	s.OverflowBuckets = int64(t.overflow.used.Load())
	s.Entries = int64(math.Round(float64(seen) / float64(n) * float64(t.Mask+1)))
	s.Load = float64(s.Entries) / float64(s.Buckets*bucketSlots)
	s.Growing = t.old.Load() != nil
	if im := t.image.Load(); im != nil {
		s.Blocks = int64(len(im.state))
		s.BlocksLoaded = s.Blocks - im.missing.Load()
	}
	return s
}

// countEntries returns the number of entries with a chain, and of buckets, of bucket b, and appends the addresses of the
// entries to found. A bucket that has yet to be moved into t counts by its old self: half of its entries are for b.
func (t *table) countEntries(b uint64, found []word.Address) (entries, buckets int, _ []word.Address) {
	from, share := t, 1
	if old := t.old.Load(); old != nil && !loadLink(old.bucket(b&old.Mask)).moved() {
		from, b, share = old, b&old.Mask, 2
	}
	for p := from.bucket(b); p != nil; p = from.next(p) {
		buckets++
		for i := range bucketSlots {
			if a := (Slot{slotOf(p, i)}).Load().Address(); a != word.None {
				entries++
				found = append(found, a)
			}
		}
	}
	return (entries + share - 1) / share, buckets, found
}
