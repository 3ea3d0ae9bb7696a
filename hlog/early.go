package hlog

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/step"
)

// earlyWrites are what operations have written while the directory is filled from the remote. They lie over the version that is
// fetched, in memory, until they can be moved into the log.
//
//	operation ---> early ---> the key is there: that is its value
//	                 |
//	                 +------> it is not: the view of the remote has it
//
//	           written ------> sealed ------> moved into the log ------> whole: operations go on in the log
//	                        no more comes   in full, by the job fill
//
//	Y8   Until the move, the state is the early writes over the version that is fetched. A value is taken, and replaced, under one
//	     lock; an update that has read the view replaces nothing, and begins again, if the key has come meanwhile. A value is
//	     never changed: the update compares pointers.
//	Y9   The early writes are sealed before the view is cleared, and moved before the phase is. So each write is in them before
//	     the move or in the log behind it, and whoever finds the store open finds all of them in the log.
//	Y10  Nothing that makes, names or goes over versions, or over all keys, comes between: it waits for the phase. A version has
//	     all early writes, and an early write is durable with the first version, as any other is. Close waits until the
//	     directory is whole, and commits them; where that fails its error says that they are lost.
//	Y11  They take an 8th of MemoryBytes. Who finds no room waits for the directory, as does who comes behind the seal.
type earlyWrites struct {
	limit int64

	mu     lock.Mutex[lock.Leaf]
	byKey  map[string]*earlyValue // of mu; nil when they were moved
	bytes  int64                  // of mu: what they take, about
	sealed bool                   // of mu
}

// earlyValue is a value that was written early.
type earlyValue struct {
	bytes   []byte
	deleted bool
}

// earlyOverhead is about what a key takes besides its bytes and those of its value.
const earlyOverhead = 128

func newEarlyWrites(memory int64) *earlyWrites {
	return &earlyWrites{limit: memory / earlyShare, byKey: map[string]*earlyValue{}}
}

// earlyShare is the part of the memory that early writes may take (Y11).
const earlyShare = 8

// find returns what was written of key, nil if that is nothing, or if all were moved.
func (e *earlyWrites) find(key []byte) *earlyValue {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byKey[string(key)]
}

// put makes v the value of key. It returns false, and has changed nothing, when no more comes, or when there is no room.
func (e *earlyWrites) put(key []byte, v *earlyValue) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.putLocked(key, v)
}

func (e *earlyWrites) putLocked(key []byte, v *earlyValue) bool {
	if e.sealed {
		return false
	}
	size := int64(len(v.bytes))
	if old := e.byKey[string(key)]; old != nil {
		size -= int64(len(old.bytes))
	} else {
		size += int64(len(key)) + earlyOverhead
	}
	if size > 0 && e.bytes+size > e.limit {
		return false
	}
	e.bytes += size
	e.byKey[string(key)] = v
	return true
}

// replace is put if the value of key is still old, which is nil if it had none. again tells that it is not.
func (e *earlyWrites) replace(key []byte, old, v *earlyValue) (put, again bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.sealed && e.byKey[string(key)] != old {
		return false, true
	}
	return e.putLocked(key, v), false
}

// seal lets no more come. With onlyEmpty it does nothing if there is something; it reports whether there is nothing.
func (e *earlyWrites) seal(onlyEmpty bool) (empty bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	empty = len(e.byKey) == 0
	e.sealed = e.sealed || empty || !onlyEmpty
	return empty
}

// move writes all into the log; it may be called again after an error. Nobody else writes there.
func (e *earlyWrites) move(s *Store) error {
	x := s.newSession()
	defer x.Close()
	for key, v := range e.byKey { // nothing changes behind the seal
		var err error
		if v.deleted {
			err = x.remove([]byte(key), s.hash([]byte(key)))
		} else {
			err = x.set([]byte(key), v.bytes, s.hash([]byte(key)))
		}
		if err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byKey, e.bytes = nil, 0
	return nil
}

// drop forgets all, when the store is closed.
func (e *earlyWrites) drop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byKey, e.sealed = nil, true
}

// getEarly reads a key while the store is being filled. served is false if it has to be read here.
func (s *Session) getEarly(dst, key []byte) (value []byte, err error, served bool) {
	v := s.store.fill.early.find(key)
	switch {
	case v == nil:
		return s.getFar(dst, key) // which does not serve behind the move (Y5)
	case v.deleted:
		return dst, ErrNotFound, true
	}
	return append(dst, v.bytes...), nil, true
}

