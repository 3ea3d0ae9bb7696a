package checkpoint

// span is a stretch of a lineage that holds its log in one way: whole (except 0) or without the records of a version.
type span struct{ start, end, except uint64 }

func spans(extents []Extent) []span {
	var all []span
	for _, e := range extents {
		if e.Start < e.Fuzzy {
			all = append(all, span{e.Start, e.Fuzzy, 0})
		}
		if e.Fuzzy < e.End {
			all = append(all, span{e.Fuzzy, e.End, e.LogVersion + 1})
		}
	}
	return all
}

// divergence returns the address F below which two versions have the same history: every record of one below F is a
// record of the other. At F or above they have nothing in common, but for records in a fuzzy end that one of them has
// whole. To go from one to the other it is enough to forget what lies at F or above and to replay the other's log from
// F on. 0 means that they have nothing in common any more and that the other has to be recovered from its own image
// and log.
//
// F is the end of the highest stretch that both hold in the same way. That settles everything below, because of V9:
// a byte of the log is written once, by one live store, whose lineage below it was fixed at that moment; each version
// that holds the byte descends from that store's state and so has this same lineage below it. (A fuzzy end is held
// only by its own version and by what was rolled back to it, hence "in the same way".) What compaction trimmed off
// the front of either is therefore still common history, though the bytes may be gone.
func divergence(a, b *Manifest) uint64 {
	as, bs := spans(a.Extents), spans(b.Extents)
	i, j := len(as)-1, len(bs)-1
	for i >= 0 && j >= 0 {
		x, y := as[i], bs[j]
		lo, hi := max(x.start, y.start), min(x.end, y.end)
		if lo < hi && x.except == y.except {
			return hi
		}
		if x.start >= y.start { // no lower span of b reaches x
			i--
		} else {
			j--
		}
	}
	return 0
}

// minDivergence returns the address below which compaction may drop a tombstone for good, together with the index entry
// that leads to it, when the store went on from current: the least divergence between the live log and any version of d.
// Below it a tombstone is history of every version (V9), what it hides leaves each lineage with it or before, and going
// from one version to another forgets the index no further down. (Package hlog drops more than that, and in return
// opens the index of a version that it might have harmed anew.)
//
// A version that has nothing in common with current any more keeps every tombstone, for its extents no longer tell where
// it was forked. One without log holds no keys and keeps none. The stretch of current from its fuzzy end on is not
// common: the live log holds records there that current does not.
func (d *Dir) minDivergence(current *Manifest) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	least := current.Extents[len(current.Extents)-1].Fuzzy
	for _, e := range d.versions {
		if len(e.m.Extents) > 0 {
			least = min(least, divergence(current, e.m))
		}
	}
	return least
}
