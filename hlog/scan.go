package hlog

import (
	"cmp"
	"context"

	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Scan calls fn once for every key that has a value, in no particular order, until fn returns false. A key that has a
// value all the while is visited exactly once, with a value that it had during the scan; one that is set or deleted
// meanwhile may be visited or not. key and value are valid until fn returns and must not be changed. fn may use the
// store.
//
// It reads the log from its beginning, not the index: the time it takes follows the length of the log, and it needs
// little memory: besides MemoryBytes a 32nd of it, at least 1 MiB and at most 32 MiB. ErrRestored when the store is restored meanwhile, ErrCorrupt when log is damaged; ErrClosed; the error
// of ctx.
func (s *Store) Scan(ctx context.Context, fn func(key, value []byte) bool) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	x := s.NewSession()
	defer x.Close()
	restores, err := x.awaitRestores()
	if err != nil {
		return err
	}
	defer s.kickMaintenance() // for the files that nothing else needs, and for demotions that it has kept from their work
	t := s.cold.beginScan()
	defer s.cold.endScan(t)
	hold, to := s.hold("a scan")
	defer hold.Release()
	sc := &scanner{x: x, top: to, fn: fn, value: make([]byte, 0, initialScratch)}
	sc.probes = s.log.NewProber(to)
	sc.probes.Limit, sc.probes.Reads = s.scanProbes(), s.counters.coldReads
	defer sc.probes.Close()
	w := s.log.NewWalker()
	defer w.Close()
	w.Prepare = x.prepare
	for _, r := range hold.Log(t.end(), to) {
		err := w.Walk(ctx, r.Start, min(r.End, to), func(a word.Address, rec record.Bytes, sh record.Shape, memory bool) (bool, error) {
			if err := s.scannable(restores); err != nil {
				return false, err
			}
			full, err := sc.visit(a, rec, sh, memory)
			if full && err == nil {
				err = sc.flush(ctx)
			}
			return !sc.ended, err
		})
		if sc.ended {
			return nil
		}
		if err != nil {
			return cmp.Or(s.scannable(restores), err)
		}
	}
	err = sc.flush(ctx)
	if err == nil && t != nil && !sc.ended {
		err = sc.overTier(ctx, t, restores)
	}
	return cmp.Or(s.scannable(restores), err)
}

// A scan gives its probes more memory than walks do otherwise (reclog.ProbeBytes) where there is more, or each would take a read
// of its own in a long log: one part in scanProbeShare of the memory of the store, besides that, but at most maxScanProbes.
const (
	scanProbeShare = 32
	maxScanProbes  = 32 << 20
)

// scanProbes returns how many bytes the probes of a scan may take.
func (s *Store) scanProbes() int {
	return int(min(max(s.opts.MemoryBytes/scanProbeShare, reclog.ProbeBytes), maxScanProbes))
}

// overTier visits what the tier has and the log below top has nothing of. No entry that leads to the log of the scan is
// cleared meanwhile (T33).
func (c *scanner) overTier(ctx context.Context, t *tier, restores uint64) error {
	begin := t.end()
	err := t.over(ctx, func(key, value []byte) (bool, error) {
		if err := c.x.store.scannable(restores); err != nil {
			return false, err
		}
		at, where, err := c.newest(key, word.Address(begin))
		switch {
		case err != nil || where == inMemory:
			return true, err
		case uint64(at) < begin:
			c.ended = !c.fn(key, value)
		case c.probes.AddBelow(at, begin, key, value):
			err = c.flush(ctx)
		}
		return !c.ended, err
	})
	if err != nil || c.ended {
		return err
	}
	return c.flush(ctx)
}

// scannable returns why a scan that began after so many restores cannot go on.
func (s *Store) scannable(restores uint64) error {
	if s.counters.restores.Load() != restores {
		return ErrRestored
	}
	return s.check()
}

// awaitRestores waits until no restore goes on and returns how many there have been.
func (s *Session) awaitRestores() (restores uint64, err error) {
	for {
		restores = s.store.counters.restores.Load()
		if _, err := s.enter(); err != nil {
			return 0, err
		}
		s.guard.Exit()
		if s.store.counters.restores.Load() == restores {
			return restores, nil
		}
	}
}

// hold keeps the log as it is now from being collected, and returns its end: every record below that is complete.
func (s *Store) hold(reason string) (h *ledger.Hold, to uint64) {
	h = s.ledger.Hold(0, reason)
	to = s.log.Tail()
	s.epochs.Synchronize()
	return h, to
}

// scanner visits those records of the log below top that are the newest of their keys there.
type scanner struct {
	x      *Session
	top    uint64
	fn     func(key, value []byte) bool
	value  []byte
	probes reclog.Prober
	ended  bool // fn has returned false
}

// visit gives the record at a to fn if it is the newest of its key below top, and alive; or holds it back when that
// takes reading. full asks for a flush.
func (c *scanner) visit(a word.Address, rec record.Bytes, sh record.Shape, memory bool) (full bool, err error) {
	key := rec.Key(sh)
	at, where, err := c.newest(key, a)
	switch {
	case err != nil || at < a:
		return false, err
	case where == inMemory && at == a:
		if c.value != nil {
			c.ended = !c.fn(key, c.value)
		}
		return false, nil
	case where == inMemory:
		return false, nil
	}
	if memory { // copied from memory, evicted since: what is on disk is final
		if c.x.cold == nil {
			c.x.cold = c.x.log.NewReader()
		}
		if rec, sh, err = c.x.readCold(a, passing); err != nil {
			return false, err
		}
	}
	if rec.State().Tombstone() {
		return false, nil
	}
	if at > a {
		return c.probes.Add(a, at, rec.Key(sh), rec.Value(sh)), nil
	}
	c.ended = !c.fn(rec.Key(sh), rec.Value(sh))
	return false, nil
}

// flush visits what was held back.
func (c *scanner) flush(ctx context.Context) error {
	return c.probes.Answer(ctx, func(q *reclog.Probe) (bool, error) {
		if q.Newest {
			c.ended = !c.fn(c.probes.KeyOf(q), c.probes.ValueOf(q))
		}
		return !c.ended, nil
	})
}

// place is where a chain was followed to.
type place uint8

const (
	inMemory place = iota
	onDisk
)

// newest follows the chain of key in memory to its newest record below top, not looking below a. There it copies the
// value into c.value, nil for a tombstone. Else it returns where the chain leaves memory.
func (c *scanner) newest(key []byte, a word.Address) (word.Address, place, error) {
	s := c.x.store
	h := s.hash(key)
	for {
		if _, err := c.x.enter(); err != nil {
			return 0, 0, err
		}
		_, e, status := s.index().Find(h)
		stop := max(s.log.Head(), uint64(a))
		at, p, ok := c.x.log.Find(e.Address(), key, stop)
		for ok && uint64(at) >= c.top { // written since the scan began
			at, p, ok = c.x.log.Find(record.LinkAt(p).Prev(), key, stop)
		}
		if ok {
			value, x := record.AppendValue(c.value[:0], at, p)
			switch {
			case x.State().Tombstone():
				c.value = nil
			case value == nil:
				c.value = []byte{}
			default:
				c.value = value
			}
		}
		c.x.guard.Exit()
		switch {
		case ok:
			return at, inMemory, nil
		case status == index.NeedLoad:
			if err := s.loadIndex(h); err != nil {
				return 0, 0, err
			}
		default:
			return at, onDisk, nil
		}
	}
}
