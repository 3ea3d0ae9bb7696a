package enginetest

import (
	"errors"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/hybridlog/hybridlog/compare"
)

func (s Subject) versions(t *testing.T) {
	t.Run("AscendWithGaps", func(t *testing.T) {
		e, m := s.open(t, t.TempDir()), state{}
		set(t, e, m, "k", "at 3")
		snapshot(t, e, 3)
		set(t, e, m, "k", "at 70")
		snapshot(t, e, 70)
		for _, v := range []uint64{0, 1, 3, 69, 70} {
			if err := e.Snapshot(v); !errors.Is(err, compare.ErrVersionOrder) {
				t.Errorf("snapshot %d after 70: %v", v, err)
			}
		}
		verify(t, e, m, []string{"k"})
		restore(t, e, 3)
		verify(t, e, state{"k": "at 3"}, []string{"k"})
		if err := e.Snapshot(4); !errors.Is(err, compare.ErrVersionOrder) {
			t.Errorf("snapshot 4 after 70 and a rollback: %v", err)
		}
		snapshot(t, e, 71)
		restore(t, e, 70)
		verify(t, e, m, []string{"k"})
	})
	t.Run("RestoreZeroIsTheNewest", func(t *testing.T) {
		dir := t.TempDir()
		e, m := s.open(t, dir), state{}
		if err := e.Restore(0); !errors.Is(err, compare.ErrVersionNotFound) {
			t.Errorf("restore without a version: %v", err)
		}
		set(t, e, m, "a", "1")
		snapshot(t, e, 1)
		set(t, e, m, "a", "2")
		snapshot(t, e, 2)
		newest := maps.Clone(m)
		set(t, e, m, "a", "3")
		set(t, e, m, "b", "3")
		restore(t, e, 1)
		verify(t, e, state{"a": "1"}, []string{"a", "b"})
		restore(t, e, 0)
		verify(t, e, newest, []string{"a", "b"})
	})
	t.Run("RestoreIsDurable", func(t *testing.T) {
		dir := t.TempDir()
		e, m := s.open(t, dir), state{}
		set(t, e, m, "a", "1")
		snapshot(t, e, 1)
		set(t, e, m, "a", "2")
		set(t, e, m, "b", "2")
		snapshot(t, e, 2)
		restore(t, e, 1)
		e = s.reopen(t, e, dir)
		verify(t, e, state{"a": "1"}, []string{"a", "b"})
		restore(t, e, 2)
		verify(t, e, m, []string{"a", "b"})
	})
	t.Run("OnlyTheNewestAreKept", s.retention)
	t.Run("SettingsMayChange", s.otherSettings)
}

func (s Subject) retention(t *testing.T) {
	dir := t.TempDir()
	o := s.Options
	o.KeepVersions = 3
	e, m, keys := s.openWith(t, dir, o), state{}, names(50)
	was := map[uint64]state{}
	var disk int64
	for v := uint64(1); v <= 40; v++ {
		for i := range 25 {
			k := keys[(i*7+int(v))%len(keys)]
			set(t, e, m, k, value(k, int(v), 60))
		}
		snapshot(t, e, v)
		was[v] = maps.Clone(m)
		if v == 10 {
			disk = diskBytes(t, o.FS, dir)
		}
	}
	if now := diskBytes(t, o.FS, dir); now > 4*disk+1<<20 {
		t.Errorf("the directory has grown from %d to %d bytes under the same 50 keys", disk, now)
	}
	for _, v := range []uint64{1, 36, 37} {
		if err := e.Restore(v); !errors.Is(err, compare.ErrVersionNotFound) {
			t.Errorf("restore %d, of which only 38 to 40 are kept: %v", v, err)
		}
	}
	verify(t, e, m, keys)
	for _, v := range []uint64{38, 40, 39} {
		restore(t, e, v)
		verify(t, e, was[v], keys)
	}
}

