package hlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// A modelRun plays random operations through every door of the API against a store and a map, and versions against
// copies of the map.
type modelRun struct {
	t    *testing.T
	rnd  *rand.Rand
	dir  string
	opts Options
	s    *Store
	x    *Session
	live map[string]string
	// versions holds what every version that was committed and not purged must hold.
	versions map[checkpoint.Version]map[string]string
	parent   map[checkpoint.Version]checkpoint.Version
	cookies  map[checkpoint.Version]string
	current  checkpoint.Version
	buf      []byte
}

func newModelRun(t *testing.T, seed uint64) *modelRun {
	m := &modelRun{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), dir: "/store", opts: *tiny(), live: map[string]string{},
		versions: map[checkpoint.Version]map[string]string{}, parent: map[checkpoint.Version]checkpoint.Version{},
		cookies: map[checkpoint.Version]string{},
	}
	m.opts.KeepVersions = 1000
	m.open()
	return m
}

func (m *modelRun) open() {
	m.t.Helper()
	var err error
	if m.s, err = Open(m.dir, &m.opts); err != nil {
		m.t.Fatalf("open with %+v: %v", m.opts, err)
	}
	m.x = m.s.NewSession()
}

// key returns one of some thousand keys: of 8 bytes mostly, and of all forms.
func (m *modelRun) key() []byte {
	n := m.rnd.IntN(3000)
	switch n % 8 {
	case 0:
		return fmt.Appendf(nil, "%d", n)
	case 1:
		return fmt.Appendf(nil, "key %d%s", n, bytes.Repeat([]byte{byte(n)}, n%260))
	case 2:
		if n%16 == 2 {
			return fmt.Appendf(nil, "long %d%s", n, bytes.Repeat([]byte{byte(n)}, 3000+n))
		}
	}
	return binary.LittleEndian.AppendUint64(nil, uint64(n))
}

// word returns a key that a table of numbers can have.
func (m *modelRun) word() uint64 { return uint64(m.rnd.IntN(3000)/8*8 + 3) }

func (m *modelRun) value() []byte {
	var n int
	switch m.rnd.IntN(12) {
	case 0:
		n = 0
	case 1, 2:
		n = 8
	case 3:
		n = 2030 + m.rnd.IntN(30) // where the header grows
	case 4:
		n = 4000 + m.rnd.IntN(5000)
	case 5:
		n = 24
	default:
		n = m.rnd.IntN(200)
	}
	v := make([]byte, n)
	for i := range v {
		v[i] = byte(m.rnd.Uint32())
	}
	return v
}

// expect compares what a read returned with the state that it is of.
func (m *modelRun) expect(what string, state map[string]string, key []byte, v []byte, err error) {
	m.t.Helper()
	want, ok := state[string(key)]
	switch {
	case !ok && errors.Is(err, ErrNotFound):
	case !ok || err != nil || string(v) != want:
		m.t.Fatalf("%s of %.40q: %d bytes, %v; want %d bytes, present %v", what, key, len(v), err, len(want), ok)
	}
}

func (m *modelRun) get(g getter, state map[string]string, key []byte) {
	m.t.Helper()
	prefix := []byte("prefix")
	v, err := g.Get(append(m.buf[:0], prefix...), key)
	if !bytes.HasPrefix(v, prefix) {
		m.t.Fatalf("get of %.40q: %q does not begin with what it was to be appended to", key, v)
	}
	m.buf = v
	m.expect(fmt.Sprintf("get by %T", g), state, key, v[len(prefix):], err)
}

