package hlog

import (
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/word"
)

// readersPerCall is how many reads of one Multi call are in flight at once.
const readersPerCall = 32

// staging holds the cold records of one window of a Multi call, so that the operations find them without waiting one
// after the other. Records on disk never change: what is staged cannot be stale.
type staging struct {
	wants   []want
	keys    []byte // what the wants' keys point into
	index   map[word.Address]image
	readers []*coldReader
	arenas  [][]byte
}

// want is a key whose chain leaves memory at a.
type want struct {
	key []byte
	a   word.Address
}

// record returns the staged record at a, or nil.
func (g *staging) record(a word.Address) image { return g.index[a] }

// unstage forgets the window's records.
func (s *Session) unstage() {
	if s.staged != nil && len(s.staged.index) > 0 {
		clear(s.staged.index)
	}
}

// stage reads the cold records of keys [from, to), many at a time. A read that fails is left to the operation that
// needs it, which reports it.
func stage[K keyed](s *Session, keys K, from, to int) error {
	if s.staged == nil {
		s.staged = &staging{index: map[word.Address]image{}}
	}
	g := s.staged
	// A call that ended early has left records behind, in the memory that is about to be used again.
	clear(g.index)
	g.wants, g.keys = g.wants[:0], g.keys[:0]
	for i := from; i < to; i += multiGroup {
		end := min(i+multiGroup, to)
		if err := s.touch(s.hashes[i-from : end-from]); err != nil {
			return err
		}
		for j := i; j < end; j++ {
			key := keys.at(j)
			a, err := s.coldHead(key, s.hashes[j-from])
			if err != nil {
				return err
			}
			if a != word.None && (s.store.cache == nil || !s.store.cache.contains(a)) {
				g.keys = append(g.keys, key...) // keys.at may use one buffer for all
				g.wants = append(g.wants, want{g.keys[len(g.keys)-len(key):], a})
			}
		}
	}
	if len(g.wants) > 1 { // a single read gains nothing
		g.readAll(s)
	}
	return nil
}

// readAll follows the chains of all wants at once.
func (g *staging) readAll(s *Session) {
	n := min(readersPerCall, len(g.wants))
	for len(g.readers) < n {
		g.readers = append(g.readers, &coldReader{log: s.log})
		g.arenas = append(g.arenas, nil)
	}
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			arena := g.arenas[w][:0]
			for i := int(next.Add(1)) - 1; i < len(g.wants); i = int(next.Add(1)) - 1 {
				arena = g.follow(s, g.readers[w], g.wants[i], arena, &mu)
			}
			g.arenas[w] = arena
		})
	}
	wg.Wait()
}

// follow stages the records of one chain down to the key's own.
func (g *staging) follow(s *Session, r *coldReader, w want, arena []byte, mu *sync.Mutex) []byte {
	for a := w.a; uint64(a) >= s.log.begin.Load(); {
		mu.Lock()
		rec, have := g.index[a]
		mu.Unlock()
		if !have {
			read, _, err := r.read(a)
			if err != nil {
				return arena
			}
			s.store.counters.coldReads.Add(1)
			start := len(arena)
			arena = append(arena, read...)
			rec = image(arena[start:])
			mu.Lock()
			g.index[a] = rec
			mu.Unlock()
			if s.store.cache != nil {
				s.store.cache.put(a, read)
			}
		}
		sh, _ := rec.shape()
		if string(rec.key(sh)) == string(w.key) || rec.link().Prev() >= a {
			return arena
		}
		a = rec.link().Prev()
	}
	return arena
}
