package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// A rollbacks lets sessions that each have keys of their own count on them while the store is restored to and fro. A
// session knows what its keys must hold: what it wrote last, or after a restore what the version held.
type rollbacks struct {
	t              *testing.T
	s              *Store
	sessions, keys int
	// generation is odd while a restore goes on; target is what the last one, or the one under way, goes to.
	generation atomic.Int64
	target     atomic.Pointer[heldVersion]
	ended      atomic.Bool
}

// heldVersion is a version and what it holds, by session and key.
type heldVersion struct {
	version checkpoint.Version
	held    [][]uint64
}

func (r *rollbacks) key(i, k int) []byte { return key8(i<<32 | k) }

// settled returns the generation once no restore goes on.
func (r *rollbacks) settled() int64 {
	for {
		if g := r.generation.Load(); g%2 == 0 || r.ended.Load() {
			return g
		}
		time.Sleep(10 * time.Microsecond)
	}
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
		g := r.settled()
		if g != last {
			own, last = append([]uint64(nil), r.target.Load().held[i]...), g
			continue
		}
		k := rnd.IntN(r.keys)
		saw, err := r.count(x, table, n, r.key(i, k))
		if err != nil {
			return err
		}
		if r.settled() == g {
			if saw != own[k] {
				return fmt.Errorf("session %d: key %d held %d, not the %d that were written", i, k, saw, own[k])
			}
			own[k]++
			continue
		}
		if err := r.reconcile(table, i, k, &own, &last); err != nil {
			return err
		}
	}
	return nil
}

// count adds one to key and returns what it held.
func (r *rollbacks) count(x *Session, table *Table[[8]byte, [4]uint64], n int, key []byte) (saw uint64, err error) {
	switch n % 3 {
	case 0:
		err = table.Update([8]byte(key), func(v *[4]uint64, existed bool) {
			saw = v[0]
			v[0]++
		})
	case 1:
		err = x.RMW(key, func(old []byte) []byte {
			if old == nil {
				old = make([]byte, 32)
			}
			saw = binary.LittleEndian.Uint64(old)
			binary.LittleEndian.PutUint64(old, saw+1)
			return old
		})
	default:
		var v [4]uint64
		v, _, err = table.Get([8]byte(key))
		saw = v[0]
		v[0]++
		if err == nil {
			err = table.Set([8]byte(key), v) // nobody else writes it, but a restore may come in between
		}
	}
	return saw, err
}

// reconcile finds out on which side of a restore the operation on key k was that raced with it.
func (r *rollbacks) reconcile(table *Table[[8]byte, [4]uint64], i, k int, own *[]uint64, last *int64) error {
	for !r.ended.Load() {
		g := r.settled()
		target := r.target.Load()
		v, _, err := table.Get([8]byte(r.key(i, k)))
		if err != nil {
			return err
		}
		if r.settled() != g || r.target.Load() != target {
			continue
		}
		*own, *last = append([]uint64(nil), target.held[i]...), g
		// The third kind of count is two operations, of which a restore may have undone what the first had read.
		if v[0] < (*own)[k] {
			return fmt.Errorf("session %d: key %d holds %d after the restore of %d, which holds %d", i, k, v[0], target.version, (*own)[k])
		}
		(*own)[k] = v[0]
		return nil
	}
	return nil
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
	r.generation.Add(1)
	r.target.Store(h)
	_, err := r.s.Restore(context.Background(), h.version)
	r.generation.Add(1)
	return err
}

func TestRestore_UnderOperations(t *testing.T) {
	rounds := 30
	if testing.Short() || raceEnabled {
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
			time.Sleep(20 * time.Microsecond)
		}
	})
	rnd := rand.New(rand.NewPCG(1, 2))
	known := map[checkpoint.Version]*heldVersion{}
	for n := 0; n < rounds && !r.ended.Load(); n++ {
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
	if testing.Short() || raceEnabled {
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
