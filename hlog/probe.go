package hlog

import (
	"context"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Whether a record on disk is the newest of its key can only be told by following the chain down to it. Walks over the
// log (Scan, Compact) collect such questions and answer many at a time, so that the reads overlap.

// probeBatch is how many records a walk holds back, and probeBytes how much of them, before it follows their chains.
const (
	probeBatch = 512
	probeBytes = 1 << 20
	// probeDepth is how many reads of a walk are under way at a time.
	probeDepth = 128
)

// probe asks whether the record at a is the newest of its key: its chain leaves memory at from, above a.
type probe struct {
	a, from word.Address
	rec     record.Bytes // a copy
	sh      record.Shape
	key     []byte // of rec
	value   []byte // of a cold record, which is no record of the log: then rec is none, and a is what the log begins behind
	newest  bool   // the answer
	err     error  // or why there is none
}

// cold reports whether q asks whether the log has nothing of a key.
func (q *probe) cold() bool { return q.rec == nil }

// prober collects probes. It belongs to one goroutine, which closes it.
type prober struct {
	log    *reclog.Log
	top    uint64 // records from here on do not count
	skip   func(a word.Address, rec record.Bytes) bool
	probes []probe
	arena  []byte
	fetch  *reclog.Fetcher
	reads  *xsync.Counter
}

// add holds a record back; full reports that it is time to answer.
func (p *prober) add(a, from word.Address, rec record.Bytes, sh record.Shape) (full bool) {
	start := len(p.arena)
	p.arena = append(p.arena, rec...)
	rec = record.Bytes(p.arena[start:])
	p.probes = append(p.probes, probe{a: a, from: from, rec: rec, sh: sh, key: rec.Key(sh)})
	return p.full()
}

func (p *prober) full() bool { return len(p.probes) >= probeBatch || len(p.arena) >= probeBytes }

// addCold holds a record of the tier back, to ask whether the log, which begins at begin, has nothing of its key: the chain
// leaves memory at from, at begin or above.
func (p *prober) addCold(from word.Address, begin uint64, key, value []byte) (full bool) {
	start := len(p.arena)
	p.arena = append(append(p.arena, key...), value...)
	b := p.arena[start:]
	p.probes = append(p.probes, probe{a: word.Address(begin - 1), from: from, key: b[:len(key):len(key)], value: b[len(key):]})
	return p.full()
}

// answer answers all probes and returns them. They are valid until the next add.
func (p *prober) answer(ctx context.Context) ([]probe, error) {
	done := p.probes
	p.probes, p.arena = p.probes[:0], p.arena[:0]
	if len(done) == 0 {
		return nil, ctx.Err()
	}
	if p.fetch == nil {
		p.fetch = p.log.NewFetcher(probeDepth)
	}
	if err := p.fetch.Open(); err != nil {
		return done, err
	}
	for i := range done {
		if q := &done[i]; q.from > q.a {
			p.fetch.Want(q.from, i)
		} else {
			q.newest = q.from == q.a
		}
	}
	answers := answering{p, done}
	for p.fetch.Flush(answers); p.fetch.Waiting(); p.fetch.Wait(answers, 1) {
		if ctx.Err() != nil {
			p.fetch.Drain()
			break
		}
	}
	return done, ctx.Err()
}

// answering are probes on their way.
type answering struct {
	*prober
	probes []probe
}

func (p answering) Fetched(at word.Address, tag int, rec record.Bytes, sh record.Shape, err error) {
	q := &p.probes[tag]
	next, more := word.None, false
	if err == nil {
		p.reads.Add(1)
		next, more, err = p.step(q, at, rec, sh)
	}
	switch {
	case err != nil:
		q.err = err
	case more:
		p.fetch.Want(next, tag)
	}
}

// step looks at the record at `+"`at`"+`, on the way down to q's; more tells that the chain has to be followed to next.
func (p *prober) step(q *probe, at word.Address, rec record.Bytes, sh record.Shape) (next word.Address, more bool, err error) {
	if uint64(at) < p.top && string(rec.Key(sh)) == string(q.key) && !p.skip(at, rec) {
		return word.None, false, nil
	}
	next = rec.Link().Prev()
	if next >= at {
		return word.None, false, p.log.Segments().Corrupt(uint64(at), "chain does not descend")
	}
	q.newest = next == q.a || q.cold() && next < q.a
	return next, next > q.a, nil
}

// follow answers one probe by itself.
func (p *prober) follow(r *reclog.Reader, q *probe) (newest bool, err error) {
	q.newest = q.from == q.a
	for at, more := q.from, q.from > q.a; more; {
		rec, sh, err := r.Read(at)
		if err != nil {
			return false, err
		}
		p.reads.Add(1)
		if at, more, err = p.step(q, at, rec, sh); err != nil {
			return false, err
		}
	}
	return q.newest, nil
}

// close gives back what answer has taken.
func (p *prober) close() {
	if p.fetch != nil {
		p.fetch.Rest()
	}
}

func skipNone(word.Address, record.Bytes) bool { return false }
