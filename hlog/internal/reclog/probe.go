package reclog

import (
	"cmp"
	"context"
	"slices"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Whether a record on disk is the newest of its key can only be told by following the chain down to it: an entry of the index
// does not say whose key it leads to, and keys that differ may even have the same hash. Walks over the log collect such
// questions in a Prober, which answers many at a time, in the order of the addresses that they have to look at: the more
// there are, the more of them one read answers.

const (
	// ProbeBytes is about how much memory a Prober takes for its probes before it follows their chains, unless its Limit says
	// otherwise.
	ProbeBytes = 1 << 20
	// probeOverhead is what a probe takes besides its key, with its place among the reads.
	probeOverhead = 56
)

// Probe asks whether the record at At is the newest of its key: its chain leaves memory at From, above At.
type Probe struct {
	At, From word.Address // of a record that is not in the log, At is what the log begins behind
	Newest   bool         // the answer

	key    uint32 // where the key begins in the arena,
	value  uint32 // where it ends, and the value begins if that is held back as well,
	end    uint32 // and where that ends
	below  bool   // it asks whether the log has nothing of a key
	failed bool   // there is no answer, because of Prober.err
}

// Prober collects probes. It belongs to one goroutine, which closes it.
type Prober struct {
	Top   uint64                                      // records from here on do not count,
	Skip  func(a word.Address, rec record.Bytes) bool // nor do those that Skip, if it is not nil, is true of
	Limit int                                         // bytes that probes may take; 0: ProbeBytes
	Reads *xsync.Counter                              // counts the records that were read, unless it is nil
	Sweep *Sweep                                      // what reads; made when it is needed

	log    *Log
	probes []Probe
	arena  []byte // of probes, and then of those that were answered
	wants  []Wanted
	next   []Wanted
	err    error // why probes have failed
}

// NewProber returns a Prober for which records at top or above do not count.
func (l *Log) NewProber(top uint64) Prober { return Prober{log: l, Top: top} }

// Add holds a record back; full reports that it is time to answer. value may be nil if the caller does without.
func (p *Prober) Add(a, from word.Address, key, value []byte) (full bool) {
	q := Probe{At: a, From: from, key: uint32(len(p.arena))}
	p.arena = append(p.arena, key...)
	q.value = uint32(len(p.arena))
	p.arena = append(p.arena, value...)
	q.end = uint32(len(p.arena))
	p.probes = append(p.probes, q)
	return p.Held() >= cmp.Or(p.Limit, ProbeBytes)
}

// AddBelow holds a record back that is not in the log, to ask whether the log, which begins at begin, has nothing of its key:
// the chain leaves memory at from, at begin or above.
func (p *Prober) AddBelow(from word.Address, begin uint64, key, value []byte) (full bool) {
	full = p.Add(word.Address(begin-1), from, key, value)
	p.probes[len(p.probes)-1].below = true
	return full
}

// Probes returns those that have not been answered, to be told what is known. Add and Answer end its use.
func (p *Prober) Probes() []Probe { return p.probes }

// Supersede says that the record is known not to be the newest of its key: nothing is read to find it out.
func (q *Probe) Supersede() { q.From = word.None }

// Held returns about how much memory the probes take that have not been answered.
func (p *Prober) Held() int { return len(p.arena) + probeOverhead*len(p.probes) }

// KeyOf and ValueOf return what a probe holds back. It is valid until Answer returns.
func (p *Prober) KeyOf(q *Probe) []byte   { return p.arena[q.key:q.value:q.value] }
func (p *Prober) ValueOf(q *Probe) []byte { return p.arena[q.value:q.end:q.end] }

// Answer answers all probes and tells fn of each, in the order in which they were held back, until it returns false or an
// error. fn must not add others.
func (p *Prober) Answer(ctx context.Context, fn func(q *Probe) (more bool, err error)) error {
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
func (p *Prober) search(ctx context.Context) error {
	p.wants = p.wants[:0]
	for i := range p.probes {
		if q := &p.probes[i]; q.From > q.At {
			p.wants = append(p.wants, Wanted{At: q.From, Tag: int32(i)})
		} else {
			q.Newest = q.From == q.At
		}
	}
	if p.Sweep == nil {
		p.Sweep = p.log.NewSweep()
	}
	for len(p.wants) > 0 {
		slices.SortFunc(p.wants, func(a, b Wanted) int { return cmp.Compare(a.At, b.At) })
		p.next = p.next[:0]
		if err := p.Sweep.Read(ctx, p.wants, p.swept); err != nil {
			return err
		}
		p.wants, p.next = p.next, p.wants
	}
	return nil
}

// swept is told of a record that a probe has wanted.
func (p *Prober) swept(w Wanted, rec record.Bytes, sh record.Shape, err error) {
	q := &p.probes[w.Tag]
	next, more := word.None, false
	if err == nil {
		if p.Reads != nil {
			p.Reads.Inc()
		}
		next, more, err = p.step(q, p.KeyOf(q), w.At, rec, sh)
	}
	switch {
	case err != nil:
		q.failed = true
		p.err = cmp.Or(p.err, err)
	case more:
		p.next = append(p.next, Wanted{At: next, Tag: w.Tag})
	}
}

// step looks at the record at the address at, on the way down to q's; more tells that the chain has to be followed to next.
func (p *Prober) step(q *Probe, key []byte, at word.Address, rec record.Bytes, sh record.Shape) (next word.Address, more bool, err error) {
	if uint64(at) < p.Top && string(rec.Key(sh)) == string(key) && !p.skips(at, rec) {
		return word.None, false, nil
	}
	next = rec.Link().Prev()
	if next >= at {
		return word.None, false, p.log.Segments().Corrupt(uint64(at), "chain does not descend")
	}
	q.Newest = next == q.At || q.below && next < q.At
	return next, next > q.At, nil
}

// Follow reports whether the record at a is the newest of key, whose chain leaves memory at from, by single reads.
func (p *Prober) Follow(key []byte, a, from word.Address) (newest bool, err error) {
	r := p.log.NewReader()
	q := Probe{At: a, From: from, Newest: from == a}
	for at, more := from, from > a; more; {
		rec, sh, err := r.Read(at)
		if err != nil {
			return false, err
		}
		if at, more, err = p.step(&q, key, at, rec, sh); err != nil {
			return false, err
		}
	}
	return q.Newest, nil
}

// Close gives back what answer has taken.
func (p *Prober) Close() {
	if p.Sweep != nil {
		p.Sweep.Rest()
	}
}

// skips reports whether a record does not count.
func (p *Prober) skips(a word.Address, rec record.Bytes) bool { return p.Skip != nil && p.Skip(a, rec) }
