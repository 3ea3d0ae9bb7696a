package checkpoint

import (
	"slices"
	"testing"
)

// Whatever was removed up to any number, and whoever comes late to remove what another has left, each reader finds the end
// (J8), and whoever puts again what was removed finds its witness gone (J3).
func TestKeptEntry_EveryReaderFindsTheEnd(t *testing.T) {
	const longest = 400
	for below := uint64(firstTrim); below < longest; below += 7 {
		for earlier := uint64(firstTrim); earlier <= below; earlier += 13 {
			there := func(n, end uint64) bool {
				gone := n >= 3 && (n < earlier && !keptEntry(n, earlier) || n < below && !keptEntry(n, below))
				return n >= 1 && n <= end && !gone
			}
			for end := below; end < longest; end += 3 {
				found, err := searchEnd(func(numbers []uint64) (all []bool, _ error) {
					for _, n := range numbers {
						all = append(all, there(n, end))
					}
					return all, nil
				})
				if found != end || err != nil {
					t.Fatalf("removed up to %d and %d, the end is %d: found %d, %v", earlier, below, end, found, err)
				}
			}
			for n := uint64(farEntry); n < below; n++ {
				if !there(n, longest) && there(witness(n), longest) {
					t.Fatalf("removed up to %d: %d is gone, and its witness %d is there", below, n, witness(n))
				}
			}
		}
	}
}

func TestEntry_RoundTrip(t *testing.T) {
	state := &remoteState{root: 5, epoch: 2, claim: 3, head: 7, headSet: 9, headClaim: 3, headNonce: 11, purged: 1, trimmed: 4,
		versions: map[Version]stand{7: {7, 1, 6, 2, 3, 4, 5}}}
	for _, e := range []*remoteEntry{
		{kind: claimEntry, epoch: 8}, {kind: versionEntry, stand: stand{1, 2, 3, 4, 5, 6, 7}, moves: true}, {kind: headEntry, head: 3},
		{kind: purgeEntry, gone: []Version{4, 5}}, {kind: purgeEntry}, {kind: snapshotEntry, snapshot: state},
	} {
		e.root, e.number, e.prev, e.base, e.claim, e.nonce = 5, 70, 71, 64, 3, 13
		data := encodeEntry(e)
		got, err := decodeEntry("f", 5, 70, data)
		if err != nil || !slices.Equal(encodeEntry(got), data) {
			t.Errorf("%v: %+v, %v", e.kind, got, err)
		}
		for _, other := range [][2]uint64{{6, 70}, {5, 71}} {
			if _, err := decodeEntry("f", other[0], other[1], data); err == nil {
				t.Errorf("%v is taken for entry %d of sequence %d", e.kind, other[1], other[0])
			}
		}
		for n := range data {
			if _, err := decodeEntry("f", 5, 70, data[:n]); err == nil {
				t.Errorf("%v: %d bytes of it are taken for whole", e.kind, n)
			}
		}
	}
	if got, err := decodeRoot("f", encodeRoot(state)); err != nil || got.root != 5 || got.versions[7] != state.versions[7] {
		t.Errorf("%+v, %v", got, err)
	}
}
