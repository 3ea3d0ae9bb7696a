package hlog

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

func (m *modelRun) restore(v checkpoint.Version) {
	m.t.Helper()
	info, err := m.s.Restore(context.Background(), v)
	must(m.t, err)
	if info.Version != v || string(info.Cookie) != m.cookies[v] {
		m.t.Fatalf("restore of %d: %+v, cookie %q", v, info, m.cookies[v])
	}
	m.live, m.current = maps.Clone(m.versions[v]), v
}

func (m *modelRun) view(v checkpoint.Version, whole bool) {
	m.t.Helper()
	w, err := m.s.OpenVersion(context.Background(), v)
	must(m.t, err)
	defer w.Close()
	for range 50 {
		m.get(w, m.versions[v], m.key())
	}
	if whole {
		m.scan("scan of a view", w.Scan, m.versions[v])
	}
	inUse := ErrVersionInUse
	if m.opts.ReadOnly {
		inUse = ErrReadOnly
	}
	if err := m.s.Purge(context.Background(), v); !errors.Is(err, inUse) {
		m.t.Fatalf("purge of version %d, which a view reads: %v", v, err)
	}
}

func (m *modelRun) purge(v checkpoint.Version) {
	m.t.Helper()
	err := m.s.Purge(context.Background(), v)
	if v == m.current {
		if !errors.Is(err, ErrVersionInUse) {
			m.t.Fatalf("purge of the current version %d: %v", v, err)
		}
		return
	}
	must(m.t, err)
	delete(m.versions, v)
	for what, err := range map[string]error{
		"restore": func() error { _, err := m.s.Restore(context.Background(), v); return err }(),
		"view":    func() error { _, err := m.s.OpenVersion(context.Background(), v); return err }(),
		"purge":   m.s.Purge(context.Background(), v),
	} {
		if !errors.Is(err, ErrVersionNotFound) {
			m.t.Fatalf("%s of the purged version %d: %v", what, v, err)
		}
	}
}

// reopen closes the store and opens it with other settings. Closing commits what has changed.
func (m *modelRun) reopen() {
	m.t.Helper()
	must(m.t, m.s.Close())
	o := &m.opts
	o.PageBytes = MinPageBytes << m.rnd.IntN(3)
	o.MemoryBytes = MinMemoryBytes << m.rnd.IntN(2)
	o.MutableFraction = []float64{0, 0.1, 0.5, 0.95}[m.rnd.IntN(4)]
	o.NoReadCache = m.rnd.IntN(2) == 0
	o.NoCompaction = m.rnd.IntN(2) == 0
	o.ReadOnly = m.rnd.IntN(4) == 0
	m.open()
	m.list()
	if o.ReadOnly {
		m.scan("scan of a read-only store", m.s.Scan, m.live)
		if v := m.any(); v != 0 {
			m.view(v, false)
		}
		must(m.t, m.s.Close())
		o.ReadOnly = false
		m.open()
		m.list()
	}
}

// list compares the versions, and notes the one that Close made.
func (m *modelRun) list() {
	m.t.Helper()
	infos, err := m.s.Versions()
	must(m.t, err)
	var ids []checkpoint.Version
	for _, i := range infos {
		ids = append(ids, i.Version)
		if _, ok := m.versions[i.Version]; !ok && i.Version > m.newest() {
			m.commit(i.Version, "")
		}
	}
	for _, i := range infos {
		if i.Parent != m.parent[i.Version] || string(i.Cookie) != m.cookies[i.Version] || i.Current != (i.Version == m.current) {
			m.t.Fatalf("version %+v: parent %d, cookie %q, current %d", i, m.parent[i.Version], m.cookies[i.Version], m.current)
		}
	}
	if want := slices.Sorted(maps.Keys(m.versions)); !slices.Equal(ids, want) {
		m.t.Fatalf("versions %d, want %d", ids, want)
	}
}

// step does one random thing.
func (m *modelRun) step() {
	switch n := m.rnd.IntN(1000); {
	case n < 800:
		m.single()
	case n < 900:
		m.table()
	case n < 965:
		m.multi()
	case n < 980:
		m.checkpoint()
	case n < 985:
		if v := m.any(); v != 0 {
			m.view(v, m.rnd.IntN(4) == 0)
			m.changes(m.any(), v)
		}
	case n < 990:
		if v := m.any(); v != 0 {
			m.restore(v)
		}
	case n < 992:
		must(m.t, m.s.Compact(context.Background()))
	case n < 994:
		if v := m.any(); v != 0 && len(m.versions) > 4 {
			m.purge(v)
		}
	case n < 996:
		m.scan("scan", m.s.Scan, m.live)
	case n < 998:
		m.reopen()
	default:
		m.list()
	}
}

// finish compares everything: the live state, and every version by a view, live, and after reopening.
func (m *modelRun) finish() {
	m.scan("scan", m.s.Scan, m.live)
	for range 200 {
		m.get(m.s, m.live, m.key())
	}
	for range 2 {
		for range min(len(m.versions), 15) {
			v := m.any()
			m.view(v, true)
			m.changes(m.any(), v)
			m.changes(0, v)
			m.restore(v)
			m.scan("scan after a restore", m.s.Scan, m.live)
		}
		m.reopen()
	}
	must(m.t, m.s.Close())
}

// Random operations through the whole API, versions and rollbacks, purges, compactions and openings with other
// settings, in the least memory: presence, absence and bytes agree with a map.
func TestStore_AgreesWithModel(t *testing.T) {
	seeds, steps := testkit.Scaled(1, 2, 3, 300), testkit.Scaled(testkit.UnderRace(800, 1500), 3000, 4000, 8000)
	for seed := range uint64(seeds) {
		m := newModelRun(t, seed)
		for range steps {
			m.step()
		}
		metrics := m.s.Metrics()
		t.Logf("seed %d: %d keys, %d versions, log of %d bytes, %d cold reads", seed, len(m.live), len(m.versions), metrics.LogTail, metrics.ColdReadCount)
		m.finish()
	}
}
