package hlog

import (
	"cmp"
	"context"
	"slices"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Whether a record on disk is the newest of its key can only be told by following the chain down to it: an entry of the index
// does not say whose key it leads to, and keys that differ may even have the same hash. Walks over the log (Scan, Compact, a
// demotion) collect such questions and answer many at a time, in the order of the addresses that they have to look at: the
// more there are, the more of them one read answers.

const (
	// probeBytes is about how much memory a walk gives to probes before it follows their chains. A scan gives them more where
	// there is more, or each would take a read of its own in a long log: one part in scanProbeShare of the memory of the
	// store, besides that, but at most maxScanProbes.
	probeBytes     = 1 << 20
	scanProbeShare = 32
	maxScanProbes  = 32 << 20
	// probeOverhead is what a probe takes besides its key, with its place among the reads.
	probeOverhead = 56
)

// probe asks whether the record at a is the newest of its key: its chain leaves memory at from, above a.
type probe struct {
	a, from word.Address // of a cold record, which is no record of the log, a is what the log begins behind
	key     uint32       // where the key begins in the arena,
	value   uint32       // where it ends, and the value begins if that is held back as well,
	end     uint32       // and where that ends
	cold    bool         // q asks whether the log has nothing of a key
	newest  bool         // the answer
	failed  bool         // there is none, because of prober.err
}

// scanProbes returns how many bytes the probes of a scan may take.
func (s *Store) scanProbes() int {
	return int(min(max(s.opts.MemoryBytes/scanProbeShare, probeBytes), maxScanProbes))
}

// prober collects probes. It belongs to one goroutine, which closes it.
type prober struct {
	log    *reclog.Log
	top    uint64 // records from here on do not count
	skip   func(a word.Address, rec record.Bytes) bool
	limit  int // bytes that probes may take; 0: probeBytes
	probes []probe
	arena  []byte // of probes, and then of those that were answered
	wants  []reclog.Wanted
	next   []reclog.Wanted
	err    error // why probes have failed
	sweep  *reclog.Sweep
	reads  *xsync.Counter // counts the records that were read
}

// add holds a record back; full reports that it is time to answer. value may be nil if the caller does without.
func (p *prober) add(a, from word.Address, key, value []byte) (full bool) {
	q := probe{a: a, from: from, key: uint32(len(p.arena))}
	p.arena = append(p.arena, key...)
	q.value = uint32(len(p.arena))
	p.arena = append(p.arena, value...)
	q.end = uint32(len(p.arena))
	p.probes = append(p.probes, q)
	return p.held() >= cmp.Or(p.limit, probeBytes)
}

// addCold holds a record of the tier back, to ask whether the log, which begins at begin, has nothing of its key: the chain
// leaves memory at from, at begin or above.
func (p *prober) addCold(from word.Address, begin uint64, key, value []byte) (full bool) {
	full = p.add(word.Address(begin-1), from, key, value)
	p.probes[len(p.probes)-1].cold = true
	return full
}

// held returns about how much memory the probes take that have not been answered.
func (p *prober) held() int { return len(p.arena) + probeOverhead*len(p.probes) }

// keyOf and valueOf return what a probe holds back. They are valid until answer returns.
func (p *prober) keyOf(q *probe) []byte   { return p.arena[q.key:q.value:q.value] }
func (p *prober) valueOf(q *probe) []byte { return p.arena[q.value:q.end:q.end] }

// answer answers all probes and tells fn of each, in the order in which they were held back, until it returns false or an
// error. fn must not add others.
func (p *prober) answer(ctx context.Context, fn func(q *probe) (more bool, err error)) error {
	defer func() { p.probes, p.arena, p.err = p.probes[:0], p.arena[:0], nil }()
	if err := p.search(ctx); err != nil {
		return err
	}
	for i := range p.probes {
		q := &p.probes[i]
		if q.failed {
			return p.err
		}
		if more, err := fn(q); err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}

// search follows the chains of all probes, a record of each at a time.
func (p *prober) search(ctx context.Context) error {
	p.wants = p.wants[:0]
	for i := range p.probes {
		if q := &p.probes[i]; q.from > q.a {
			p.wants = append(p.wants, reclog.Wanted{At: q.from, Tag: int32(i)})
		} else {
			q.newest = q.from == q.a
		}
	}
	if p.sweep == nil {
		p.sweep = p.log.NewSweep()
	}
	for len(p.wants) > 0 {
		slices.SortFunc(p.wants, func(a, b reclog.Wanted) int { return cmp.Compare(a.At, b.At) })
		p.next = p.next[:0]
		if err := p.sweep.Read(ctx, p.wants, p.swept); err != nil {
			return err
		}
		p.wants, p.next = p.next, p.wants
	}
	return nil
}

// swept is told of a record that a probe has wanted.
func (p *prober) swept(w reclog.Wanted, rec record.Bytes, sh record.Shape, err error) {
	q := &p.probes[w.Tag]
	next, more := word.None, false
	if err == nil {
		if p.reads != nil {
			p.reads.Inc()
		}
		next, more, err = p.step(q, p.keyOf(q), w.At, rec, sh)
	}
	switch {
	case err != nil:
		q.failed = true
		p.err = cmp.Or(p.err, err)
	case more:
		p.next = append(p.next, reclog.Wanted{At: next, Tag: w.Tag})
	}
}

// step looks at the record at the address at, on the way down to q's; more tells that the chain has to be followed to next.
func (p *prober) step(q *probe, key []byte, at word.Address, rec record.Bytes, sh record.Shape) (next word.Address, more bool, err error) {
	if uint64(at) < p.top && string(rec.Key(sh)) == string(key) && !p.skip(at, rec) {
		return word.None, false, nil
	}
	next = rec.Link().Prev()
	if next >= at {
		return word.None, false, p.log.Segments().Corrupt(uint64(at), "chain does not descend")
	}
	q.newest = next == q.a || q.cold && next < q.a
	return next, next > q.a, nil
}

// follow reports whether the record at a is the newest of key, whose chain leaves memory at from, by single reads.
func (p *prober) follow(key []byte, a, from word.Address) (newest bool, err error) {
	r := p.log.NewReader()
	q := probe{a: a, from: from, newest: from == a}
	for at, more := from, from > a; more; {
		rec, sh, err := r.Read(at)
		if err != nil {
			return false, err
		}
		if at, more, err = p.step(&q, key, at, rec, sh); err != nil {
			return false, err
		}
	}
	return q.newest, nil
}

// close gives back what answer has taken.
func (p *prober) close() {
	if p.sweep != nil {
		p.sweep.Rest()
	}
}

func skipNone(word.Address, record.Bytes) bool { return false }
