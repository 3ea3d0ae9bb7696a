package hlog

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// drains runs work, which takes a first step, waits for the operations that are inside, and takes a second: while one
// is inside, the second must not come. waiter is the function that waits.
func drains(t *testing.T, s *Store, work func(), waiter string, first, second func() bool) {
	t.Helper()
	g := s.epochs.Register()
	defer g.Release()
	g.Enter()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		work()
	}()
	eventually(t, "the first step", first)
	eventually(t, "it to wait, or the second step", func() bool {
		return second() || testkit.Stands("[sleep", ").Synchronize(", waiter)
	})
	early := second()
	g.Exit()
	within(t, "the second step", func() { <-ended })
	if early {
		t.Error("it has not waited for an operation that is inside")
	}
	if !second() {
		t.Error("it has not taken the second step")
	}
}

// A checkpoint takes its cut when the operations of the version before have left (C4).
func TestEpoch_IsDrainedBeforeTheSecondStep(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	version := s.control.Load()
	var cut atomic.Bool
	drains(t, s, func() {
		if p, err := s.BeginCheckpoint(); err != nil {
			t.Error(err)
		} else {
			<-p.version.Cutting()
		}
		cut.Store(true)
	}, ").takeCut(", func() bool { return s.control.Load() != version }, cut.Load)
}

