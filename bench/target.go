package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/bench/internal/workload"
	"github.com/hybridlog/hybridlog/hlog"
)

// target is one way to keep keys of 8 bytes in memory: a door of the store, or a map it is measured against.
type target interface {
	// load writes the keys Mix64(0) … Mix64(n-1).
	load(n int) error
	// runner returns what one goroutine drives the target with.
	runner() (runner, error)
	close() error
}

// runner performs an operation on every key of a slice. The loop is inside, so that no dynamic call is paid per operation.
type runner interface {
	run(op workload.Op, keys []uint64) error
	close() error
}

// Sizes of value that the byte targets come in; the maps are compiled for each.
type (
	value8    = [8]byte
	value100  = [100]byte
	value1000 = [1000]byte
	anyValue  interface {
		value8 | value100 | value1000
	}
)

// valueSizes lists them.
var valueSizes = []int{8, 100, 1000}

// group is how many keys one Multi call gets.
const group = 256

var errMissing = errors.New("bench: a key that was loaded is missing")

// newTarget makes an empty target: table, tablemulti (8-byte values only), session, sessionmulti, store, xsync,
// sharded. n is the number of keys it will hold.
func newTarget(kind, dir string, n, valueBytes int) (target, error) {
	switch kind {
	case "xsync", "sharded":
		switch valueBytes {
		case 8:
			return newMap[value8](kind, n), nil
		case 100:
			return newMap[value100](kind, n), nil
		case 1000:
			return newMap[value1000](kind, n), nil
		}
		return nil, fmt.Errorf("bench: no map for values of %d bytes; there is %v", valueBytes, valueSizes)
	case "table", "tablemulti":
		if valueBytes != 8 {
			return nil, fmt.Errorf("bench: %s is measured with 8-byte values, not %d", kind, valueBytes)
		}
	case "session", "sessionmulti", "store":
	default:
		return nil, fmt.Errorf("bench: no target %q", kind)
	}
	dir, err := os.MkdirTemp(dir, "bench-"+kind+"-")
	if err != nil {
		return nil, err
	}
	record := int64(16+8+valueBytes+7) &^ 7
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: 256<<20 + int64(n)*(2*record+64)})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &storeTarget{kind: kind, dir: dir, store: s, valueBytes: valueBytes}, nil
}

// storeTarget is the store behind one of its doors.
type storeTarget struct {
	kind, dir  string
	store      *hlog.Store
	valueBytes int
}

// as is the same store through another door; closing it does nothing.
func (t *storeTarget) as(kind string) target {
	return door{&storeTarget{kind, "", t.store, t.valueBytes}}
}

// door is a storeTarget that another one owns.
type door struct{ *storeTarget }

func (door) close() error { return nil }

func (t *storeTarget) load(n int) error {
	r, err := t.runner()
	if err != nil {
		return err
	}
	return errors.Join(loadWith(r, n), r.close())
}

// loadWith sets the keys of a load.
func loadWith(r runner, n int) error {
	keys := make([]uint64, 0, 4096)
	for i := range n {
		if keys = append(keys, workload.Mix64(uint64(i))); len(keys) == cap(keys) || i == n-1 {
			if err := r.run(workload.Set, keys); err != nil {
				return err
			}
			keys = keys[:0]
		}
	}
	return nil
}

func (t *storeTarget) close() error { return errors.Join(t.store.Close(), os.RemoveAll(t.dir)) }

func (t *storeTarget) runner() (runner, error) {
	s := t.store.NewSession()
	switch t.kind {
	case "table", "tablemulti":
		tab, err := hlog.NewTable[uint64, uint64](s)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		if t.kind == "table" {
			return &tableRunner{s, tab}, nil
		}
		return &tableMultiRunner{s, tab, make([]uint64, group), make([]bool, group)}, nil
	case "sessionmulti":
		r := &sessionMultiRunner{s: s}
		for i := range group {
			r.keys = append(r.keys, r.buf[8*i:8*i+8])
			r.values = append(r.values, make([]byte, t.valueBytes))
		}
		return r, nil
	case "session":
		return &bytesRunner{s, s, make([]byte, t.valueBytes), make([]byte, 0, t.valueBytes)}, nil
	default:
		return &bytesRunner{t.store, s, make([]byte, t.valueBytes), make([]byte, 0, t.valueBytes)}, nil
	}
}

// tableRunner drives a Table one operation at a time.
type tableRunner struct {
	s *hlog.Session
	t *hlog.Table[uint64, uint64]
}

func (r *tableRunner) close() error { return r.s.Close() }

func (r *tableRunner) run(op workload.Op, keys []uint64) error {
	switch op {
	case workload.Get:
		for _, k := range keys {
			if _, ok, err := r.t.Get(k); err != nil || !ok {
				return errors.Join(errMissing, err)
			}
		}
	case workload.Set:
		for _, k := range keys {
			if err := r.t.Set(k, k); err != nil {
				return err
			}
		}
	default:
		for _, k := range keys {
			if err := r.t.Update(k, increment); err != nil {
				return err
			}
		}
	}
	return nil
}

func increment(v *uint64, _ bool) { *v++ }

// tableMultiRunner drives a Table in groups.
type tableMultiRunner struct {
	s      *hlog.Session
	t      *hlog.Table[uint64, uint64]
	values []uint64
	found  []bool
}

func (r *tableMultiRunner) close() error { return r.s.Close() }

