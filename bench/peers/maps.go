package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/maypok86/otter/v2"
	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
)

// table is a map in memory from bytes to bytes.
type table interface {
	load(key string) ([]byte, bool)
	store(key string, value []byte)
	remove(key string)
	each(fn func(key string, value []byte) bool)
}

// mapEngine is a table with dumps. A dump is not of one moment: writers go on while it is made.
type mapEngine struct {
	table
	fresh  func() table
	mu     sync.RWMutex // held alone while the table is exchanged
	dir    string
	newest uint64
}

func openMap(dir string, fresh func() table) (contest.Engine, error) {
	m := &mapEngine{table: fresh(), fresh: fresh, dir: dir}
	names, err := filepath.Glob(filepath.Join(dir, "v*"))
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		var v uint64
		if _, err := fmt.Sscanf(filepath.Base(n), "v%d", &v); err == nil {
			m.newest = max(m.newest, v)
		}
	}
	if m.newest > 0 {
		err = m.Restore(0)
	}
	return m, err
}

func (m *mapEngine) version(v uint64) string { return filepath.Join(m.dir, fmt.Sprintf("v%020d", v)) }

func (m *mapEngine) Get(key []byte) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.load(string(key))
	if !ok {
		return nil, nil
	}
	return append([]byte(nil), v...), nil
}

func (m *mapEngine) Set(key, value []byte) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(value) == 0 {
		m.remove(string(key))
	} else {
		m.store(string(key), append([]byte(nil), value...))
	}
	return nil
}

// Size is an estimate: the bytes and what two allocations and a place in a map take besides.
func (m *mapEngine) Size() int64 {
	var n int64
	m.each(func(k string, v []byte) bool { n += int64(len(k)+len(v)) + 80; return true })
	return n
}

func (m *mapEngine) Snapshot(v uint64) error {
	f, err := os.Create(m.version(v) + ".tmp")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var head [8]byte
	m.each(func(k string, val []byte) bool {
		binary.LittleEndian.PutUint32(head[:4], uint32(len(k)))
		binary.LittleEndian.PutUint32(head[4:], uint32(len(val)))
		_, err = w.Write(head[:])
		if err == nil {
			_, err = w.WriteString(k)
		}
		if err == nil {
			_, err = w.Write(val)
		}
		return err == nil
	})
	if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	m.newest = v
	return os.Rename(m.version(v)+".tmp", m.version(v))
}

func (m *mapEngine) Restore(v uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v == 0 {
		v = m.newest
	}
	f, err := os.Open(m.version(v))
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	t := m.fresh()
	var head [8]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			m.table = t
			return nil
		} else if err != nil {
			return err
		}
		b := make([]byte, binary.LittleEndian.Uint32(head[:4])+binary.LittleEndian.Uint32(head[4:]))
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint32(head[:4])
		t.store(string(b[:n]), b[n:])
	}
}

// Close dumps once more, as the others keep what was written last, too.
func (m *mapEngine) Close() error { return m.Snapshot(m.newest + 1) }

// xsyncTable is xsync's map.
type xsyncTable struct{ m *xsync.MapOf[string, []byte] }

func newXsync() table { return xsyncTable{xsync.NewMapOf[string, []byte]()} }

func (t xsyncTable) load(k string) ([]byte, bool)      { return t.m.Load(k) }
func (t xsyncTable) store(k string, v []byte)          { t.m.Store(k, v) }
func (t xsyncTable) remove(k string)                   { t.m.Delete(k) }
func (t xsyncTable) each(fn func(string, []byte) bool) { t.m.Range(fn) }

// shardedTable is 256 maps with a lock each.
type shardedTable struct {
	seed   maphash.Seed
	shards [256]struct {
		sync.RWMutex
		m map[string][]byte
		_ [32]byte
	}
}

func newSharded() table {
	t := &shardedTable{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].m = map[string][]byte{}
	}
	return t
}

func (t *shardedTable) shard(k string) *struct {
	sync.RWMutex
	m map[string][]byte
	_ [32]byte
} {
	return &t.shards[maphash.String(t.seed, k)%256]
}

func (t *shardedTable) load(k string) ([]byte, bool) {
	s := t.shard(k)
	s.RLock()
	defer s.RUnlock()
	v, ok := s.m[k]
	return v, ok
}

func (t *shardedTable) store(k string, v []byte) {
	s := t.shard(k)
	s.Lock()
	s.m[k] = v
	s.Unlock()
}

func (t *shardedTable) remove(k string) {
	s := t.shard(k)
	s.Lock()
	delete(s.m, k)
	s.Unlock()
}

func (t *shardedTable) each(fn func(string, []byte) bool) {
	for i := range t.shards {
		s := &t.shards[i]
		s.RLock()
		for k, v := range s.m {
			if !fn(k, v) {
				s.RUnlock()
				return
			}
		}
		s.RUnlock()
	}
}

// otterTable is the cache otter with a bound that is never reached, so that it does its bookkeeping and evicts nothing.
type otterTable struct {
	c *otter.Cache[string, []byte]
}

// otterMaximum is more entries than any run has.
const otterMaximum = 1 << 30

func newOtter() table {
	return otterTable{otter.Must(&otter.Options[string, []byte]{MaximumSize: otterMaximum})}
}

func (t otterTable) load(k string) ([]byte, bool) { return t.c.GetIfPresent(k) }
func (t otterTable) store(k string, v []byte)     { t.c.Set(k, v) }
func (t otterTable) remove(k string)              { t.c.Invalidate(k) }

func (t otterTable) each(fn func(string, []byte) bool) {
	for k, v := range t.c.All() {
		if !fn(k, v) {
			return
		}
	}
}