// update changes the model as it is told and returns the callback that changes the store so.
func (m *modelRun) update(key []byte) func(old []byte) []byte {
	k := string(key)
	want, existed := m.live[k]
	kind, extra := m.rnd.IntN(6), m.value()
	var result []byte
	switch kind {
	case 0:
		delete(m.live, k)
	case 1: // grow
		result = append([]byte(want), extra[:min(len(extra), 300)]...)
	case 2: // a prefix
		result = []byte(want)[:len(want)/2]
	default:
		result = extra
	}
	if kind != 0 {
		m.live[k] = string(result)
	}
	return func(old []byte) []byte {
		if (old != nil) != existed || string(old) != want {
			m.t.Fatalf("update of %.40q saw %d bytes, present %v; want %d bytes, present %v", key, len(old), old != nil, len(want), existed)
		}
		switch {
		case kind == 0:
			return nil
		case kind == 1 && old != nil:
			return append(old, extra[:min(len(extra), 300)]...)
		case kind == 2 && old != nil:
			return old[:len(old)/2]
		case result == nil:
			return []byte{}
		}
		return result
	}
}

// doors are the ways to single operations.
func (m *modelRun) single() {
	type door interface {
		Get(dst, key []byte) ([]byte, error)
		Set(key, value []byte) error
		Delete(key []byte) error
		RMW(key []byte, fn func(old []byte) []byte) error
	}
	d := door(m.s)
	if m.rnd.IntN(2) == 0 {
		d = m.x
	}
	key := m.key()
	switch m.rnd.IntN(7) {
	case 0, 1:
		m.get(d, m.live, key)
	case 2, 3:
		v := m.value()
		must(m.t, d.Set(key, v))
		m.live[string(key)] = string(v)
	case 4:
		must(m.t, d.Delete(key))
		delete(m.live, string(key))
	default:
		fn := m.update(key)
		must(m.t, d.RMW(key, fn))
	}
}

func (m *modelRun) multi() {
	var keys, values [][]byte
	for range m.rnd.IntN(300) {
		keys, values = append(keys, m.key()), append(values, m.value())
	}
	switch m.rnd.IntN(3) {
	case 0:
		n := 0
		must(m.t, m.x.MultiGet(keys, func(i int, v []byte, err error) {
			if i != n {
				m.t.Fatalf("call %d is for key %d", n, i)
			}
			n++
			m.expect("multi get", m.live, keys[i], v, err)
		}))
		if n != len(keys) {
			m.t.Fatalf("%d calls for %d keys", n, len(keys))
		}
	case 1:
		must(m.t, m.x.MultiSet(keys, values))
		for i, k := range keys {
			m.live[string(k)] = string(values[i])
		}
	default:
		last, fn := -1, func([]byte) []byte { return nil }
		must(m.t, m.x.MultiRMW(keys, func(i int, old []byte) []byte {
			if i != last { // it may be called again, if the store has to wait for space
				last, fn = i, m.update(keys[i])
			}
			return fn(old)
		}))
	}
}

// table does an operation through a typed door; the value may have been written by another with another size.
func (m *modelRun) table() {
	if m.rnd.IntN(2) == 0 {
		tableOp[uint64](m)
	} else {
		tableOp[[3]uint64](m)
	}
}

