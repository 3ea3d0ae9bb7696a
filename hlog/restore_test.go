package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// A rollbacks lets sessions that each have keys of their own count on them while the store is restored to and fro. A
// session knows what its keys must hold: what it wrote last, or after a restore what the version held.
type rollbacks struct {
	t              *testing.T
	s              *Store
	sessions, keys int
	// generation is odd while a restore goes on; it is twice the number of those that are over.
	generation atomic.Int64
	mu         sync.Mutex
	targets    []*heldVersion // of mu: what each restore so far, and the one under way, goes to
	counts     atomic.Int64
	ended      atomic.Bool
}

// since returns what the restores between two generations, both even, went to.
func (r *rollbacks) since(from, to int64) []*heldVersion {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.targets[from/2 : to/2]
}

// heldVersion is a version and what it holds, by session and key.
type heldVersion struct {
	version checkpoint.Version
	held    [][]uint64
}

func (r *rollbacks) key(i, k int) []byte { return key8(i<<16 | k) }

// atRest returns the generation once no restore goes on.
func (r *rollbacks) atRest() (g int64) {
	eventually(r.t, "the end of a restore", func() bool {
		g = r.generation.Load()
		return g%2 == 0 || r.ended.Load()
	})
	return g
}

// session counts on the keys of session i.
func (r *rollbacks) session(i int) error {
	x := r.s.NewSession()
	defer x.Close()
	table, err := NewTable[[8]byte, [4]uint64](x)
	if err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(7, uint64(i)))
	own := make([]uint64, r.keys)
	last := int64(0)
	for n := 0; !r.ended.Load(); n++ {
		g := r.atRest()
		if between := r.since(last, g); len(between) > 0 {
			own, last = slices.Clone(between[len(between)-1].held[i]), g
		}
		k := rnd.IntN(r.keys)
		saw, err := r.count(x, table, n, r.key(i, k))
		if err != nil {
			return err
		}
		r.counts.Add(1)
		if r.atRest() == g {
			if saw != own[k] {
				return fmt.Errorf("session %d: key %d held %d, not the %d that were written", i, k, saw, own[k])
			}
			own[k]++
			continue
		}
		if err := r.reconcile(table, count{i, k, n%countings == getAndSet, own[k], saw}, &own, &last); err != nil {
			return err
		}
	}
	return nil
}

// The ways to count. The last one is two operations, and a restore may come in between.
const (
	byUpdate = iota
	byRMW
	getAndSet
	countings
)

// count is one that a restore raced with.
type count struct {
	session, key int
	twice        bool   // it was two operations
	had          uint64 // what the key held before the restore
	saw          uint64 // what the count found
}

// allows reports whether a count may have found what it saw, and the key then hold now, when the store was restored
// to these targets meanwhile: an operation takes place before, between or after them, and whatever was written before
// a restore is gone after it.
func (c count) allows(targets []*heldVersion, now uint64) bool {
	held := []uint64{c.had} // what the key held at first, and after each restore
	for _, h := range targets {
		held = append(held, h.held[c.session][c.key])
	}
	for read, v := range held {
		if v != c.saw {
			continue
		}
		for write := read; write < len(held); write++ {
			if write > read && !c.twice {
				break
			}
			after := held[len(held)-1] // undone by the restores that came after it
			if write == len(held)-1 {
				after = c.saw + 1
			}
			if now == after {
				return true
			}
		}
	}
	return false
}

// work waits until the sessions have counted that often, so that versions and restores have something to do.
func (r *rollbacks) work(counts int64) {
	end := r.counts.Load() + counts
	eventually(r.t, "the sessions to count", func() bool { return r.counts.Load() >= end || r.ended.Load() })
}

// count adds one to key and returns what it held.
func (r *rollbacks) count(x *Session, table *Table[[8]byte, [4]uint64], n int, key []byte) (saw uint64, err error) {
	switch n % countings {
	case byUpdate:
		err = table.Update([8]byte(key), func(v *[4]uint64, existed bool) {
			saw = v[0]
			v[0]++
			linger(n)
		})
	case byRMW:
		err = x.RMW(key, func(old []byte) []byte {
			if old == nil {
				old = make([]byte, 32)
			}
			saw = binary.LittleEndian.Uint64(old)
			binary.LittleEndian.PutUint64(old, saw+1)
			linger(n)
			return old
		})
	default:
		var v [4]uint64
		v, _, err = table.Get([8]byte(key))
		saw = v[0]
		v[0]++
		linger(n)
		if err == nil {
			err = table.Set([8]byte(key), v) // nobody else writes it, but a restore may come in between
		}
	}
	return saw, err
}

// linger gives restores the time to come between what some counts find and what they write.
func linger(n int) {
	if n/countings%16 == 0 {
		testkit.Pause(300 * time.Microsecond)
	}
}

// reconcile judges a count that a restore raced with, and brings the session's account to what the store holds.
func (r *rollbacks) reconcile(table *Table[[8]byte, [4]uint64], c count, own *[]uint64, last *int64) error {
	for !r.ended.Load() {
		g := r.atRest()
		v, _, err := table.Get([8]byte(r.key(c.session, c.key)))
		if err != nil {
			return err
		}
		if r.atRest() != g || g%2 != 0 {
			continue
		}
		targets := r.since(*last, g)
		if !c.allows(targets, v[0]) {
			return fmt.Errorf("session %d: key %d held %d, was found to hold %d by a count (two operations: %v), and holds %d after the restores to%s",
				c.session, c.key, c.had, c.saw, c.twice, v[0], describe(targets, c))
		}
		*own, *last = slices.Clone(targets[len(targets)-1].held[c.session]), g
		(*own)[c.key] = v[0]
		return nil
	}
	return nil
}

