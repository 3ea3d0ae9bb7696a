// Package memonly is a hash map in memory that writes all of itself at every snapshot: the naive baseline. It is the
// fastest while nothing has to be kept, and shows what an incremental snapshot is worth.
//
// The map is sharded, with a lock each. A snapshot is a point in time: it keeps writers out while it encodes the state,
// and lets them in again before it waits for the disk.
package memonly

import (
	"bytes"
	"errors"
	"fmt"
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
	opts base.Options

	committing sync.Mutex // one snapshot, restore or close at a time
	set        *fileset.Set
	files      []*fileset.File // the last dump, if it had anything

	// state is held shared by operations, and alone by what replaces the shards or ends the map.
	state  sync.RWMutex
	shards *[shards]shard
	closed bool
}

type shard struct {
	mu    sync.RWMutex
	pairs map[string][]byte
	bytes int64
	dirty bool // something was set since the last commit
	_     [64]byte
}

// Open opens the map in dir, which it creates. MemoryBytes is no limit here.
func Open(dir string, opts base.Options) (*Map, error) {
	set, err := fileset.Open(Kind, dir, opts)
	if err != nil {
		return nil, err
	}
	m := &Map{opts: opts, set: set}
	if m.files, m.shards, err = m.load(set.Newest().Files); err == nil {
		err = set.Collect()
	}
	if err != nil {
		fileset.DropAll(m.files)
		return nil, errors.Join(err, set.Abandon())
	}
	return m, nil
}

// load reads the dump of a manifest.
func (m *Map) load(refs []fileset.Ref) ([]*fileset.File, *[shards]shard, error) {
	files, err := m.set.OpenAll(refs)
	if err != nil {
		return nil, nil, err
	}
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
			fileset.DropAll(files)
			return nil, nil, err
		}
	}
	for i := range all {
		all[i].dirty = false
	}
	return files, all, nil
}

func place(key []byte) uint64 { return xxh3.Hash(key) % shards }

// set sets or, with an empty value, deletes.
func (s *shard) set(key, value []byte) {
	s.dirty = true
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
	if m.closed {
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
	if m.closed {
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

// Snapshot writes the whole state and commits it as a version.
func (m *Map) Snapshot(version uint64) error {
	m.committing.Lock()
	defer m.committing.Unlock()
	if m.closed {
		return base.ErrClosed
	}
	if err := m.set.CheckOrder(version); err != nil {
		return err
	}
	return m.commit(func(files []*fileset.File) error { return m.set.Snapshot(version, files) })
}

// commit dumps the state and has save commit the dump.
func (m *Map) commit(save func(files []*fileset.File) error) error {
	files, err := m.dump()
	if err != nil {
		return err
	}
	if err = save(files); err != nil && !errors.Is(err, base.ErrRemote) {
		fileset.DropAll(files)
		m.touch()
		return err
	}
	fileset.DropAll(m.files)
	m.files = files
	return err
}

// dump writes the state as it is at one moment to a file; an empty state to none.
func (m *Map) dump() ([]*fileset.File, error) {
	w, err := m.set.Create()
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
		f, err = w.Seal(0)
	}
	if err != nil {
		w.Abort()
		m.touch()
		return nil, err
	}
	return []*fileset.File{f}, nil
}

func (m *Map) encode(w *fileset.Writer) error {
	for i := range m.shards {
		m.shards[i].mu.Lock()
		defer m.shards[i].mu.Unlock()
	}
	var raw []byte
	for i := range m.shards {
		s := &m.shards[i]
		s.dirty = false
		for key, value := range s.pairs {
			raw = record.Append(raw[:0], []byte(key), value)
			if _, err := w.Append(raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// touch takes back that the state is committed.
func (m *Map) touch() {
	m.shards[0].mu.Lock()
	m.shards[0].dirty = true
	m.shards[0].mu.Unlock()
}

// Versions returns the kept versions, oldest first.
func (m *Map) Versions() []uint64 {
	m.committing.Lock()
	defer m.committing.Unlock()
	return m.set.Versions()
}

// Restore brings back a version, 0 the newest. An error other than ErrRemote leaves everything as it is.
func (m *Map) Restore(version uint64) error {
	m.committing.Lock()
	defer m.committing.Unlock()
	if m.closed {
		return base.ErrClosed
	}
	v, err := m.set.Version(version)
	if err != nil {
		return err
	}
	files, all, err := m.load(v.Files)
	if err != nil {
		return fmt.Errorf("version %d: %w", v.Version, err)
	}
	// Alone, so that no operation slips in between what is committed and what is seen.
	m.state.Lock()
	defer m.state.Unlock()
	if err = m.set.Restored(v.Version, files); err != nil && !errors.Is(err, base.ErrRemote) {
		fileset.DropAll(files)
		return err
	}
	fileset.DropAll(m.files)
	m.files, m.shards = files, all
	return err
}

// Close commits what was set since the last commit, without a version number, and gives the directory back.
func (m *Map) Close() error {
	m.committing.Lock()
	defer m.committing.Unlock()
	m.state.Lock()
	defer m.state.Unlock()
	if m.closed {
		return base.ErrClosed
	}
	m.closed = true
	var err error
	for i := range m.shards {
		if m.shards[i].dirty {
			err = m.commit(m.set.SaveHead)
			break
		}
	}
	if errors.Is(err, base.ErrRemote) {
		err = nil // set.Close tries again and tells.
	}
	fileset.DropAll(m.files)
	return errors.Join(err, m.set.Close())
}
