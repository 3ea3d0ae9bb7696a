// Package enginetest is the suite that every engine of package compare passes. It holds the common interface to its word,
// looks for each defect that was found in the thesis' own engines (defects.go, one test per defect, each asserting
// absence as well as presence), and breaks the file system underneath (faults.go, crash.go).
//
// Two of the thesis' defects are of its measurements, and an engine can only make them impossible or not: recovery timed
// while the first instance is still open (here the second is refused, see Basics/SecondOpenIsRefused), and percentiles of
// averages, which is for whoever measures to avoid.
package enginetest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// Subject is an engine to be tested.
type Subject struct {
	Kind string
	// Remote says that the engine takes Options.Remote.
	Remote bool
	// RefusesDivergence says that a directory that has gone another way than its remote does not open, instead of giving
	// way. Retries says that the engine tries again by itself, with pauses, when the remote fails: too slow to break it
	// here at every call; package checkpoint does.
	RefusesDivergence, Retries bool
	// Incremental says that a snapshot writes less than the state.
	Incremental bool
	// DiskSlack is how many bytes of garbage the engine does not care about.
	DiskSlack int64
	// Replays says that after a crash the engine may be at a write behind its last commit.
	Replays bool
	// Options are settings small enough for a few hundred records to spill, merge and wrap around. With NoSync the tests
	// that need no durability are faster; those that cut the power do not use it.
	Options compare.Options
}

// durable returns the options for a file system on which syncs count.
func (s Subject) durable(fsys fsx.FS) compare.Options {
	o := s.Options
	o.FS, o.NoSync = fsys, false
	return o
}

// scaled returns n for the full counts, and less or more for those of this run.
func scaled(n int) int {
	return testkit.Scaled(max(1, n/testkit.UnderRace(10, 5)), max(1, n*2/5), n, 20*n)
}

// Run runs the whole suite.
func Run(t *testing.T, s Subject) {
	t.Run("Basics", s.basics)
	t.Run("Versions", s.versions)
	t.Run("Model", s.model)
	t.Run("Defects", s.defects)
	t.Run("Faults", s.faults)
	t.Run("Crash", s.crash)
	t.Run("Concurrent", s.concurrent)
	if s.Remote {
		t.Run("Remote", s.remote)
	}
}

// state is what a store should hold. Deleted keys are not in it.
type state map[string]string

// set does to the state what Engine.Set does to a store.
func (s state) set(key, value string) {
	if value == "" {
		delete(s, key)
	} else {
		s[key] = value
	}
}

// open opens the engine on the operating system's files, or fails the test.
func (s Subject) open(t *testing.T, dir string) compare.Engine {
	t.Helper()
	return s.openWith(t, dir, s.Options)
}

func (s Subject) openWith(t *testing.T, dir string, o compare.Options) compare.Engine {
	t.Helper()
	e, err := compare.Open(s.Kind, dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { e.Close() }) // ErrClosed where the test has done it.
	return e
}

// reopen closes e and opens its directory again.
func (s Subject) reopen(t *testing.T, e compare.Engine, dir string) compare.Engine {
	t.Helper()
	closeEngine(t, e)
	return s.open(t, dir)
}

func closeEngine(t *testing.T, e compare.Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func set(t *testing.T, e compare.Engine, m state, key, value string) {
	t.Helper()
	if err := e.Set([]byte(key), []byte(value)); err != nil {
		t.Fatalf("set %.40q to %d bytes: %v", key, len(value), err)
	}
	m.set(key, value)
}

func snapshot(t *testing.T, e compare.Engine, v uint64) {
	t.Helper()
	if err := e.Snapshot(v); err != nil {
		t.Fatalf("snapshot %d: %v", v, err)
	}
}

func restore(t *testing.T, e compare.Engine, v uint64) {
	t.Helper()
	if err := e.Restore(v); err != nil {
		t.Fatalf("restore %d: %v", v, err)
	}
}

// read returns what e holds under the keys.
func read(e compare.Engine, keys []string) (state, error) {
	got := state{}
	for _, k := range keys {
		v, err := e.Get([]byte(k))
		if err != nil {
			return nil, fmt.Errorf("get %.40q: %w", k, err)
		}
		if v != nil && len(v) == 0 {
			return nil, fmt.Errorf("get %.40q: empty value, want nil", k)
		}
		got.set(k, string(v))
	}
	return got, nil
}

// verify fails the test unless e holds exactly want among the keys: what is there, and what is not.
func verify(t *testing.T, e compare.Engine, want state, keys []string) {
	t.Helper()
	got, err := read(e, keys)
	if err != nil {
		t.Fatal(err)
	}
	if d := difference(got, want, keys); d != "" {
		t.Fatal(d)
	}
}

// difference describes the first key that differs, or is empty.
func difference(got, want state, keys []string) string {
	for _, k := range keys {
		g, w := got[k], want[k]
		switch {
		case g == w:
		case g == "":
			return fmt.Sprintf("key %.40q is absent, want %.40q", k, w)
		case w == "":
			return fmt.Sprintf("key %.40q is %.40q, want absent", k, g)
		default:
			return fmt.Sprintf("key %.40q is %.40q, want %.40q", k, g, w)
		}
	}
	return ""
}

// names returns n keys; the first characters of neighbours are the same, so that a key's prefix decides nothing.
func names(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("customer/%05d", i)
	}
	return keys
}

// binaryKeys returns n keys of all lengths from 1 on, with zero bytes and shared prefixes.
func binaryKeys(n int) []string {
	r := rand.New(rand.NewPCG(7, 7))
	seen := map[string]bool{}
	for len(seen) < n {
		k := make([]byte, 1+r.IntN(14))
		for i := range k {
			k[i] = []byte{0, 0, 1, 'a', 0xff}[r.IntN(5)]
		}
		seen[string(k)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// value returns a value that says which key and which write it is of.
func value(key string, write, size int) string {
	head := fmt.Sprintf("%x#%d;", key, write)
	return head + string(bytes.Repeat([]byte{'.'}, max(size-len(head), 0)))
}

// diskBytes returns the bytes of all files in a directory.
func diskBytes(t *testing.T, fsys fsx.FS, dir string) (n int64) {
	t.Helper()
	entries, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n += e.Size; e.Dir {
			n += diskBytes(t, fsys, dir+"/"+e.Name)
		}
	}
	return n
}

// files returns the files of a directory and those below it, by path relative to it, without the lock.
func files(t *testing.T, fsys fsx.FS, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	entries, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch {
		case e.Dir:
			for name, data := range files(t, fsys, dir+"/"+e.Name) {
				all[e.Name+"/"+name] = data
			}
		case e.Name != fsx.LockName:
			data, err := fsx.ReadFile(fsys, dir+"/"+e.Name, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name] = data
		}
	}
	return all
}