// describe lists the targets with what they hold of the count's key.
func describe(targets []*heldVersion, c count) (s string) {
	for _, h := range targets {
		s += fmt.Sprintf(" %d, which holds %d;", h.version, h.held[c.session][c.key])
	}
	return s
}

// hold reads what a version holds.
func (r *rollbacks) hold(v checkpoint.Version) (*heldVersion, error) {
	w, err := r.s.OpenVersion(context.Background(), v)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	h := &heldVersion{version: v}
	h.held, err = r.read(w)
	return h, err
}

func (r *rollbacks) read(g getter) ([][]uint64, error) {
	held := make([][]uint64, r.sessions)
	for i := range held {
		held[i] = make([]uint64, r.keys)
		for k := range held[i] {
			v, err := g.Get(nil, r.key(i, k))
			switch {
			case err == nil:
				held[i][k] = binary.LittleEndian.Uint64(v)
			case !errors.Is(err, ErrNotFound):
				return nil, fmt.Errorf("session %d, key %d: %w", i, k, err)
			}
		}
	}
	return held, nil
}

// restore goes to version h.
func (r *rollbacks) restore(h *heldVersion) error {
	r.mu.Lock()
	r.targets = append(r.targets, h)
	r.mu.Unlock()
	r.generation.Add(1)
	_, err := r.s.Restore(context.Background(), h.version)
	r.generation.Add(1)
	return err
}

func TestRestore_UnderOperations(t *testing.T) {
	rounds := 30
	if testing.Short() || testkit.Race {
		rounds = 12
	}
	o := tiny()
	o.KeepVersions = 1000
	r := &rollbacks{t: t, s: mustOpen(t, "/store", o), sessions: 3, keys: 600}
	var wg sync.WaitGroup
	for i := range r.sessions {
		wg.Go(func() {
			if err := r.session(i); err != nil {
				t.Error(err)
				r.ended.Store(true)
			}
		})
	}
	wg.Go(func() { // what makes the log spill, and is in nobody's account
		x := r.s.NewSession()
		for i := 0; !r.ended.Load(); i++ {
			must(t, x.Set(fmt.Appendf(nil, "spill %d", i%500), make([]byte, 1000)))
			testkit.Pause(20 * time.Microsecond)
		}
	})
	rnd := rand.New(rand.NewPCG(1, 2))
	known := map[checkpoint.Version]*heldVersion{}
	for n := 0; n < rounds && !r.ended.Load(); n++ {
		r.work(1000)
		v := commit(t, r.s)
		h, err := r.hold(v)
		must(t, err)
		known[v] = h
		if n%3 == 0 {
			must(t, r.s.Compact(context.Background()))
		}
		if n%2 == 0 {
			versions, err := r.s.Versions()
			must(t, err)
			h := known[versions[rnd.IntN(len(versions))].Version]
			r.work(300) // which it undoes, should it go back to the newest one
			must(t, r.restore(h))
		}
	}
	r.ended.Store(true)
	within(t, "a session", wg.Wait)
	versions, err := r.s.Versions()
	must(t, err)
	for range 2 {
		for _, info := range versions {
			_, err := r.s.Restore(context.Background(), info.Version)
			must(t, err)
			held, err := r.read(r.s)
			must(t, err)
			for i := range held {
				for k := range held[i] {
					if held[i][k] != known[info.Version].held[i][k] {
						t.Fatalf("version %d: session %d, key %d is %d, was %d", info.Version, i, k, held[i][k], known[info.Version].held[i][k])
					}
				}
			}
		}
		must(t, r.s.Close())
		r.s = mustOpen(t, "/store", o)
	}
}

// Going to another branch replaces the index. Multi calls, which look at it before their operations begin, must not
// look at the old one.
func TestMulti_IndexReplacedByRestore(t *testing.T) {
	rounds := 200
	if testing.Short() || testkit.Race {
		rounds = 40
	}
	s := mustOpen(t, "/store", tiny())
	var batch [][]byte
	for i := range multiWindow {
		batch = append(batch, key8(i))
		must(t, s.Set(key8(i), key8(i)))
	}
	trunk := commit(t, s)
	branches := []checkpoint.Version{}
	for range 2 {
		_, err := s.Restore(context.Background(), trunk)
		must(t, err)
		must(t, s.Set([]byte("branch"), nil))
		branches = append(branches, commit(t, s))
	}
	var ended atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			x := s.NewSession()
			for !ended.Load() {
				must(t, x.MultiGet(batch, func(i int, v []byte, err error) {
					if err != nil || string(v) != string(batch[i]) {
						t.Errorf("key %d: %x, %v", i, v, err)
					}
				}))
			}
		})
	}
	for i := range rounds {
		_, err := s.Restore(context.Background(), branches[i%2])
		must(t, err)
	}
	ended.Store(true)
	within(t, "a session", wg.Wait)
}
