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
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// A slots is a load whose every lost, doubled or reordered operation shows: each value has one counter per session,
// and session i adds one to counter i of keys in an order that can be worked out again. A state is right if it holds,
// for every session, exactly the first so many of its operations.
type slots struct {
	sessions, keys int
	keyOf          func(i int) []byte
	seed           uint64
	allowed        atomic.Int64 // operations that each session may do in all
	started        []atomic.Int64
	done           []atomic.Int64
}

func newSlots(sessions, keys int) *slots {
	return &slots{
		sessions: sessions, keys: keys, keyOf: key8, seed: 1,
		started: make([]atomic.Int64, sessions), done: make([]atomic.Int64, sessions),
	}
}

// order returns the keys that session i changes, one after the other: mostly a few hot ones.
func (l *slots) order(i int) func() int {
	r := rand.New(rand.NewPCG(l.seed, uint64(i)))
	return func() int {
		if r.IntN(4) == 0 {
			return r.IntN(l.keys)
		}
		return r.IntN(1 + l.keys/64)
	}
}

// add is the callback of session i. Values have a tail whose length follows the counters, so that they grow and
// shrink.
func (l *slots) add(i int) func(old []byte) []byte {
	buf := make([]byte, 0, 8*l.sessions+256)
	return func(old []byte) []byte {
		v := buf[:8*l.sessions]
		clear(v)
		copy(v, old)
		n := binary.LittleEndian.Uint64(v[8*i:]) + 1
		binary.LittleEndian.PutUint64(v[8*i:], n)
		for j := range int(n*31+uint64(i)*17) % 200 {
			v = append(v, byte(n)+byte(j))
		}
		return v
	}
}

// run does session i's operations on x until it returns an error or stop says so.
func (l *slots) run(x *Session, i int, stop func() bool) error {
	next, add := l.order(i), l.add(i)
	var batch [][]byte
	for n := 0; !stop(); n++ {
		if l.done[i].Load() >= l.allowed.Load() {
			testkit.Pause(20 * time.Microsecond)
			continue
		}
		if n%100 < 90 {
			k := l.keyOf(next())
			l.started[i].Add(1)
			if err := x.RMW(k, add); err != nil {
				return err
			}
			l.done[i].Add(1)
			continue
		}
		batch = batch[:0]
		for range 1 + n%7 {
			batch = append(batch, l.keyOf(next()))
		}
		l.started[i].Add(int64(len(batch)))
		if err := x.MultiRMW(batch, func(_ int, old []byte) []byte { return add(old) }); err != nil {
			return err
		}
		l.done[i].Add(int64(len(batch)))
	}
	return nil
}

func counts(c []atomic.Int64) []int64 {
	var ns []int64
	for i := range c {
		ns = append(ns, c[i].Load())
	}
	return ns
}

type getter interface {
	Get(dst, key []byte) ([]byte, error)
}

// check returns what is wrong with the state that g shows: least and most bound how many operations of each session
// it may hold; nil is no bound. It returns how many it holds.
func (l *slots) check(g getter, least, most []int64) ([]int64, error) {
	state := make([][]uint64, l.keys)
	sums := make([]int64, l.sessions)
	var buf []byte
	for k := range state {
		v, err := g.Get(buf[:0], l.keyOf(k))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", k, err)
		}
		buf = v
		if state[k], err = l.decode(v); err != nil {
			return nil, fmt.Errorf("key %d: %w", k, err)
		}
		for i, n := range state[k] {
			sums[i] += int64(n)
		}
	}
	for i := range l.sessions {
		if least != nil && sums[i] < least[i] || most != nil && sums[i] > most[i] {
			return nil, fmt.Errorf("session %d: %d operations, not within %v and %v", i, sums[i], least, most)
		}
		want := make([]uint64, l.keys)
		next := l.order(i)
		for range sums[i] {
			want[next()]++
		}
		for k := range want {
			if got := at(state[k], i); got != want[k] {
				return nil, fmt.Errorf("session %d: key %d has %d of %d operations, the state %d in all", i, k, got, want[k], sums[i])
			}
		}
	}
	return sums, nil
}

func at(counters []uint64, i int) uint64 {
	if counters == nil {
		return 0
	}
	return counters[i]
}

// decode takes a value apart and verifies its tail, which the session that wrote it has made.
func (l *slots) decode(v []byte) ([]uint64, error) {
	if len(v) < 8*l.sessions {
		return nil, fmt.Errorf("a value of %d bytes", len(v))
	}
	counters := make([]uint64, l.sessions)
	whole := false
	for i := range counters {
		n := binary.LittleEndian.Uint64(v[8*i:])
		counters[i] = n
		tail := v[8*l.sessions:]
		if len(tail) == int(n*31+uint64(i)*17)%200 {
			ok := true
			for j, b := range tail {
				ok = ok && b == byte(n)+byte(j)
			}
			whole = whole || ok
		}
	}
	if !whole {
		return nil, fmt.Errorf("no session has written %x", v)
	}
	return counters, nil
}

