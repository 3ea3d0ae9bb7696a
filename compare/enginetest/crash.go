package enginetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// crash cuts the power at the write-class calls of a script: at all of them with HLOG_FUZZ=long, else at every few, and
// at others with each seed.
func (s Subject) crash(t *testing.T) {
	for seed := range scaled(2) {
		t.Run(fmt.Sprintf("AtCalls/%d", seed), func(t *testing.T) { s.crashEverywhere(t, uint64(seed)) })
	}
}

// witness knows what a store may hold after a crash at any moment.
type witness struct {
	mu       sync.Mutex
	may      []state          // any of these
	versions map[uint64]state // certainly restorable
	dropped  map[uint64]state // kept no longer; restorable if the store says so
}

func newWitness() *witness {
	return &witness{may: []state{{}}, versions: map[uint64]state{}, dropped: map[uint64]state{}}
}

// begin says that a state is on its way to the disk: both what was and what will be are right.
func (w *witness) begin(target state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.may = append(w.may, maps.Clone(target))
}

// drop says that only the newest versions need be kept from now on.
func (w *witness) drop(keep int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range slices.Sorted(maps.Keys(w.versions))[:max(0, len(w.versions)-keep)] {
		w.dropped[v] = w.versions[v]
		delete(w.versions, v)
	}
}

// end says that the commit is durable.
func (w *witness) end(target state, version uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.may = []state{maps.Clone(target)}
	if version != 0 {
		w.versions[version] = maps.Clone(target)
	}
}

// check returns an error unless the store in fsys is in one of the states it may be in, with all its versions, and can
// go on.
func (s Subject) check(w *witness, fsys fsx.FS, keys []string) error {
	e, err := compare.Open(s.Kind, crashDir, s.durable(fsys))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer e.Close()
	got, err := read(e, keys)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(w.may, func(m state) bool { return maps.Equal(m, got) }) {
		return fmt.Errorf("the state is none of %d that are right; against the newest: %s", len(w.may),
			difference(got, w.may[len(w.may)-1], keys))
	}
	highest := uint64(0)
	must := maps.Clone(w.versions)
	for _, v := range e.(compare.Versioned).Versions() {
		if want, ok := w.dropped[v]; ok {
			must[v] = want
		}
	}
	for v, want := range must {
		highest = max(highest, v)
		if err := e.Restore(v); err != nil {
			return fmt.Errorf("restore %d: %w", v, err)
		}
		got, err := read(e, keys)
		if err != nil {
			return err
		}
		if d := difference(got, want, keys); d != "" {
			return fmt.Errorf("version %d: %s", v, d)
		}
	}
	if err := e.Restore(highest + 100); !errors.Is(err, compare.ErrVersionNotFound) {
		return fmt.Errorf("restore of a version that never was: %w", err)
	}
	if err := e.Snapshot(highest + 50); err != nil {
		return fmt.Errorf("snapshot after the crash: %w", err)
	}
	return e.Close()
}

const crashDir = "/data/store"

// crashEverywhere runs a script once and looks at what the power loss would leave at its calls, in four ways.
func (s Subject) crashEverywhere(t *testing.T, seed uint64) {
	fsys := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 1})
	keys := names(40)
	w := newWitness()
	points, states, again := 0, 0, 0
	var failed error
	look := func(c fsx.Call) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if failed != nil || (c.N+int64(seed))%max(1, int64(12/scaled(5))) != 0 {
			return
		}
		points++
		for _, k := range []fsx.Crash{
			{Keep: fsx.KeepNone}, {Keep: fsx.KeepAll},
			{Keep: fsx.KeepSubset, Seed: uint64(c.N)}, {Keep: fsx.KeepSubset, Seed: uint64(c.N) + 1<<32, Torn: true},
		} {
			states++
			if err := s.check(w, fsys.Clone(k), keys); err != nil {
				failed = fmt.Errorf("crash %v before call %d (%v %s): %w", k, c.N, c.Op, c.Name, err)
				return
			}
		}
		if points%16 == 0 {
			n, err := s.crashAgain(w, fsys.Clone(fsx.Crash{Keep: fsx.KeepSubset, Seed: uint64(c.N)}), keys)
			again += n
			if err != nil {
				failed = fmt.Errorf("crash before call %d (%v %s): %w", c.N, c.Op, c.Name, err)
			}
		}
	}
	if err := s.script(fsys, w, keys, seed, look); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
	testkit.Counted(t, "%d crash states at %d calls, %d more during the recovery", states, points, again)
}

// crashAgain crashes at every call of the recovery from a crash.
func (s Subject) crashAgain(w *witness, fsys *fsx.CrashFS, keys []string) (n int, err error) {
	for k := int64(1); ; k++ {
		second := fsys.Clone(fsx.Crash{Keep: fsx.KeepAll})
		second.CrashAt(k)
		e, err := compare.Open(s.Kind, crashDir, s.durable(second))
		if err == nil {
			e.Close()
		}
		if !second.Crashed() {
			return n, nil
		}
		for _, keep := range []fsx.Crash{{Keep: fsx.KeepNone}, {Keep: fsx.KeepSubset, Seed: uint64(k)}} {
			n++
			if err := s.check(w, second.Clone(keep), keys); err != nil {
				return n, fmt.Errorf("and again %v before call %d of the recovery: %w", keep, k, err)
			}
		}
	}
}

// script does a bit of everything and has look called before each write-class call.
func (s Subject) script(fsys *fsx.CrashFS, w *witness, keys []string, seed uint64, look func(fsx.Call)) error {
	r := rand.New(rand.NewPCG(seed, 3))
	o := s.durable(fsys)
	o.MaxRuns = 2 + r.IntN(2)
	if seed%2 == 1 {
		o.KeepVersions = 3
	}
	fsys.SetHook(look)
	defer fsys.SetHook(nil)
	e, err := compare.Open(s.Kind, crashDir, o)
	if err != nil {
		return err
	}
	m, next := state{}, uint64(0)
	commit := func(target state, version uint64, do func() error) error {
		w.begin(target)
		if version != 0 {
			w.drop(o.KeepVersions - 1)
		}
		if err := do(); err != nil {
			return err
		}
		w.end(target, version)
		m = maps.Clone(target)
		return nil
	}
	for step := range 45 {
		for range 15 {
			k := keys[r.IntN(len(keys))]
			v := value(k, step, r.IntN(90))
			if r.IntN(4) == 0 {
				v = ""
			}
			m.set(k, v)
			if s.Replays {
				w.begin(m)
			}
			if err := e.Set([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		switch c := r.IntN(10); {
		case c < 4:
			next += 1 + r.Uint64N(2)
			err = commit(m, next, func() error { return e.Snapshot(next) })
		case c < 6 && len(w.versions) > 0:
			v := slices.Sorted(maps.Keys(w.versions))[r.IntN(len(w.versions))]
			err = commit(w.versions[v], 0, func() error { return e.Restore(v) })
		case c < 7:
			if err = commit(m, 0, e.Close); err == nil {
				e, err = compare.Open(s.Kind, crashDir, o)
			}
		}
		if err != nil {
			return err
		}
	}
	return commit(m, 0, e.Close)
}
