package checkpoint

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// toy is the smallest engine that uses lineages the way a real one does: records with a version and a link to the one
// before, an index, checkpoints whose log is fuzzy at the end, rollback by rewinding and replaying, compaction that
// drops tombstones, purges whose garbage is really gone. Its point is what Extend, Trim,
// References and V9 promise.
type toy struct {
	rng    *rand.Rand
	d      *Dir
	log    map[uint64]record
	tail   uint64
	index  map[int]uint64 // key -> newest record
	live   map[int]int    // what the store holds: the model
	start  uint64         // log of the next version begins here
	begin  uint64         // compacted below
	isLive bool           // went on from the current version
	ver    uint64         // log version
	models map[Version]map[int]int
}

type record struct {
	key, value int // value 0 deletes
	ver        uint64
	prev       uint64
}

func newToy(seed uint64) (*toy, error) {
	d, err := OpenDir(fsx.NewCrash(fsx.CrashOptions{}), "store", testIdentity, false)
	return &toy{
		rng: rand.New(rand.NewPCG(seed, 7)), d: d, log: map[uint64]record{}, tail: 4096, start: 4096, ver: 1,
		index: map[int]uint64{}, live: map[int]int{}, models: map[Version]map[int]int{},
	}, err
}

func (s *toy) append(key, value int, ver uint64) {
	s.log[s.tail] = record{key, value, ver, s.index[key]}
	s.index[key] = s.tail
	s.tail += 8
}

func put(m map[int]int, key, value int) {
	if value == 0 {
		delete(m, key)
	} else {
		m[key] = value
	}
}

// update writes or deletes some key in log version ver, which may be the one before the newest, and returns it.
func (s *toy) update() (key, value int) {
	key, value = s.rng.IntN(12), s.rng.IntN(3)*int(1+s.tail) // a third deletes
	put(s.live, key, value)
	return key, value
}

func (s *toy) checkpoint(id Version) error {
	fuzzy := s.tail
	model := maps.Clone(s.live)
	moved := map[int]bool{} // keys that have a record of the next version: nothing old goes above it
	for range s.rng.IntN(6) {
		key, value := s.update()
		ver := s.ver + 1
		if s.rng.IntN(2) == 0 && !moved[key] {
			ver = s.ver
			put(model, key, value)
		} else {
			moved[key] = true
		}
		s.append(key, value, ver)
	}
	s.tail = (s.tail + 15) &^ 15
	if fuzzy > s.tail-8 {
		fuzzy = s.tail
	}
	parent := s.d.Current()
	extents := Extend(parent, Extent{Start: s.start, End: s.tail, Fuzzy: fuzzy, LogVersion: s.ver}, s.isLive)
	m := &Manifest{Version: id, Extents: Trim(extents, s.begin), DeltaStart: s.start, Cut: s.tail, LogVersion: s.ver}
	if parent != nil {
		m.Parent = parent.Version
	}
	if err := s.d.Commit(m); err != nil {
		return err
	}
	s.models[id] = model
	s.start, s.isLive, s.begin = s.tail, true, 0
	s.ver++
	return nil
}

// liveManifest is the lineage of the running store.
func (s *toy) liveManifest() *Manifest {
	return &Manifest{Extents: Extend(s.d.Current(), Extent{Start: s.start, End: s.tail, Fuzzy: s.tail, LogVersion: s.ver}, s.isLive)}
}

// content returns the records of a lineage from an address on.
func (s *toy) content(extents []Extent, from uint64) map[uint64]record {
	all := make(map[uint64]record)
	for _, e := range extents {
		for a := max(e.Start, from); a < e.End; a += 8 {
			if r, ok := s.log[a]; ok && (a < e.Fuzzy || r.ver != e.LogVersion+1) {
				all[a] = r
			}
		}
	}
	return all
}

func (s *toy) restore(v Version) error {
	m, err := s.d.Manifest(v)
	if err != nil {
		return err
	}
	from := divergence(s.liveManifest(), m)
	for key, a := range s.index {
		if from == 0 {
			a = 0 // nothing in common: recovered from its own log alone
		}
		for a >= from && a != 0 {
			r, ok := s.log[a]
			if !ok {
				return fmt.Errorf("rewinding key %d needs the record at %d, which is gone", key, a)
			}
			a = r.prev
		}
		s.index[key] = a
	}
	for a, r := range s.content(m.Extents, from) {
		s.index[r.key] = max(s.index[r.key], a)
	}
	if err := s.d.SetHead(v); err != nil {
		return err
	}
	s.live = maps.Clone(s.models[v])
	s.tail = (s.tail + 15) &^ 15
	s.start, s.isLive, s.begin = s.tail, false, 0
	if s.ver += 2; s.rng.IntN(3) == 0 {
		s.ver = m.LogVersion + 1 // it was closed, too: versions on other branches may have had these log versions
	}
	return nil
}

