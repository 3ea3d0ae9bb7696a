package hlog

import (
	"context"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Scan calls fn once for every key that has a value, in no particular order, until it returns false. Keys that have a
// value all the while are visited once, with a value they had during the scan; keys that are set or deleted
// meanwhile may or may not be. key and value are valid during the call. fn may use the store.
//
// It reads the log from its beginning, not the index: the cost follows the log, and no memory is needed for it.
func (s *Store) Scan(ctx context.Context, fn func(key, value []byte) bool) error {
	x := s.NewSession()
	defer x.Close()
	if _, err := x.enter(); err != nil {
		return err
	}
	x.guard.Exit()
	from, to, release := s.hold()
	defer release()
	sc := &scanner{x: x, top: to, value: make([]byte, 0, initialScratch)}
	w := walker{log: s.log, guard: s.epochs.Register()}
	defer w.guard.Release()
	for _, r := range s.changedSince(from, to) {
		err := w.walk(ctx, r.Start, min(r.End, to), func(a word.Address, rec image, sh shape, memory bool) (bool, error) {
			if err := s.check(); err != nil {
				return false, err
			}
			value, live, err := sc.visit(a, rec, sh, memory)
			if err != nil || !live {
				return true, err
			}
			return fn(rec.key(sh), value), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hold keeps the log from being collected from its beginning on, and returns its bounds: every record below to is
// complete.
func (s *Store) hold() (from, to uint64, release func()) {
	s.holdMu.Lock()
	from = s.log.begin.Load()
	s.holds[from]++
	s.holdMu.Unlock()
	to = s.log.tail.Load()
	s.epochs.Synchronize()
	return from, to, func() {
		s.holdMu.Lock()
		if s.holds[from]--; s.holds[from] == 0 {
			delete(s.holds, from)
		}
		s.holdMu.Unlock()
		s.kickMaintenance()
	}
}

// scanner tells which records of the log below top are the newest of their keys there.
type scanner struct {
	x     *Session
	top   uint64
	value []byte
}

// visit returns the value of the record at a if it is the newest of its key below top, and alive.
func (c *scanner) visit(a word.Address, rec image, sh shape, memory bool) (value []byte, live bool, err error) {
	key := rec.key(sh)
	newest, inMemory, err := c.newest(key, a)
	if err != nil || newest != a {
		return nil, false, err
	}
	if !inMemory {
		if memory { // copied from memory, evicted since: what is on disk is final
			if rec, sh, err = c.x.readCold(a); err != nil {
				return nil, false, err
			}
		}
		return rec.value(sh), !rec.state().Tombstone(), nil
	}
	return c.value, c.value != nil, nil
}

// newest returns the newest record of key below top, not looking below a. If it is in memory its value is copied into
// c.value, nil for a tombstone.
func (c *scanner) newest(key []byte, a word.Address) (at word.Address, inMemory bool, err error) {
	s := c.x.store
	h := s.hash(key)
	for {
		if _, err := c.x.enter(); err != nil {
			return 0, false, err
		}
		_, e, status := s.index().Find(h)
		at, p, ok := c.x.log.find(e.Address(), key, max(s.log.head.Load(), uint64(a)))
		for ok && uint64(at) >= c.top { // written since the scan began
			at, p, ok = c.x.log.find(linkAt(p).Prev(), key, max(s.log.head.Load(), uint64(a)))
		}
		if ok {
			value, st, _ := readValue(c.value[:0], p)
			if c.value = value; st.Tombstone() {
				c.value = nil
			} else if value == nil {
				c.value = []byte{}
			}
		}
		c.x.guard.Exit()
		switch {
		case ok:
			return at, true, nil
		case status == index.NeedLoad:
			if err := s.loadIndex(h); err != nil {
				return 0, false, err
			}
		case at <= a:
			return at, false, nil
		default:
			return c.newestCold(key, at, a)
		}
	}
}

// newestCold is newest where the chain leaves memory at from.
func (c *scanner) newestCold(key []byte, from, a word.Address) (word.Address, bool, error) {
	if c.x.cold == nil {
		c.x.cold = &coldReader{log: c.x.log}
	}
	for from > a {
		rec, sh, err := c.x.readCold(from)
		if err != nil {
			return 0, false, err
		}
		if uint64(from) < c.top && string(rec.key(sh)) == string(key) {
			return from, false, nil
		}
		from = rec.link().Prev()
	}
	return from, false, nil
}