func (r *tableMultiRunner) run(op workload.Op, keys []uint64) error {
	for len(keys) > 0 {
		n := min(group, len(keys))
		g := keys[:n]
		keys = keys[n:]
		var err error
		switch op {
		case workload.Get:
			if err = r.t.MultiGet(g, r.values[:n], r.found[:n]); err == nil {
				for _, ok := range r.found[:n] {
					if !ok {
						err = errMissing
					}
				}
			}
		case workload.Set:
			err = r.t.MultiSet(g, g)
		default:
			err = r.t.MultiUpdate(g, func(_ int, v *uint64, _ bool) { *v++ })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// byteDoor is what Store and Session have in common.
type byteDoor interface {
	Get(dst, key []byte) ([]byte, error)
	Set(key, value []byte) error
	RMW(key []byte, fn func(old []byte) []byte) error
}

// bytesRunner drives a Session or the Store itself one operation at a time.
type bytesRunner struct {
	d     byteDoor
	s     *hlog.Session
	value []byte
	dst   []byte
}

func (r *bytesRunner) close() error { return r.s.Close() }

func (r *bytesRunner) run(op workload.Op, keys []uint64) error {
	key := make([]byte, 8)
	for _, k := range keys {
		binary.LittleEndian.PutUint64(key, k)
		var err error
		switch op {
		case workload.Get:
			if r.dst, err = r.d.Get(r.dst[:0], key); err != nil {
				err = errors.Join(errMissing, err)
			}
		case workload.Set:
			binary.LittleEndian.PutUint64(r.value, k)
			err = r.d.Set(key, r.value)
		default:
			err = r.d.RMW(key, bump)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bump adds one to the number that a value starts with.
func bump(old []byte) []byte {
	if len(old) >= 8 {
		binary.LittleEndian.PutUint64(old, binary.LittleEndian.Uint64(old)+1)
	}
	return old
}

// sessionMultiRunner drives a Session in groups.
type sessionMultiRunner struct {
	s      *hlog.Session
	buf    [8 * group]byte
	keys   [][]byte
	values [][]byte
	err    error
}

func (r *sessionMultiRunner) close() error { return r.s.Close() }

func (r *sessionMultiRunner) run(op workload.Op, keys []uint64) error {
	for len(keys) > 0 {
		n := min(group, len(keys))
		for i, k := range keys[:n] {
			binary.LittleEndian.PutUint64(r.keys[i], k)
		}
		keys = keys[n:]
		var err error
		switch op {
		case workload.Get:
			err = r.s.MultiGet(r.keys[:n], r.got)
		case workload.Set:
			err = r.s.MultiSet(r.keys[:n], r.values[:n])
		default:
			err = r.s.MultiRMW(r.keys[:n], func(_ int, old []byte) []byte { return bump(old) })
		}
		if err = errors.Join(err, r.err); err != nil {
			return err
		}
	}
	return nil
}

func (r *sessionMultiRunner) got(_ int, _ []byte, err error) {
	if err != nil {
		r.err = errors.Join(errMissing, err)
	}
}

// newMap makes one of the maps that a Go programmer would take instead.
func newMap[V anyValue](kind string, n int) target {
	if kind == "xsync" {
		return &xsyncTarget[V]{xsync.NewMapOf[uint64, V](xsync.WithPresize(n))}
	}
	t := &shardedTarget[V]{}
	for i := range t.shards {
		t.shards[i].m = make(map[uint64]V, n/shards)
	}
	return t
}

// xsyncTarget is xsync's concurrent map; it is its own runner.
type xsyncTarget[V anyValue] struct{ m *xsync.MapOf[uint64, V] }

func (t *xsyncTarget[V]) load(n int) error        { return loadWith(t, n) }
func (t *xsyncTarget[V]) runner() (runner, error) { return t, nil }
func (t *xsyncTarget[V]) close() error            { return nil }

func (t *xsyncTarget[V]) run(op workload.Op, keys []uint64) error {
	switch op {
	case workload.Get:
		for _, k := range keys {
			if _, ok := t.m.Load(k); !ok {
				return errMissing
			}
		}
	case workload.Set:
		var v V
		for _, k := range keys {
			v[0] = byte(k)
			t.m.Store(k, v)
		}
	default:
		for _, k := range keys {
			t.m.Compute(k, func(v V, _ bool) (V, bool) {
				v[0]++
				return v, false
			})
		}
	}
	return nil
}

// shards of the sharded map.
const shards = 256

// shardedTarget is the map most programs end up with: 256 plain maps behind a lock each. It is its own runner.
type shardedTarget[V anyValue] struct {
	shards [shards]struct {
		sync.RWMutex
		m map[uint64]V
		_ [32]byte // a cache line to each
	}
}

func (t *shardedTarget[V]) load(n int) error        { return loadWith(t, n) }
func (t *shardedTarget[V]) runner() (runner, error) { return t, nil }
func (t *shardedTarget[V]) close() error            { return nil }

func (t *shardedTarget[V]) run(op workload.Op, keys []uint64) error {
	switch op {
	case workload.Get:
		for _, k := range keys {
			s := &t.shards[k%shards]
			s.RLock()
			_, ok := s.m[k]
			s.RUnlock()
			if !ok {
				return errMissing
			}
		}
	case workload.Set:
		var v V
		for _, k := range keys {
			v[0] = byte(k)
			s := &t.shards[k%shards]
			s.Lock()
			s.m[k] = v
			s.Unlock()
		}
	default:
		for _, k := range keys {
			s := &t.shards[k%shards]
			s.Lock()
			v := s.m[k]
			v[0]++
			s.m[k] = v
			s.Unlock()
		}
	}
	return nil
}