// Records are updated in place up to the moment their page becomes read-only and is written. An update that saw the
// page mutable has to be in what is written, however late it is (H2): in the end nothing is in memory any more, and the
// last value of each key has to be on disk, whole.
func TestSet_InPlaceWhileThePageIsWritten(t *testing.T) {
	o := tiny()
	o.MutableFraction, o.NoReadCache, o.NoCompaction = 0.001, true, true
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	defer x.Close()
	keys, size := 12_000, 2000 // a value takes long enough to write for the pager to come in between
	if testing.Short() {
		keys /= 4
	}
	last := make([]uint64, keys)
	value := make([]byte, size)
	n := uint64(0)
	set := func(i int) {
		n++
		last[i] = n
		for off := 0; off < size; off += 8 {
			binary.LittleEndian.PutUint64(value[off:], n)
		}
		must(t, x.Set(key8(i), value))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range keys {
		set(i)
		for range 4 {
			set(max(0, i-rng.IntN(20)))
		}
	}
	evict(t, s)
	for i := range keys {
		got, err := s.Get(nil, key8(i))
		must(t, err)
		for off := 0; off < size; off += 8 {
			if v := binary.LittleEndian.Uint64(got[off:]); v != last[i] {
				t.Fatalf("key %d, byte %d: write %d, want %d", i, off, v, last[i])
			}
		}
	}
}

// No more than two versions have operations under way: while one of the version before the last is inside, no further
// one begins (C3).
func TestCheckpoint_WaitsForTheCutBefore(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	must(t, s.Set([]byte("k"), nil))
	g := s.epochs.Register()
	defer g.Release()
	g.Enter()
	version := s.control.Load()
	_, err := s.BeginCheckpoint()
	must(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := s.BeginCheckpoint()
		ended <- err
	}()
	eventually(t, "the second to wait for the cut of the first", func() bool {
		return len(ended) > 0 || testkit.Stands("[chan receive", ").BeginCheckpoint(", ").waitCut(")
	})
	if now := s.control.Load(); now != version+1 {
		t.Errorf("%d versions have begun", now-version)
	}
	g.Exit()
	must(t, <-ended)
}

// An operation that entered before a checkpoint began, and comes upon a record that was written after it, has been
// overtaken: what it would write belongs to the version, and what it would write over does not (C3). It starts over.
func TestCheckpoint_OvertakenOperationStartsOver(t *testing.T) {
	o := tiny()
	s := mustOpen(t, "/store", o)
	key := []byte("key")
	h := s.hash(key)
	must(t, s.Set(key, []byte("before")))
	x := s.NewSession()
	defer x.Close()
	var m modification
	old, err := x.readForUpdate(&m, key, h)
	must(t, err)
	if string(old) != "before" {
		t.Fatalf("read %q", old)
	}
	c, err := x.enter()
	must(t, err)
	p, err := s.BeginCheckpoint()
	must(t, err)
	must(t, s.Set(key, []byte("after")))
	if o, _ := x.trySet(c, key, []byte("set"), h); o != again {
		t.Errorf("set: %v", o)
	}
	if o := x.tryDelete(c, key, h); o != again {
		t.Errorf("delete: %v", o)
	}
	m.c = c
	if o := x.updateByCopy(&m, key, h, []byte("updated"), false); o != again {
		t.Errorf("update: %v", o)
	}
	x.guard.Exit()
	_, err = p.Wait(t.Context())
	must(t, err)
	w, err := s.OpenVersion(t.Context(), p.Version())
	must(t, err)
	for _, c := range []struct {
		of interface {
			Get(dst, key []byte) ([]byte, error)
		}
		want string
	}{{w, "before"}, {s, "after"}} {
		if v, err := c.of.Get(nil, key); err != nil || string(v) != c.want {
			t.Errorf("%q, %v, want %q", v, err, c.want)
		}
	}
	must(t, w.Close())
}

// A record that could not be published is in the log all the same, behind the one that was faster and is updated in
// place from then on. Recovery must not take it for the newest (W2).
func TestSet_AbandonedRecordStaysDead(t *testing.T) {
	o := tiny()
	s := mustOpen(t, "/store", o)
	key := []byte("key")
	h := s.hash(key)
	x := s.NewSession()
	c, err := x.enter()
	must(t, err)
	slot, e, status := s.index().FindOrCreate(h)
	if status != index.Found {
		t.Fatal(status)
	}
	must(t, s.Set(key, []byte("faster")))
	if o := x.publish(c, slot, e, source{}, key, []byte("abandoned"), false); o != again {
		t.Fatal(o)
	}
	x.guard.Exit()
	must(t, x.Close())
	must(t, s.Set(key, []byte("newest"))) // in place
	check := func(when string) {
		t.Helper()
		if v, err := s.Get(nil, key); err != nil || string(v) != "newest" {
			t.Errorf("%s: %q, %v", when, v, err)
		}
		n := 0
		must(t, s.Scan(t.Context(), func(_, v []byte) bool {
			if n++; string(v) != "newest" {
				t.Errorf("%s: scan: %q", when, v)
			}
			return true
		}))
		if n != 1 {
			t.Errorf("%s: scan: %d keys", when, n)
		}
	}
	check("before")
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	check("after opening again")
}

// Once a checkpoint has begun, nothing is changed in place that was written before it, through whatever door and by
// whichever short path, although all of it is as mutable as it was: the cut waits for an operation that is inside (C2).
func TestCheckpoint_EveryDoorCopies(t *testing.T) {
	o := tiny()
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	defer x.Close()
	table, err := NewTable[uint64, uint64](x)
	must(t, err)
	small, large := []byte("old value"), make([]byte, 3000)
	replace := func([]byte) []byte { return []byte("new value") }
	inPlace := func(old []byte) []byte { old[0]++; return old }
	word := binary.LittleEndian.Uint64
	eight := []byte("old word")
	doors := []struct {
		name string
		old  []byte
		do   func(key []byte) error
	}{
		{"Set", small, func(k []byte) error { return x.Set(k, []byte("new value")) }},
		{"Set large", large, func(k []byte) error { return x.Set(k, []byte("new value")) }},
		{"Store.Set", small, func(k []byte) error { return s.Set(k, []byte("new value")) }},
		{"Delete", small, x.Delete},
		{"Delete large", large, x.Delete},
		{"RMW", small, func(k []byte) error { return x.RMW(k, replace) }},
		{"RMW in place", small, func(k []byte) error { return x.RMW(k, inPlace) }},
		{"RMW large", large, func(k []byte) error { return x.RMW(k, inPlace) }},
		{"RMW that deletes", small, func(k []byte) error { return x.RMW(k, func([]byte) []byte { return nil }) }},
		{"MultiSet", small, func(k []byte) error { return x.MultiSet([][]byte{k}, [][]byte{[]byte("new value")}) }},
		{"MultiRMW", small, func(k []byte) error {
			return x.MultiRMW([][]byte{k}, func(_ int, old []byte) []byte { return inPlace(old) })
		}},
		{"Table.Set", eight, func(k []byte) error { return table.Set(word(k), 1) }},
		{"Table.Delete", eight, func(k []byte) error { return table.Delete(word(k)) }},
		{"Table.Update", eight, func(k []byte) error { return table.Update(word(k), func(v *uint64, _ bool) { *v++ }) }},
		{"Table.MultiSet", eight, func(k []byte) error { return table.MultiSet([]uint64{word(k)}, []uint64{1}) }},
		{"Table.MultiUpdate", eight, func(k []byte) error {
			return table.MultiUpdate([]uint64{word(k)}, func(_ int, v *uint64, _ bool) { *v++ })
		}},
	}
	for i, d := range doors {
		must(t, x.Set(key8(i), d.old))
	}
	g := s.epochs.Register()
	defer g.Release()
	g.Enter()
	p, err := s.BeginCheckpoint()
	must(t, err)
	for i, d := range doors {
		if err := d.do(key8(i)); err != nil {
			t.Errorf("%s: %v", d.name, err)
		}
	}
	g.Exit()
	_, err = p.Wait(t.Context())
	must(t, err)
	w, err := s.OpenVersion(t.Context(), p.Version())
	must(t, err)
	for i, d := range doors {
		if v, err := w.Get(nil, key8(i)); err != nil || !bytes.Equal(v, d.old) {
			t.Errorf("%s: the version has %.20q, %v", d.name, v, err)
		}
		if v, err := s.Get(nil, key8(i)); err == nil && bytes.Equal(v, d.old) || err != nil && err != ErrNotFound {
			t.Errorf("%s: it has done nothing: %.20q, %v", d.name, v, err)
		}
	}
	must(t, w.Close())
}

// A record that a copy supersedes is sealed first: whoever has found it mutable before, and is late, does not update it
// any more (H4).
func TestSet_SealsWhatItCopies(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	key := []byte("key")
	must(t, s.Set(key, []byte("before")))
	g := s.epochs.Register()
	defer g.Release()
	g.Enter()
	_, e, _ := s.index().Find(s.hash(key))
	a, p, ok := s.log.Find(e.Address(), key, s.log.ReadOnly())
	if !ok {
		t.Fatal("the key is not in memory")
	}
	late := record.DoorOf(s.log.ReadOnly(), s.control.Load())
	x := record.See(a, p)
	if !late.Admits(x) {
		t.Fatal("the record is not mutable")
	}
	_, err := s.BeginCheckpoint()
	must(t, err)
	must(t, s.Set(key, []byte("copy")))
	if r, locked := late.Lock(x); locked {
		t.Error("what has been copied is changed in place")
		r.SetSmall([]byte("late"))
	}
	g.Exit()
	if v, err := s.Get(nil, key); err != nil || string(v) != "copy" {
		t.Errorf("%q, %v", v, err)
	}
}
