// Package memonly is a hash map in memory that writes all of itself at every snapshot: the naive baseline. It is the
// fastest while nothing has to be kept, and shows what an incremental snapshot is worth.
//
// The map is sharded, with a lock each. A snapshot is a point in time: it keeps writers out while it encodes the state,
// and lets them in again before it waits for the disk.
package memonly

import (
	"bytes"
	"sync"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/record"
	"github.com/zeebo/xxh3"
)

// Kind is the engine's name.
const Kind = "memonly"

const (
	shards = 256
	// overhead is about what a pair takes beside its bytes: a string and a slice in a map that is two thirds full, and the
	// rounding of two allocations.
	overhead = 80
)

// Map is an open map. All methods may be called from any goroutine.
type Map struct {
	fileset.Keeper
	dump   []*fileset.File // the last that was committed, if it had anything
	next   []*fileset.File // the one that is being committed
	dumped uint64          // changes that are in next, or else in dump
	kept   uint64          // changes that are in dump

	// state is held shared by operations, and alone by what replaces the shards or ends the map.
	state  sync.RWMutex
	shards *[shards]shard
}

type shard struct {
	mu    sync.RWMutex
	pairs map[string][]byte
	bytes int64
	sets  uint64 // how often something was set
	_     [64]byte
}

// Open opens the map in dir, which it creates. MemoryBytes is no limit here.
func Open(dir string, opts base.Options) (*Map, error) {
	m := &Map{}
	err := m.Start(Kind, dir, opts, fileset.State{Operations: &m.state, Read: m.read, Finish: m.write, Dirty: m.dirty,
		Committed: m.committed, Release: m.release})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// read reads a dump.
func (m *Map) read(files []*fileset.File) (adopt func(), err error) {
	all := &[shards]shard{}
	for i := range all {
		all[i].pairs = map[string][]byte{}
	}
	for _, f := range files {
		s := record.NewScanner(f, 0, f.Length)
		for s.Next() {
			all[place(s.Key())].set(s.Key(), s.Value())
		}
		if err := f.ScanError(s); err != nil {
			return nil, err
		}
	}
	return func() {
		fileset.DropAll(m.next) // of a commit that failed
		m.next, m.dumped = files, sets(all)
		m.state.Lock()
		m.shards = all
		m.state.Unlock()
		m.committed()
	}, nil
}

// sets is how often something was set since the shards were made. It ascends.
func sets(all *[shards]shard) (n uint64) {
	for i := range all {
		all[i].mu.RLock()
		n += all[i].sets
		all[i].mu.RUnlock()
	}
	return n
}

func (m *Map) dirty() bool { return sets(m.shards) != m.kept }

func (m *Map) committed() {
	fileset.DropAll(m.dump)
	m.dump, m.next, m.kept = m.next, nil, m.dumped
}

func (m *Map) release() {
	fileset.DropAll(m.dump)
	fileset.DropAll(m.next)
}

func place(key []byte) uint64 { return xxh3.Hash(key) % shards }

// set sets or, with an empty value, deletes.
func (s *shard) set(key, value []byte) {
	s.sets++
	old, ok := s.pairs[string(key)]
	switch {
	case ok && len(value) == 0:
		delete(s.pairs, string(key))
		s.bytes -= int64(len(key)+cap(old)) + overhead
	case ok && len(old) == len(value):
		copy(old, value)
	case len(value) > 0:
		fresh := bytes.Clone(value)
		s.pairs[string(key)] = fresh
		s.bytes += int64(cap(fresh) - cap(old))
		if !ok {
			s.bytes += int64(len(key)) + overhead
		}
	}
}

// Get returns a copy of key's value, or nil when it is absent.
func (m *Map) Get(key []byte) ([]byte, error) {
	if err := base.CheckKey(key); err != nil {
		return nil, err
	}
	m.state.RLock()
	defer m.state.RUnlock()
	if m.Closed {
		return nil, base.ErrClosed
	}
	s := &m.shards[place(key)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return bytes.Clone(s.pairs[string(key)]), nil
}

// Set sets key's value; an empty one deletes it.
func (m *Map) Set(key, value []byte) error {
	if err := base.CheckPair(key, value); err != nil {
		return err
	}
	m.state.RLock()
	defer m.state.RUnlock()
	if m.Closed {
		return base.ErrClosed
	}
	s := &m.shards[place(key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(key, value)
	return nil
}

// Size returns about the bytes of memory held.
func (m *Map) Size() (n int64) {
	m.state.RLock()
	defer m.state.RUnlock()
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		n += s.bytes
		s.mu.RUnlock()
	}
	return n
}

// write dumps the state as it is at one moment to a file; an empty state to none.
func (m *Map) write() ([]*fileset.File, error) {
	fileset.DropAll(m.next) // of a commit that failed
	m.next = nil
	w, err := m.Files.Create()
	if err != nil {
		return nil, err
	}
	err = m.encode(w)
	if err == nil && w.Length() == 0 {
		w.Abort()
		return nil, nil
	}
	var f *fileset.File
	if err == nil {
		f, err = w.Finish(0)
	}
	if err != nil {
		w.Abort()
		return nil, err
	}
	m.next = []*fileset.File{f}
	return m.next, nil
}

func (m *Map) encode(w *fileset.Writer) error {
	for i := range m.shards {
		m.shards[i].mu.Lock()
		defer m.shards[i].mu.Unlock()
	}
	var raw []byte
	m.dumped = 0
	for i := range m.shards {
		s := &m.shards[i]
		m.dumped += s.sets
		for key, value := range s.pairs {
			raw = record.Append(raw[:0], []byte(key), value)
			if _, err := w.Append(raw); err != nil {
				return err
			}
		}
	}
	return nil
}
