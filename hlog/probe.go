package hlog

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Whether a record on disk is the newest of its key can only be told by following the chain down to it. Walks over the
// log (Scan, Compact) collect such questions and answer many at a time, so that the reads overlap.

// probeBatch is how many records a walk holds back, and probeBytes how much of them, before it follows their chains.
const (
	probeBatch = 512
	probeBytes = 1 << 20
)

// probe asks whether the record at a is the newest of its key: its chain leaves memory at from, above a.
type probe struct {
	a, from word.Address
	rec     image // a copy
	sh      shape
	newest  bool  // the answer
	err     error // or why there is none
}

// prober collects probes. It belongs to one goroutine.
type prober struct {
	log     *hybridLog
	top     uint64 // records from here on do not count
	skip    func(a word.Address, rec image) bool
	probes  []probe
	arena   []byte
	readers []*coldReader
	reads   *atomic.Uint64
}

// add holds a record back; full reports that it is time to answer.
func (p *prober) add(a, from word.Address, rec image, sh shape) (full bool) {
	start := len(p.arena)
	p.arena = append(p.arena, rec...)
	p.probes = append(p.probes, probe{a: a, from: from, rec: image(p.arena[start:]), sh: sh})
	return len(p.probes) >= probeBatch || len(p.arena) >= probeBytes
}

// answer answers all probes and returns them. They are valid until the next add.
func (p *prober) answer(ctx context.Context) ([]probe, error) {
	n := min(readersPerCall, len(p.probes))
	for len(p.readers) < n {
		p.readers = append(p.readers, &coldReader{log: p.log})
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(p.probes)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				q := &p.probes[i]
				q.newest, q.err = p.follow(p.readers[w], q)
			}
		})
	}
	wg.Wait()
	done := p.probes
	p.probes, p.arena = p.probes[:0], p.arena[:0]
	return done, ctx.Err()
}

// follow reads the chain of q down to q's record or to a newer one of its key.
func (p *prober) follow(r *coldReader, q *probe) (newest bool, err error) {
	at := q.from
	for at > q.a {
		rec, sh, err := r.read(at)
		if err != nil {
			return false, err
		}
		p.reads.Add(1)
		if uint64(at) < p.top && string(rec.key(sh)) == string(q.rec.key(q.sh)) && !p.skip(at, rec) {
			return false, nil
		}
		if rec.link().Prev() >= at {
			return false, p.log.segments.corrupt(uint64(at), "chain does not descend")
		}
		at = rec.link().Prev()
	}
	return at == q.a, nil
}

func skipNone(word.Address, image) bool { return false }