func tableOp[V uint64 | [3]uint64](m *modelRun) {
	t, err := NewTable[uint64, V](m.x)
	must(m.t, err)
	k := m.word()
	key := string(binary.LittleEndian.AppendUint64(nil, k))
	want, present := m.live[key]
	fits := !present || len(want) == binary.Size(*new(V))
	random := func() (v V, b string) {
		raw := make([]byte, binary.Size(v))
		for i := range raw {
			raw[i] = byte(m.rnd.Uint32())
		}
		if _, err := binary.Decode(raw, binary.LittleEndian, &v); err != nil {
			m.t.Fatal(err)
		}
		return v, string(raw)
	}
	check := func(what string, v V, existed bool) {
		raw, err := binary.Append(nil, binary.LittleEndian, v)
		must(m.t, err)
		if existed != present || existed && string(raw) != want || !existed && v != *new(V) {
			m.t.Fatalf("table %s of %d: %x, present %v; want %x, present %v", what, k, raw, existed, want, present)
		}
	}
	v, b := random()
	switch m.rnd.IntN(6) {
	case 0:
		got, ok, err := t.Get(k)
		if !fits {
			if !errors.Is(err, ErrValueSize) || ok || got != *new(V) {
				m.t.Fatalf("table get of %d bytes: %v, %v", len(want), got, err)
			}
			return
		}
		must(m.t, err)
		check("get", got, ok)
	case 1:
		must(m.t, t.Set(k, v))
		m.live[key] = b
	case 2:
		must(m.t, t.Delete(k))
		delete(m.live, key)
	case 3:
		values, found := make([]V, 2), make([]bool, 2)
		err := t.MultiGet([]uint64{k, k}, values, found)
		if !fits {
			if !errors.Is(err, ErrValueSize) {
				m.t.Fatalf("table multi get of %d bytes: %v", len(want), err)
			}
			return
		}
		must(m.t, err)
		check("multi get", values[1], found[1])
	case 4:
		w, _ := random()
		must(m.t, t.MultiSet([]uint64{k, k}, []V{w, v})) // in order: the second counts
		m.live[key] = b
	default:
		fn := func(p *V, existed bool) {
			check("update", *p, existed)
			*p = v
		}
		if m.rnd.IntN(2) == 0 {
			err = t.Update(k, fn)
		} else {
			err = t.MultiUpdate([]uint64{k}, func(_ int, p *V, existed bool) { fn(p, existed) })
		}
		if !fits {
			if !errors.Is(err, ErrValueSize) {
				m.t.Fatalf("table update of %d bytes: %v", len(want), err)
			}
			return
		}
		must(m.t, err)
		m.live[key] = b
	}
}

// scan compares a whole state.
func (m *modelRun) scan(what string, scan func(context.Context, func(k, v []byte) bool) error, state map[string]string) {
	m.t.Helper()
	seen := map[string]string{}
	err := scan(context.Background(), func(k, v []byte) bool {
		if _, twice := seen[string(k)]; twice {
			m.t.Fatalf("%s visits %.40q twice", what, k)
		}
		seen[string(k)] = string(v)
		return true
	})
	must(m.t, err)
	if !maps.Equal(seen, state) {
		for k, v := range state {
			if w, ok := seen[k]; !ok || w != v {
				m.t.Errorf("%s: %.40q is missing or differs (visited %v)", what, k, ok)
				break
			}
		}
		m.t.Fatalf("%s: %d keys, want %d", what, len(seen), len(state))
	}
}

func (m *modelRun) checkpoint() {
	cookie := fmt.Sprintf("cookie %d", m.rnd.Uint32())
	opts := []CheckpointOption{WithCookie([]byte(cookie))}
	want := checkpoint.Version(0)
	if m.rnd.IntN(3) == 0 {
		want = m.newest() + 1 + checkpoint.Version(m.rnd.IntN(5))
		opts = append(opts, WithVersion(want))
	}
	info, err := m.s.Checkpoint(context.Background(), opts...)
	must(m.t, err)
	if want != 0 && info.Version != want || info.Version <= m.newest() || string(info.Cookie) != cookie || info.Parent != m.current {
		m.t.Fatalf("checkpoint after %d, asked for %d with %q: %+v", m.current, want, cookie, info)
	}
	m.commit(info.Version, cookie)
}

func (m *modelRun) commit(v checkpoint.Version, cookie string) {
	m.versions[v], m.parent[v], m.cookies[v] = maps.Clone(m.live), m.current, cookie
	m.current = v
}

func (m *modelRun) newest() (v checkpoint.Version) {
	for id := range m.parent { // purged ones included: ids are not used again
		v = max(v, id)
	}
	return v
}

// any returns a random version; 0 when there is none.
func (m *modelRun) any() checkpoint.Version {
	ids := slices.Sorted(maps.Keys(m.versions))
	if len(ids) == 0 {
		return 0
	}
	return ids[m.rnd.IntN(len(ids))]
}
