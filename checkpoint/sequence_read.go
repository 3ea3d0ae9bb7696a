package checkpoint

import (
	"context"
	"errors"
	"io/fs"
	"math/bits"
)

// Entries that nobody needs are removed, from the oldest on (J8). So that a reader finds the end of the sequence
// nevertheless, without a listing, some stay: number n is kept when entries up to below are removed if n is a power of two
// or what remains of below when some of its low bits are cleared. A reader that looks for the last number e finds the
// highest power of two that exists, and from there on e bit by bit; each number that it finds is e with low bits cleared. Of
// these numbers, those below `below` are below with low bits cleared.

// keptEntry reports whether entry n stays when the entries up to below, which is above it, are removed.
func keptEntry(n, below uint64) bool {
	low := bits.TrailingZeros64(n)
	return n&(n-1) == 0 || below>>low<<low == n
}

const (
	// firstTrim is how long a sequence is at least when entries are removed. Whoever has put an entry below farEntry, which
	// is kept, sees by it whether anything may have been removed.
	firstTrim = 32
	farEntry  = 16
)

// witness returns the number of the entry that is removed before entry n is: the largest odd one below it. No odd one is
// kept, and entries are removed in order.
func witness(n uint64) uint64 { return (n - 2) | 1 }

// getEntry returns an entry and the checksum that ends it; nil when there is none.
func (m *Mirror) getEntry(ctx context.Context, root, n uint64) (e *remoteEntry, sum uint64, err error) {
	name := m.names.entry(root, n)
	err = m.retry(ctx, func() error {
		data, err := getAll(ctx, m.remote, name, maxSequence)
		if err == nil {
			e, err = decodeEntry(name, root, n, data)
		}
		if err == nil {
			sum = envelopeSum(data)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	return e, sum, err
}

// readRoot returns what SEQUENCE holds, nil when there is none.
func (m *Mirror) readRoot(ctx context.Context) (s *remoteState, err error) {
	name := m.names.root()
	err = m.retry(ctx, func() error {
		data, err := getAll(ctx, m.remote, name, maxSequence)
		if err == nil {
			s, err = decodeRoot(name, data)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return s, err
}

// readSequence returns what the sequence comes to, nil when there is none. It lists nothing (J2).
func (m *Mirror) readSequence(ctx context.Context) (*remoteState, error) {
	var missing, before, nonce uint64
	for range 100 {
		root, err := m.readRoot(ctx)
		if root == nil || err != nil {
			return nil, err
		}
		nonce = root.root
		end, err := m.findEnd(ctx, nonce)
		if err != nil {
			return nil, err
		}
		s, gap, err := m.readUpTo(ctx, root, end)
		if s != nil || err != nil {
			return s, err
		}
		if missing = gap; gap != 0 && gap == before {
			break // nobody is at work: it is not that others have gone on
		}
		before = gap
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return nil, corrupt(m.names.entry(nonce, missing), 0, "missing, or not the one that the next follows")
}

// findEnd returns the number of what seems to be the last entry, 0 for SEQUENCE.
func (m *Mirror) findEnd(ctx context.Context, root uint64) (end uint64, err error) {
	exists := func(n uint64) bool {
		if err != nil {
			return false
		}
		var e *remoteEntry
		e, _, err = m.getEntry(ctx, root, n)
		if errors.Is(err, ErrCorrupt) {
			err = nil // it is there
			return true
		}
		return e != nil
	}
	for n := uint64(1); n < 1<<62 && exists(n); n *= 2 {
		end = n
	}
	for step := end / 2; step > 0; step /= 2 {
		if exists(end + step) {
			end += step
		}
	}
	return end, err
}

// readUpTo returns what the sequence comes to if entry end is its last one; nil when it is not, because others have gone
// on meanwhile, and then the number of an entry that is missing, if one is. What comes behind the end is looked for first,
// and then what would have been removed before it: if that is there, and each entry knows the one before, then nothing has
// been removed and put again (J3).
func (m *Mirror) readUpTo(ctx context.Context, root *remoteState, end uint64) (s *remoteState, gap uint64, err error) {
	for _, n := range []uint64{end + 2, end + 1} { // the first only shows damage
		if beyond, _, err := m.getEntry(ctx, root.root, n); beyond != nil || err != nil {
			return nil, n - 1, err
		}
	}
	if end == 0 {
		return root, 0, nil
	}
	if end < farEntry {
		if far, _, err := m.getEntry(ctx, root.root, farEntry); far != nil || err != nil {
			return nil, 0, err
		}
	}
	last, _, err := m.getEntry(ctx, root.root, end)
	if last == nil || err != nil {
		return nil, end, err
	}
	from := max(last.base, 1)
	if end >= farEntry {
		from = min(from, witness(end))
	}
	s = root
	prev := uint64(0)
	if from == 1 {
		prev = root.lastSum
	}
	for n := from; n <= end; n++ {
		e, sum, err := m.getEntry(ctx, root.root, n)
		if e == nil || err != nil || prev != 0 && e.prev != prev {
			return nil, n, err
		}
		switch {
		case n == last.base:
			s = e.snapshot
			if s == nil {
				return nil, n, corrupt(m.names.entry(root.root, n), headerBytes, "is a %v, not a snapshot", e.kind)
			}
			s.lastSum, s.before = sum, prev
		case n > last.base:
			s.apply(e, sum)
		}
		prev = sum
	}
	return s, 0, nil
}
