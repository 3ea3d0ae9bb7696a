package checkpoint

import (
	"fmt"
	"maps"
	"slices"
)

// The truth of a remote is a sequence of small objects, the entries, with numbers 1, 2, 3 ... (J1). SEQUENCE says where they
// are: it is put once, and holds what the remote had before. An entry, in the envelope of the package comment:
//
//	magic "HLENTRY\n" (SEQUENCE: "HLSEQUE\n", without kind to nonce, and then as a snapshot)
//	8  nonce of SEQUENCE
//	8  number
//	8  kind
//	8  checksum that ends the entry before it, or SEQUENCE
//	8  number of the newest snapshot, itself included; 0: SEQUENCE
//	8  number of the claim of whoever has put it
//	8  nonce, random
//	   claim:     8  epoch
//	   version:   56 version, as in a snapshot   8  1 if the head moves to it
//	   head:      8  version
//	   purge:     8  number of versions, followed by as many of   8  id
//	   snapshot:  8  epoch   8  newest claim   8  head   8 number, 8 claim, 8 nonce of the entry that moved it there
//	              8  newest purge   8  entries below this one have been removed
//	              8  number of versions, followed by as many of
//	                 8  id   8  checksum that ends the manifest   8  parent   8  its checksum
//	                 8  generation   8  checksum that ends the object   8  number of its entry
const (
	magicRoot  = "HLSEQUE\n"
	magicEntry = "HLENTRY\n"

	// maxSequence bounds entries and SEQUENCE; a snapshot of a million versions fits.
	maxSequence = 64 << 20
	standBytes  = 56
	// snapshotBytes is how long a snapshot of no version is. No entry but a purge is as long.
	snapshotBytes = envelopeBytes + 16*8
	entryDigits   = 16

	// snapshotEvery is how many entries come between snapshots, which a reader without a hint has to read. Where there are
	// many versions, which each snapshot holds, it is one for each snapshotShare of them, but no more than snapshotMost: each is
	// a request of such a reader.
	snapshotEvery = 8
	snapshotShare = 128
	snapshotMost  = 3 * snapshotEvery
)

// entryKind is what an entry changes.
type entryKind uint64

const (
	claimEntry entryKind = 1 + iota
	versionEntry
	headEntry
	purgeEntry
	snapshotEntry
)

func (k entryKind) String() string {
	if k < claimEntry || k > snapshotEntry {
		return fmt.Sprintf("entry of kind %d", uint64(k))
	}
	return [...]string{"claim", "version", "head", "purge", "snapshot"}[k-1]
}

// stand is a version that stands in the sequence.
type stand struct {
	version    Version
	sum        uint64 // checksum that ends its manifest
	parent     Version
	parentSum  uint64
	generation uint64 // of its object; 0: the object has a name of old
	object     uint64 // checksum that ends its object
	number     uint64 // of its entry; 0: it stands in SEQUENCE
}

// remoteEntry is one entry of a sequence.
type remoteEntry struct {
	root   uint64 // nonce of SEQUENCE
	number uint64
	kind   entryKind
	prev   uint64
	base   uint64
	claim  uint64
	nonce  uint64

	epoch    uint64       // of a claim
	stand    stand        // of a version
	moves    bool         // of a version: the head moves to it
	head     Version      // of a head
	gone     []Version    // of a purge
	snapshot *remoteState // of a snapshot: what was before it
}

// remoteState is what a sequence comes to.
type remoteState struct {
	root    uint64 // nonce of SEQUENCE; 0: there is none, and this is a remote of an older release, or a new one
	last    uint64 // number of the last entry
	lastSum uint64 // checksum that ends it
	before  uint64 // and the one before it
	base    uint64 // number of the newest snapshot

	epoch     uint64 // the newest of all claims
	claim     uint64 // number of the newest claim
	head      Version
	headSet   uint64 // number of the entry that has moved the head there
	headClaim uint64 // and its claim
	headNonce uint64 // and its nonce
	purged    uint64 // number of the newest purge
	trimmed   uint64 // entries below it have been removed
	versions  map[Version]stand
}

func (s *remoteState) clone() *remoteState {
	c := *s
	c.versions = maps.Clone(s.versions)
	return &c
}

