package hlog

import (
	"bytes"
	"context"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// keepStore returns a store that has spilled, whose cache has memory, and in which somebody asks for cold records.
func keepStore(t *testing.T) (*Store, *Session) {
	t.Helper()
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/db", o)
	x := s.NewSession()
	t.Cleanup(func() { x.Close() })
	must(t, x.Set([]byte("cold"), []byte("cold")))
	for s.memory.cache.Load() == 0 {
		spill(t, x, MinPageBytes)
	}
	s.background.sizing.Stop() // else the cache may be given more, and have room for everything
	fillCache(s)
	_, err := x.Get(nil, []byte("cold"))
	must(t, err)
	return s, x
}

// fillCache fills the cache with what has no heat, and so small that what is left has no room for a record.
func fillCache(s *Store) {
	rec := make([]byte, 16)
	for i := range 2 * int(s.memory.cache.Load()) / len(rec) {
		s.cache.Keep(word.MaxAddress/2+word.Address(i)*4096, rec, 0)
	}
}

// age writes until the record of key is so old that uses of it count.
func age(t *testing.T, x *Session, key []byte) {
	t.Helper()
	for uint64(chainHead(x, key)) >= x.log.Aging() {
		spill(t, x, MinPageBytes)
	}
}

func chainHead(x *Session, key []byte) word.Address {
	x.guard.Enter()
	defer x.guard.Exit()
	_, e, _ := x.store.index().Find(x.store.hash(key))
	return e.Address()
}

// heatOf returns the heat of the newest record of key, in memory or in the cache; -1 if it is in neither.
func heatOf(x *Session, key []byte) int {
	a := chainHead(x, key)
	x.guard.Enter()
	defer x.guard.Exit()
	if uint64(a) >= x.log.Head() {
		return record.LinkAt(x.log.At(a)).Heat()
	}
	if heat, ok := x.store.cache.Heat(a); ok {
		return heat
	}
	return -1
}

// leave writes until the record of key has left memory.
func leave(t *testing.T, x *Session, key []byte) {
	t.Helper()
	for uint64(chainHead(x, key)) >= x.log.Head() {
		spill(t, x, MinPageBytes)
	}
}

// What was used while it was in memory is found in the cache when it has left, and what was not is read from disk.
func TestKeep_WhatWasUsedStays(t *testing.T) {
	s, x := keepStore(t)
	used, unused := []byte("used-key"), []byte("not-used")
	must(t, x.Set(used, []byte("value of the one")))
	must(t, x.Set(unused, []byte("value of the other")))
	if heatOf(x, used) != 0 {
		t.Fatal("a new record has heat")
	}
	_, err := x.Get(nil, used) // it is young: this does not count
	must(t, err)
	age(t, x, used)
	if heatOf(x, used) != 0 {
		t.Fatal("the use of a young record has counted")
	}
	for range 2 {
		got, err := x.Get(nil, used)
		if must(t, err); string(got) != "value of the one" {
			t.Fatalf("got %q", got)
		}
	}
	if heatOf(x, used) != 2 {
		t.Fatalf("two uses have left heat %d", heatOf(x, used))
	}
	leave(t, x, used)
	reads := s.counters.coldReads.Value()
	got, err := x.Get(nil, used)
	if must(t, err); string(got) != "value of the one" || s.counters.coldReads.Value() != reads {
		t.Errorf("got %q after %d reads", got, s.counters.coldReads.Value()-reads)
	}
	got, err = x.Get(nil, unused)
	if must(t, err); string(got) != "value of the other" || s.counters.coldReads.Value() != reads+1 {
		t.Errorf("what was not used: got %q after %d reads", got, s.counters.coldReads.Value()-reads)
	}
}

// A record that supersedes one of the cache inherits its heat, and the old one's place is free.
func TestKeep_HeatIsInherited(t *testing.T) {
	bump := func(old []byte) []byte { old[0]++; return old }
	for name, change := range map[string]func(*Store, *Session, []byte) error{
		"rmw": func(_ *Store, x *Session, key []byte) error { return x.RMW(key, bump) },
		"set": func(_ *Store, x *Session, key []byte) error { return x.Set(key, []byte("xvalue")) },
		"multi": func(_ *Store, x *Session, key []byte) error {
			return x.MultiRMW([][]byte{key}, func(_ int, old []byte) []byte { return bump(old) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, x := keepStore(t)
			key := []byte("inherits")
			must(t, x.Set(key, []byte("wvalue")))
			age(t, x, key)
			_, err := x.Get(nil, key)
			must(t, err)
			leave(t, x, key)
			old := chainHead(x, key)
			if heatOf(x, key) != 1 {
				t.Fatalf("heat %d in the cache", heatOf(x, key))
			}
			must(t, change(s, x, key))
			if heatOf(x, key) < 1 || chainHead(x, key) == old {
				t.Errorf("heat %d at the tail", heatOf(x, key))
			}
			if _, ok := s.cache.Heat(old); ok {
				t.Error("the cache has what was superseded")
			}
			got, err := x.Get(nil, key)
			if must(t, err); string(got) != "xvalue" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Neither a scan nor compaction makes a record hot, but compaction passes on the heat that there is.
func TestKeep_WalksAddNoHeat(t *testing.T) {
	s, x := keepStore(t)
	hot, cool := []byte("hot-one."), []byte("cool-one")
	must(t, x.Set(hot, []byte("hot value")))
	must(t, x.Set(cool, []byte("cool value")))
	age(t, x, hot)
	_, err := x.Get(nil, hot)
	must(t, err)
	must(t, s.Scan(context.Background(), func(_, _ []byte) bool { return true }))
	if heatOf(x, hot) != 1 || heatOf(x, cool) != 0 {
		t.Errorf("heat %d and %d after a scan", heatOf(x, hot), heatOf(x, cool))
	}
	leave(t, x, hot)
	leave(t, x, cool)
	must(t, s.Scan(context.Background(), func(_, _ []byte) bool { return true }))
	if heatOf(x, hot) != 1 {
		t.Errorf("heat %d in the cache after a scan", heatOf(x, hot))
	}
	_, err = s.Checkpoint(context.Background())
	must(t, err)
	old := chainHead(x, hot)
	must(t, s.compactTo(context.Background(), uint64(max(old, chainHead(x, cool)))+64, false)) // both are the last that are moved
	if chainHead(x, hot) == old || heatOf(x, hot) != 1 {
		t.Errorf("heat %d after compaction, which moved it: %v", heatOf(x, hot), chainHead(x, hot) != old)
	}
	if heatOf(x, cool) > 0 {
		t.Errorf("compaction made what it moved hot: %d", heatOf(x, cool))
	}
}

// A load that asks for nothing keeps nothing, and the frames keep most of the memory; where cold records are asked for,
// the cache gets most.
func TestKeep_MemoryIsSharedByUse(t *testing.T) {
	if testkit.Race {
		t.Skip("it counts what one goroutine does, and does much of it")
	}
	o := tiny()
	o.NoCompaction, o.ColdAfter = true, -1 // what a cold tier takes is not for frames and cache to share
	s := mustOpen(t, "/db", o)
	x := s.NewSession()
	defer x.Close()
	const keys = 100_000
	value := bytes.Repeat([]byte("v"), 100)
	set := func(from, to int) {
		for i := from; i < to; i++ {
			must(t, x.Set(key8(i%keys), value))
		}
	}
	set(0, 3*keys)
	room := s.memory.room
	if got, room := s.memory.cache.Load(), room(); got > room*2*minCacheShare/cacheShares {
		t.Errorf("the cache has %d of %d where nothing is read", got, room)
	}
	for i := range 2 * keys {
		_, err := x.Get(value[:0], key8(i%keys))
		must(t, err)
		must(t, x.Set(key8(i/4), value))
	}
	testkit.Eventually(t, "the cache gets most of the memory", func() bool { return s.memory.cache.Load() > room()/2 })
	if got, room := s.memory.cache.Load(), room(); got > room*(midCacheShare+1)/cacheShares {
		t.Errorf("the cache has %d of %d where as much is changed as is read", got, room)
	}
	for i := range 4 * keys {
		_, err := x.Get(value[:0], key8(i%keys))
		must(t, err)
	}
	testkit.Eventually(t, "the cache gets nearly all of the memory", func() bool {
		return s.memory.cache.Load() > room()*(midCacheShare+1)/cacheShares
	})
	set(0, 3*keys)
	testkit.Eventually(t, "the frames get most of the memory", func() bool { return s.memory.cache.Load() < room()/3 })
}