// setEarly and removeEarly write a key while the store is being filled. They return false if it has to be written here.
func (s *Session) setEarly(key, value []byte) bool {
	return s.store.fill.early.put(key, &earlyValue{bytes: slices.Clone(value)})
}

func (s *Session) removeEarly(key []byte) bool {
	return s.store.fill.early.put(key, &earlyValue{deleted: true})
}

// updateEarly replaces the value of key by what change makes of a copy of it, nil if it has none, while the store is being
// filled. Where change returns nil, the key is deleted. served is false if it has to be done here, for which change may be called again.
func (s *Session) updateEarly(key []byte, change func(old []byte) ([]byte, error)) (err error, served bool) {
	e := s.store.fill.early
	var far []byte // what the version has, once it was read
	var read, inFar bool
	for {
		v := e.find(key)
		var old []byte
		switch {
		case v == nil && !read:
			far, err, read = s.getFar(nil, key)
			switch {
			case !read:
				return nil, false
			case err == nil:
				inFar = true
			case err != ErrNotFound:
				return err, true
			}
			continue // somebody may have written it meanwhile
		case v == nil && inFar:
			old = append([]byte{}, far...)
		case v != nil && !v.deleted:
			old = append([]byte{}, v.bytes...)
		}
		existed := old != nil
		value, err := change(old) // with nothing held (H10)
		switch {
		case err != nil:
			return err, true
		case value == nil && !existed:
			return nil, true
		case !s.fits(len(key), len(value)):
			return ErrTooLarge, true
		}
		put, again := e.replace(key, v, &earlyValue{bytes: slices.Clone(value), deleted: value == nil})
		if !again {
			return nil, put
		}
	}
}

// farAtATime is how many keys a Multi call, or a Prefetch, asks the remote for at a time.
const farAtATime = 32

// askFar has the view of the remote read what operations will need of keys [from, to), many at a time, into its memory. It returns
// what waits for them.
func askFar[K keyed](s *Session, keys K, from, to int) (wait func()) {
	f := s.store.fill
	asked := make(chan []byte, to-from)
	for i := from; i < to; i++ {
		if key := keys.at(i); len(key) > 0 && f.early.find(key) == nil {
			asked <- slices.Clone(key) // keys.at may use one buffer for all
		}
	}
	close(asked)
	var all sync.WaitGroup
	if w := f.view.Load(); w != nil && len(asked) > 0 {
		f.first.begin()
		for range min(farAtATime, len(asked)) {
			all.Go(func() {
				for key := range asked {
					w.Get(nil, key) // a failure is found again by the operation
				}
			})
		}
	}
	return all.Wait
}

// prefetchFar is Prefetch for a session that is not bound yet. One call at a time is served, of all sessions.
func prefetchFar[K keyed](s *Session, keys K) {
	f := s.store.fill
	if !f.ahead.CompareAndSwap(false, true) {
		return
	}
	wait := askFar(s, keys, 0, min(keys.len(), prefetchKeysMax))
	s.store.background.jobs.Once("ahead", step.Apart, func() {
		wait()
		f.ahead.Store(false)
	})
}

// eachEarly is each for a session that is not bound yet.
func eachEarly[K keyed](s *Session, keys K, does access, op func(i int, h uint64) error) error {
	n := keys.len()
	for from := 0; from < n; from += multiWindow {
		to := min(from+multiWindow, n)
		if does != writing {
			askFar(s, keys, from, to)()
		}
		for i := from; i < to; i++ {
			if err := op(i, s.store.hash(keys.at(i))); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleEarly is what Close does first with a store that is being filled: it returns when there are no early writes and no
// more come, when they were moved, or when an attempt to fill the directory has failed (Y10).
func (f *filling) settleEarly(l *life.Life) {
	if !f.early.seal(true) {
		f.wait(context.Background(), l) // lostEarly has the error
		f.early.seal(false)
	}
}

// lostEarly is the error of Close when it cannot commit what was written early; nil if that is in the log, or if there is nothing.
func (s *Store) lostEarly() error {
	f := s.fill
	if f == nil || f.early.seal(true) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Errorf("hlog: what was written while the directory was filled from the remote is lost: %w", f.failure)
}
