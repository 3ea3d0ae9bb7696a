package checkpoint

import (
	"context"
	"errors"
	"io/fs"
)

// HINT tells readers where the end of the sequence was a short while ago, and what the entries up to there come to, so that
// they do not have to search. It is no part of the truth (J10): it is put without any condition, it may be old, missing or
// damaged, and a reader believes it only if the entry that it ends at is there and has the checksum that it says. In the
// envelope of the package comment, with the magic "HLHINT\n\n" and format 1:
//
//	0   16  store id
//	16   8  nonce of SEQUENCE
//	24   8  number of the last entry   8  the checksum that ends it   8  and that of the one before
//	48   8  number of the newest snapshot
//	56      what the entries up to the last one come to, as in a snapshot
const (
	hintName  = "HINT"
	magicHint = "HLHINT\n\n"

	// hintShare is how many versions there are for each entry that may come before the hint is put again: it holds them all.
	hintShare = 256
)

func encodeHint(id Identity, s *remoteState) []byte {
	b := append([]byte(nil), id.StoreID[:]...)
	return wrap(magicHint, 1, s.append(appendUint64s(b, s.root, s.last, s.lastSum, s.before, s.base)))
}

// decodeHint is total, like DecodeManifest.
func decodeHint(b []byte) (store [16]byte, s *remoteState, err error) {
	payload, _, err := unwrap(hintName, magicHint, 1, b)
	if err != nil {
		return store, nil, err
	}
	r := newReader(hintName, payload)
	copy(store[:], r.bytes(uint64(len(store))))
	root, last, lastSum, before, base := r.uint64(), r.uint64(), r.uint64(), r.uint64(), r.uint64()
	s = r.state(root, last)
	s.lastSum, s.before, s.base = lastSum, before, base
	if root == 0 || last == 0 || base > last {
		r.fail("entry %d of sequence %016x, upon the snapshot %d", last, root, base)
	}
	return store, s, r.done()
}

// readHint returns the hint of a store, nil when there is none that is of use.
func readHint(ctx context.Context, remote Remote) (store [16]byte, s *remoteState, err error) {
	data, err := getAll(ctx, remote, hintName, maxSequence)
	if err == nil {
		store, s, err = decodeHint(data)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFormat) {
		return store, nil, nil
	}
	return store, s, err
}

// PutHint tells readers where the sequence ends, if enough has come since they were told. It is for whenever nobody waits: an
// upload does not need it.
func (m *Mirror) PutHint(ctx context.Context) error {
	end, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	s := m.state
	if s.root == 0 || s.last == 0 || s.last == m.hinted || s.last > m.hinted && s.last-m.hinted < 1+uint64(len(s.versions))/hintShare {
		return nil
	}
	if err := m.put(ctx, hintName, encodeHint(m.dir.id, s)); err != nil {
		return err
	}
	m.hinted = s.last
	return nil
}