// apply adds the next entry.
func (s *remoteState) apply(e *remoteEntry, sum uint64) {
	s.last, s.lastSum, s.before, s.base = e.number, sum, s.lastSum, e.base
	moved := false
	switch e.kind {
	case claimEntry:
		s.epoch, s.claim = max(s.epoch, e.epoch), e.number
	case versionEntry:
		st := e.stand
		st.number = e.number
		s.versions[st.version] = st
		if moved = e.moves; moved {
			s.head = st.version
		}
	case headEntry:
		s.head, moved = e.head, true
	case purgeEntry:
		for _, v := range e.gone {
			delete(s.versions, v)
		}
		s.purged = e.number
	case snapshotEntry:
		s.trimmed = e.snapshot.trimmed
	}
	if moved {
		s.headSet, s.headClaim, s.headNonce = e.number, e.claim, e.nonce
	}
}

func (s *remoteState) append(b []byte) []byte {
	b = appendUint64s(b, s.epoch, s.claim, uint64(s.head), s.headSet, s.headClaim, s.headNonce, s.purged, s.trimmed, uint64(len(s.versions)))
	for _, v := range slices.Sorted(maps.Keys(s.versions)) {
		b = s.versions[v].append(b)
	}
	return b
}

func (st stand) append(b []byte) []byte {
	return appendUint64s(b, uint64(st.version), st.sum, uint64(st.parent), st.parentSum, st.generation, st.object, st.number)
}

func (r *reader) stand() stand {
	return stand{Version(r.uint64()), r.uint64(), Version(r.uint64()), r.uint64(), r.uint64(), r.uint64(), r.uint64()}
}

// state returns the snapshot that follows, of a sequence up to number last.
func (r *reader) state(root, last uint64) *remoteState {
	s := &remoteState{root: root, last: last, base: last, epoch: r.uint64(), claim: r.uint64(), head: Version(r.uint64()),
		headSet: r.uint64(), headClaim: r.uint64(), headNonce: r.uint64(), purged: r.uint64(), trimmed: r.uint64()}
	n := r.count(standBytes)
	s.versions = make(map[Version]stand, n)
	for range n {
		st := r.stand()
		s.versions[st.version] = st
	}
	if _, ok := s.versions[s.head]; s.head != 0 && !ok {
		r.fail("the head is version %d, which does not stand", s.head)
	}
	return s
}

func encodeRoot(s *remoteState) []byte {
	return wrap(magicRoot, 1, s.append(appendUint64s(nil, s.root)))
}

func decodeRoot(name string, b []byte) (*remoteState, error) {
	payload, _, err := unwrap(name, magicRoot, 1, b)
	if err != nil {
		return nil, err
	}
	r := newReader(name, payload)
	s := r.state(r.uint64(), 0)
	s.lastSum = envelopeSum(b)
	return s, r.done()
}

func encodeEntry(e *remoteEntry) []byte {
	b := appendUint64s(nil, e.root, e.number, uint64(e.kind), e.prev, e.base, e.claim, e.nonce)
	switch e.kind {
	case claimEntry:
		b = appendUint64s(b, e.epoch)
	case versionEntry:
		moves := uint64(0)
		if e.moves {
			moves = 1
		}
		b = appendUint64s(e.stand.append(b), moves)
	case headEntry:
		b = appendUint64s(b, uint64(e.head))
	case purgeEntry:
		b = appendUint64s(b, uint64(len(e.gone)))
		for _, v := range e.gone {
			b = appendUint64s(b, uint64(v))
		}
	case snapshotEntry:
		b = e.snapshot.append(b)
	}
	return wrap(magicEntry, 1, b)
}

// decodeEntry is total, like DecodeManifest.
func decodeEntry(name string, root, number uint64, b []byte) (*remoteEntry, error) {
	payload, _, err := unwrap(name, magicEntry, 1, b)
	if err != nil {
		return nil, err
	}
	r := newReader(name, payload)
	e := &remoteEntry{root: r.uint64(), number: r.uint64(), kind: entryKind(r.uint64()), prev: r.uint64(), base: r.uint64(), claim: r.uint64(), nonce: r.uint64()}
	switch e.kind {
	case claimEntry:
		e.epoch = r.uint64()
	case versionEntry:
		e.stand = r.stand()
		e.moves = r.uint64() == 1
	case headEntry:
		e.head = Version(r.uint64())
	case purgeEntry:
		for range r.count(8) {
			e.gone = append(e.gone, Version(r.uint64()))
		}
	case snapshotEntry:
		e.snapshot = r.state(e.root, e.number)
	default:
		r.fail("an %v, which this release does not know", e.kind)
	}
	if e.root != root || e.number != number || e.base > number {
		r.fail("is entry %d of sequence %016x, upon the snapshot %d", e.number, e.root, e.base)
	}
	return e, r.done()
}
