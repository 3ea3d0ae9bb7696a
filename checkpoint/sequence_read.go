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
// highest power of two that exists, and from there on the bits of e, some at a time; each number that it finds is e with low
// bits cleared. Of these numbers, those below `below` are below with low bits cleared.

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

// searchBits is how many bits of the last number are found by one round of probes, which are under way together.
const searchBits = 4

// findEnd returns the number of what seems to be the last entry, 0 for SEQUENCE.
func (m *Mirror) findEnd(ctx context.Context, root uint64) (uint64, error) {
	return searchEnd(func(numbers []uint64) ([]bool, error) { return m.probe(ctx, root, numbers) })
}

// searchEnd returns the number of the last entry, 0 when there is none, by rounds of probes, which say which entries exist: one
// or two for the highest bit, and one for each searchBits bits below it.
func searchEnd(probe func(numbers []uint64) ([]bool, error)) (end uint64, err error) {
	high := 0 // bits that end has
	for all, look := true, 8; all && high < 48; look = 16 {
		powers := make([]uint64, look)
		for i := range powers {
			powers[i] = 1 << (high + i)
		}
		there, err := probe(powers)
		if err != nil {
			return 0, err
		}
		n := 0
		for n < len(there) && there[n] {
			n++
		}
		high, all = high+n, n == len(there)
	}
	if high == 0 {
		return 0, nil
	}
	end = 1 << (high - 1)
	for low := high - 1; low > 0; {
		bits := min(low, searchBits)
		low -= bits
		steps := make([]uint64, 1<<bits-1)
		for i := range steps {
			steps[i] = end + uint64(i+1)<<low
		}
		there, err := probe(steps)
		if err != nil {
			return 0, err
		}
		// Of those below the end some have been removed, but never the last one, which is the end with its low bits cleared.
		for i := len(steps) - 1; i >= 0; i-- {
			if there[i] {
				end = steps[i]
				break
			}
		}
	}
	return end, nil
}

// probe reports which of some entries exist, damaged ones included.
func (m *Mirror) probe(ctx context.Context, root uint64, numbers []uint64) ([]bool, error) {
	there := make([]bool, len(numbers))
	calls := make([]func() error, len(numbers))
	for i, n := range numbers {
		calls[i] = func() error {
			e, _, err := m.getEntry(ctx, root, n)
			damaged := errors.Is(err, ErrCorrupt)
			if there[i] = e != nil || damaged; damaged {
				return nil
			}
			return err
		}
	}
	return there, together(calls...)
}

// found is an entry as it was read, and the checksum that ends it; e is nil when there is none.
type found struct {
	e   *remoteEntry
	sum uint64
}

// getEntries returns the entries from..to, got at a time; rest are calls that are made beside them.
func (m *Mirror) getEntries(ctx context.Context, root, from, to uint64, rest ...func() error) ([]found, error) {
	entries := make([]found, to+1-from)
	for i := range entries {
		rest = append(rest, func() (err error) {
			entries[i].e, entries[i].sum, err = m.getEntry(ctx, root, from+uint64(i))
			return err
		})
	}
	return entries, together(rest...)
}

// readUpTo returns what the sequence comes to if entry end is its last one; nil when it is not, because others have gone
// on meanwhile, and then the number of an entry that is missing, if one is. What comes behind the end is looked for first,
// and then what would have been removed before it: if that is there, and each entry knows the one before, then nothing has
// been removed and put again (J3).
func (m *Mirror) readUpTo(ctx context.Context, root *remoteState, end uint64) (s *remoteState, gap uint64, err error) {
	ends, err := m.getEntries(ctx, root.root, max(end, 1), end+2) // what is two behind it only shows damage
	if err != nil {
		return nil, 0, err
	}
	var last *remoteEntry
	if end > 0 {
		last, ends = ends[0].e, ends[1:]
	}
	switch {
	case ends[1].e != nil:
		return nil, end + 1, nil
	case ends[0].e != nil:
		return nil, end, nil
	case end == 0:
		return root, 0, nil
	case last == nil:
		return nil, end, nil
	}
	var far *remoteEntry
	from := max(last.base, 1)
	var rest []func() error
	if end >= farEntry {
		from = min(from, witness(end))
	} else {
		rest = append(rest, func() (err error) {
			far, _, err = m.getEntry(ctx, root.root, farEntry)
			return err
		})
	}
	entries, err := m.getEntries(ctx, root.root, from, end, rest...)
	if far != nil || err != nil {
		return nil, 0, err
	}
	return m.fold(root, from, last.base, entries)
}

// fold returns what a sequence comes to after entries that begin with number from, the snapshot base among them, if that is
// not 0, which is SEQUENCE; nil when one is missing, or does not follow the one before it, and then its number.
func (m *Mirror) fold(root *remoteState, from, base uint64, entries []found) (s *remoteState, gap uint64, err error) {
	s = root.clone()
	prev := uint64(0)
	if from == 1 {
		prev = root.lastSum
	}
	for i, f := range entries {
		n := from + uint64(i)
		switch {
		case f.e == nil || prev != 0 && f.e.prev != prev:
			return nil, n, nil
		case n == base:
			if f.e.snapshot == nil {
				return nil, n, corrupt(m.names.entry(root.root, n), headerBytes, "is a %v, not a snapshot", f.e.kind)
			}
			s = f.e.snapshot
			s.lastSum, s.before = f.sum, f.e.prev
		case n > base:
			s.apply(f.e, f.sum)
		}
		prev = f.sum
	}
	return s, 0, nil
}