// start runs all sessions until the returned function is called, which returns when they have ended.
func (l *slots) start(t *testing.T, s *Store) (stop func()) {
	var ended atomic.Bool
	var wg sync.WaitGroup
	for i := range l.sessions {
		wg.Go(func() {
			x := s.NewSession()
			defer x.Close()
			if err := l.run(x, i, ended.Load); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("session %d: %v", i, err)
			}
		})
	}
	return func() {
		ended.Store(true)
		within(t, "a session", wg.Wait)
	}
}

// allow lets each session do so many operations more, and returns when the first of them have been done.
func (l *slots) allow(t *testing.T, n int64) {
	t.Helper()
	before := l.done[0].Load()
	l.allowed.Add(n)
	eventually(t, "the operations that are allowed", func() bool { return l.done[0].Load() >= before+n/2 })
}

// bounded begins a checkpoint and returns how many operations of each session it holds at least and at most (G2).
func (l *slots) bounded(t *testing.T, s *Store) (p *PendingCheckpoint, least, most []int64) {
	t.Helper()
	least = counts(l.done)
	p, err := s.BeginCheckpoint()
	must(t, err)
	return p, least, counts(l.started)
}

// slotVersion is a version and what it holds.
type slotVersion struct {
	version checkpoint.Version
	counts  []int64
}

// Checkpoints are taken while sessions go on, in memory that spills, with an index that grows and a log that is being
// compacted. Every version is an exact prefix of each session: by a view, in a clone of the disk, and after a rollback.
func TestCheckpoint_IsAnExactPrefixOfEachSession(t *testing.T) {
	for _, c := range []struct {
		name           string
		sessions, keys int
		colliding      bool
	}{
		{"spilling", 4, 4000, false},
		{"in memory", 4, 300, false},
		{"one chain", 3, 4, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			versions := 24
			if testing.Short() || testkit.Race {
				versions = 6
			}
			o := tiny()
			disk := o.FS.(*fsx.CrashFS)
			o.KeepVersions, o.NoCompaction = 100, true
			s := mustOpen(t, "/store", o)
			l := newSlots(c.sessions, c.keys)
			if c.colliding {
				keys := colliding(t, s, 1, c.keys)[0]
				l.keyOf = func(i int) []byte { return keys[i] }
			}
			stop := l.start(t, s)
			var all []slotVersion
			for n := range versions {
				l.allow(t, 500)
				p, least, most := l.bounded(t, s)
				if n%3 == 1 { // another cut at once, and more operations
					l.allow(t, 200)
					_, err := s.BeginCheckpoint()
					must(t, err)
				}
				info, err := p.Wait(context.Background())
				must(t, err)
				all = append(all, slotVersion{info.Version, l.verify(t, s, disk, o, info.Version, least, most, n%4 == 0)})
				if n%5 == 4 {
					must(t, s.Compact(context.Background()))
				}
			}
			stop()
			if _, err := l.check(s, counts(l.done), counts(l.started)); err != nil {
				t.Errorf("the live store: %v", err)
			}
			for _, i := range rand.Perm(len(all)) {
				_, err := s.Restore(context.Background(), all[i].version)
				must(t, err)
				if _, err := l.check(s, all[i].counts, all[i].counts); err != nil {
					t.Errorf("restored to %d: %v", all[i].version, err)
				}
			}
		})
	}
}

// verify checks version v by a view and, if clone is set, in a store that is opened on what a power failure would
// leave now. It returns what v holds.
func (l *slots) verify(t *testing.T, s *Store, disk *fsx.CrashFS, o *Options, v checkpoint.Version, least, most []int64, clone bool) []int64 {
	t.Helper()
	w, err := s.OpenVersion(context.Background(), v)
	must(t, err)
	defer w.Close()
	held, err := l.check(w, least, most)
	if err != nil {
		t.Errorf("view of %d: %v", v, err)
	}
	if !clone {
		return held
	}
	again := *o
	again.FS = disk.Clone(fsx.Crash{Keep: fsx.KeepSubset, Seed: uint64(v), Torn: true})
	r, err := Open("/store", &again)
	must(t, err)
	defer r.Close()
	if _, err := l.check(r, least, nil); err != nil {
		t.Errorf("opened after a crash at or past %d: %v", v, err)
	}
	if _, err := r.Restore(context.Background(), v); err != nil {
		t.Errorf("restore of %d after a crash: %v", v, err)
	}
	if _, err := l.check(r, held, held); err != nil {
		t.Errorf("%d, restored after a crash: %v", v, err)
	}
	return held
}