func (s *toy) compact() error {
	m := s.d.Current()
	if m == nil || len(m.Extents) == 0 {
		return nil
	}
	floor := s.d.minDivergence(m)
	first := m.Extents[0].Start
	target := first + (m.Cut-first)*uint64(1+s.rng.IntN(3))/3&^15
	for a, r := range s.content(s.liveManifest().Extents, 0) {
		switch {
		case a >= target || s.index[r.key] != a:
		case r.value == 0 && a < floor:
			delete(s.index, r.key)
		default:
			s.append(r.key, r.value, s.ver)
		}
	}
	s.begin = max(s.begin, target)
	return nil
}

// collect forgets the records that no version and not the running store refer to.
func (s *toy) collect() error {
	refs, _, err := s.d.References()
	if err != nil {
		return err
	}
	refs.AddSet(Log(s.liveManifest().Extents))
	for a := range s.log {
		if !refs.Contains(a) {
			delete(s.log, a)
		}
	}
	return nil
}

// check compares the running store and every version with their models, and every two lineages with each other.
func (s *toy) check() error {
	got := make(map[int]int)
	for key, a := range s.index {
		if a == 0 {
			continue
		}
		r, ok := s.log[a]
		if !ok {
			return fmt.Errorf("key %d is at %d, which is gone", key, a)
		}
		put(got, key, r.value)
	}
	if !reflect.DeepEqual(got, s.live) {
		return fmt.Errorf("the store holds %v, want %v", got, s.live)
	}
	live := s.liveManifest()
	lineages := []lineage{{live, s.content(live.Extents, 0)}}
	for _, info := range s.d.Versions() {
		m, err := s.d.Manifest(info.Version)
		if err != nil {
			return err
		}
		l := lineage{m, s.content(m.Extents, 0)}
		got, at := make(map[int]int), make(map[int]uint64)
		for a, r := range l.records {
			if a > at[r.key] {
				at[r.key] = a
				put(got, r.key, r.value)
			}
		}
		if !reflect.DeepEqual(got, s.models[m.Version]) {
			return fmt.Errorf("version %d holds %v, want %v", m.Version, got, s.models[m.Version])
		}
		lineages = append(lineages, l)
	}
	for _, a := range lineages {
		for _, b := range lineages {
			if err := a.checkDivergence(b); err != nil {
				return fmt.Errorf("versions %d and %d: %w", a.m.Version, b.m.Version, err)
			}
		}
	}
	return nil
}

type lineage struct {
	m       *Manifest
	records map[uint64]record
}

// checkDivergence looks at the records of a only: it is called both ways.
func (a lineage) checkDivergence(b lineage) error {
	f := divergence(a.m, b.m)
	begin := uint64(0) // what was compacted away cannot be compared
	if len(b.m.Extents) > 0 {
		begin = b.m.Extents[0].Start
	}
	for at := range a.records {
		_, both := b.records[at]
		if at >= begin && at < f && !both || at >= f && both && !fuzzyAt(a.m, at) && !fuzzyAt(b.m, at) {
			return fmt.Errorf("diverge at %d, but %d is in both: %v: %v, %v", f, at, both, a.m.Extents, b.m.Extents)
		}
	}
	return nil
}

func fuzzyAt(m *Manifest, a uint64) bool {
	return slices.ContainsFunc(m.Extents, func(e Extent) bool { return a >= e.Fuzzy && a < e.End })
}

func (s *toy) step(next *Version) error {
	infos := s.d.Versions()
	pick := func() Version { return infos[s.rng.IntN(len(infos))].Version }
	switch k := s.rng.IntN(20); {
	case k < 9 || len(infos) == 0 && k > 12:
		key, value := s.update()
		s.append(key, value, s.ver)
		return nil
	case k < 13:
		*next += 1 + Version(s.rng.IntN(2))
		return s.checkpoint(*next)
	case k < 16:
		return s.restore(pick())
	case k < 18:
		return s.compact()
	default:
		if v := pick(); v != s.d.Current().Version {
			if _, err := s.d.Purge(v); err != nil {
				return err
			}
		}
		return s.collect()
	}
}

func TestHistory_EveryVersionStaysWhole(t *testing.T) {
	runs := testkit.Scaled(50, 150, 400, 20_000)
	for seed := range uint64(runs) {
		s, err := newToy(seed)
		must(t, err)
		var next Version
		for i := range 120 {
			err := s.step(&next)
			if err == nil && i%4 == 3 {
				err = s.check()
			}
			if err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
		}
	}
}
