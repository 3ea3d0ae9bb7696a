package hlog

import (
	"context"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// picker finds, among the records of the log that it is shown, those that are the newest of their keys, for a compaction or a
// demotion. It holds compactor.running.
type picker struct {
	s      *Store
	x      *Session
	probes reclog.Prober
	pace   *pace

	questions []index.Question
	// take is called for each of them. seen is where its chain left memory when it was found to be the newest of its key,
	// the record itself if it did not.
	take func(a, seen word.Address, rec record.Bytes, sh record.Shape) error
}

// newPicker returns a picker without take, which is closed when it is done. It rests unless there is haste.
func (s *Store) newPicker() picker {
	c := &s.compactor
	if c.reads == nil {
		c.reads, c.sweep = s.log.NewReadAhead(), s.log.NewSweep()
	}
	pace := s.newPace(nil)
	c.sweep.Turn = pace.turn
	probes := s.log.NewProber(uint64(word.MaxAddress))
	probes.Sweep = c.sweep
	x := s.newSession()
	x.unpaced = true
	return picker{s: s, x: x, probes: probes, pace: pace}
}

func (p *picker) close() {
	p.s.compactor.reads.Stop()
	p.probes.Close()
	p.x.Close()
}

// walker returns a walker over the log, which the caller closes.
func (p *picker) walker() *reclog.Walker {
	w := p.s.log.NewWalker()
	w.Prepare, w.Reads = p.x.prepare, p.s.compactor.reads
	return w
}

// visit takes the record at a if it is the newest of its key, or holds it back when that takes reading.
func (p *picker) visit(ctx context.Context, a word.Address, rec record.Bytes, sh record.Shape) error {
	at, err := p.leaves(rec.Key(sh), a)
	switch {
	case err != nil || at < a:
		return err // superseded
	case at == a:
		return p.take(a, a, rec, sh)
	case p.probes.Add(a, at, rec.Key(sh), nil):
		return p.flush(ctx)
	}
	return nil
}

// flush takes what was held back and is the newest of its key. Most of it is not, so that only the keys were held back; the
// others are read again: what has a chain that leaves memory above it is on disk.
func (p *picker) flush(ctx context.Context) error {
	if err := p.ask(ctx); err != nil {
		return err
	}
	before := p.probes.Sweep.Reads()
	defer func() { p.s.counters.probeReads.Add(p.probes.Sweep.Reads() - before) }()
	r := p.s.log.NewReader()
	return p.probes.Answer(ctx, func(q *reclog.Probe) (bool, error) {
		if !q.Newest {
			return true, nil
		}
		rec, sh, err := r.Read(q.At)
		if err == nil {
			err = p.take(q.At, q.From, rec, sh)
		}
		return true, err
	})
}

// ask has the index on disk tell which of the records that were held back are dead (K7). It is far less to read than their chains.
func (p *picker) ask(ctx context.Context) error {
	probes := p.probes.Probes()
	p.questions = p.questions[:0]
	for i := range probes {
		if key := p.probes.KeyOf(&probes[i]); p.s.ownHash(len(key)) {
			p.questions = append(p.questions, index.Ask(p.s.hash(key), probes[i].At, int32(i)))
		}
	}
	if err := p.s.disk.Supersede(ctx, p.questions, p.pace.turn); err != nil {
		return err
	}
	for _, q := range p.questions {
		if q.Dead {
			probes[q.Tag].Supersede()
		}
	}
	return nil
}

// leaves returns a if the chain of key leads there in memory, an address below a if the key has a newer record there,
// and else where the chain leaves memory.
func (p *picker) leaves(key []byte, a word.Address) (word.Address, error) {
	h := p.s.hash(key)
	for {
		if _, err := p.x.enter(); err != nil {
			return 0, err
		}
		_, e, status := p.s.index().Find(h)
		at, _, ok := p.s.log.Find(e.Address(), key, p.s.log.Head())
		p.x.guard.Exit()
		switch {
		case status == index.NeedLoad:
			if err := p.s.loadIndex(h); err != nil {
				return 0, err
			}
		case ok && at != a:
			return word.None, nil
		default:
			return at, nil
		}
	}
}