// otherSettings opens one directory with ever other settings.
func (s Subject) otherSettings(t *testing.T) {
	dir := t.TempDir()
	m, keys := state{}, names(200)
	was := map[uint64]state{}
	for i, change := range []func(o *compare.Options){
		func(o *compare.Options) {},
		func(o *compare.Options) { o.MemoryBytes, o.MemtableBytes, o.ThresholdBytes = 32<<20, 1<<20, 1<<20 },
		func(o *compare.Options) { o.MaxRuns, o.Density, o.FalsePositives = 2, 1, 0.5 },
		func(o *compare.Options) { o.MaxRuns, o.Density, o.FalsePositives = 20, 100, 0.0001 },
		func(o *compare.Options) { o.WAL, o.NoCompaction = !o.WAL, !o.NoCompaction },
		func(o *compare.Options) { *o = compare.Options{KeepVersions: 100} },
		func(o *compare.Options) { o.MemtableBytes, o.ThresholdBytes, o.NoSync = 1, 1, true },
	} {
		o := s.Options
		o.KeepVersions = 100
		change(&o)
		e := s.openWith(t, dir, o)
		verify(t, e, m, keys)
		for j, k := range keys {
			if (i+j)%3 == 0 {
				set(t, e, m, k, value(k, i, 30))
			} else if (i+j)%7 == 0 {
				set(t, e, m, k, "")
			}
		}
		v := uint64(i + 1)
		snapshot(t, e, v)
		was[v] = maps.Clone(m)
		closeEngine(t, e)
	}
	e := s.open(t, dir)
	for v, want := range was {
		restore(t, e, v)
		verify(t, e, want, keys)
	}
}

// model runs random operations against a plain map.
func (s Subject) model(t *testing.T) {
	for seed := range scaled(5) {
		t.Run(strconv.Itoa(seed), func(t *testing.T) { s.randomRun(t, uint64(seed)) })
	}
}

func (s Subject) randomRun(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 99))
	dir := t.TempDir()
	o := s.Options
	o.KeepVersions = 4
	o.MaxRuns = 2 + r.IntN(4)
	o.Density = 1 + r.IntN(20)
	o.WAL = r.IntN(2) == 0
	o.NoCompaction = r.IntN(4) == 0
	e, m, keys := s.openWith(t, dir, o), state{}, append(names(150), binaryKeys(50)...)
	was, next, order := map[uint64]state{}, uint64(0), []uint64(nil)
	for step := range min(scaled(6000), 20_000) {
		k := keys[min(r.IntN(len(keys)), r.IntN(len(keys)))]
		switch c := r.IntN(1000); {
		case c < 500:
			set(t, e, m, k, value(k, step, r.IntN(120)))
		case c < 650:
			set(t, e, m, k, "")
		case c < 970:
			verify(t, e, m, []string{k})
		case c < 985:
			next += 1 + r.Uint64N(3)
			snapshot(t, e, next)
			was[next] = maps.Clone(m)
			if order = append(order, next); len(order) > o.KeepVersions {
				delete(was, order[0])
				order = order[1:]
			}
		case c < 990 && len(order) > 0:
			v := order[r.IntN(len(order))]
			restore(t, e, v)
			m = maps.Clone(was[v])
			verify(t, e, m, keys)
		case c < 994:
			closeEngine(t, e)
			e = s.openWith(t, dir, o)
			verify(t, e, m, keys)
		case c < 997:
			if err := e.Restore(next + 1); !errors.Is(err, compare.ErrVersionNotFound) {
				t.Fatalf("restore of a version that never was: %v", err)
			}
		default:
			if err := e.Snapshot(r.Uint64N(next + 1)); !errors.Is(err, compare.ErrVersionOrder) {
				t.Fatalf("snapshot of an old version: %v", err)
			}
		}
	}
	verify(t, e, m, keys)
	for v, want := range was {
		restore(t, e, v)
		verify(t, e, want, keys)
	}
}
