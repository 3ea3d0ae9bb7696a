package hlog

import (
	"context"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Session is a handle for one goroutine at a time: it is not safe for concurrent use. It saves the few nanoseconds that
// the methods of Store spend on finding one, and has Multi calls. Thousands of sessions may exist; one that is idle, or
// was forgotten, delays nobody, and the garbage collector reclaims one that was never closed.
type Session struct {
	store *Store
	log   *reclog.Log
	guard *epoch.Guard
	seed  hashing
	ops   *epoch.Tally // how many operations it was asked for: see operation
	phase sessionPhase

	cold      *reclog.Reader // made by the first read from disk
	cached    []byte         // a record out of the cache
	tiers     tierReader     // for keys that the log has nothing of
	asked     []byte         // the key that was looked for there
	answer    []byte         // the value that was found
	coldUse   coldUse        // of the record that findCold has returned
	staged    *staging       // borrowed by a Multi call that reads from disk
	insisting bool           // its update takes precedence
	restores  uint64         // that there had been before the update that takes precedence read the value
	published word.Address   // what the last attempt has published
	needed    int            // bytes that the last attempt found no room for
	scratch   []byte         // the value handed to an RMW callback
	rmw       modification   // of RMW, kept here so that it is not allocated
	word      uint64         // the value handed to an Update callback, when it is one word
	hashes    [multiWindow]uint64
	unit      *epoch.Guard // of the store's units, made by the first
	unpaced   bool         // it belongs to who makes room in the index
}

// sessionPhase is where a session is in its life.
type sessionPhase uint8

const (
	usable  sessionPhase = iota
	unbound              // it was made while the store was filled: see early.go, until an operation has to be done in the log
	ended                // it was closed
)

// NewSession returns a session. It may be called from any goroutine. On a closed store the session's operations return
// ErrClosed.
func (s *Store) NewSession() *Session {
	if s.unfilled() {
		g := s.epochs.Register()
		return &Session{store: s, guard: g, seed: s.seed, ops: g.Tally(), phase: unbound}
	}
	return s.newSession()
}

// newSession returns a session of a store that has a log, even if users may not use that yet.
func (s *Store) newSession() *Session {
	g := s.epochs.Register()
	return &Session{store: s, log: s.log, guard: g, seed: s.seed, ops: g.Tally()}
}

// bind makes a session that is not usable so, or says why that cannot be. It waits as long as the store is filled.
func (s *Session) bind() error {
	if s.phase == ended {
		return ErrClosed
	}
	if err := s.store.ready(context.Background()); err != nil {
		return err
	}
	s.log, s.phase = s.store.log, usable
	return nil
}

// operation is what a session counts. The methods that users call count, first of all: in the guard's tally, which
// nobody else writes, so that it takes neither a locked instruction nor a cache line of its own.
type operation int

const (
	opGet operation = iota
	opSet
	opDelete
	opUpdate
)

// count counts n operations.
func (s *Session) count(op operation, n int) { s.ops[op].AddAlone(uint64(n)) }

// Close gives the session back. Its operations return ErrClosed from then on; a unit that is under way has ended with it.
// The error is always nil, also of a second Close.
func (s *Session) Close() error {
	if s.phase != ended {
		s.phase = ended
		s.ops = new(epoch.Tally) // the guard's is another session's from now on, and what ends in ErrClosed is not counted
		s.guard.Release()
		if s.unit != nil {
			s.store.units.Release(s.unit)
		}
	}
	return nil
}

// enter begins an operation: the session is inside the epoch if the error is nil.
func (s *Session) enter() (control, error) {
	if s.phase != usable {
		if err := s.bind(); err != nil {
			return 0, err
		}
	}
	s.guard.Enter()
	if c := control(s.store.control.Load()); c.open() {
		return c, nil
	}
	return s.enterSlow()
}

// enterToWrite begins an operation that changes the key of hash h.
func (s *Session) enterToWrite(h uint64) (control, error) {
	c, err := s.enter()
	if err != nil || !c.contended() || s.insisting {
		return c &^ contendedBit, err
	}
	s.guard.Exit()
	s.deferTo(h)
	c, err = s.enter()
	return c &^ contendedBit, err
}

// enterSlow waits, outside the epoch, while the store is being restored (H6).
func (s *Session) enterSlow() (control, error) {
	for {
		s.guard.Exit()
		if err := s.store.waitOpen(); err != nil {
			return 0, err
		}
		s.guard.Enter()
		if c := control(s.store.control.Load()); c.open() {
			return c, nil
		}
	}
}

// outcome is what an attempt made inside the epoch came to.
type outcome uint8

const (
	done        outcome = iota
	again               // somebody else was faster, or holds the record
	needSpace           // no page is open at the tail
	needLoad            // the index block of the key is still on disk
	needFilters         // filters of the cold tier that are not in memory may tell that there is nothing to delete
)

// provide does, outside the epoch, what the next attempt needs. tries counts the attempts.
func (s *Session) provide(o outcome, h uint64, tries int) error {
	switch o {
	case needSpace:
		if s.unpaced {
			defer s.store.compactor.space.urgently()()
		}
		return s.log.WaitForSpace(s.needed)
	case needLoad:
		s.awaitRelief()
		return s.store.loadIndex(h)
	default:
		record.BackOff(tries)
		return nil
	}
}

func checkKey(key []byte) error {
	if len(key) == 0 {
		return ErrEmptyKey
	}
	if len(key) > word.MaxKey {
		return ErrTooLarge
	}
	return nil
}

// fits reports whether a page takes a record of such a key and value.
func (s *Session) fits(keyLen, valueLen int) bool {
	if s.log == nil {
		return reclog.Fits(s.store.fill.pageBytes, keyLen, valueLen)
	}
	return s.log.Fits(keyLen, valueLen)
}

// checkWrite refuses what cannot be stored: before any effect.
func (s *Session) checkWrite(key []byte, valueLen int) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if !s.fits(len(key), valueLen) {
		return ErrTooLarge
	}
	if !s.store.writable {
		return ErrReadOnly
	}
	return nil
}
