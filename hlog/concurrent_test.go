package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Several sessions count on the same keys through every door while the log spills, the index grows from its smallest,
// versions are made and the log is compacted. No count is lost or doubled.
func TestUpdate_ConcurrentCountersAreExact(t *testing.T) {
	sessions, rounds, keys := 4, 15000, uint64(30000)
	if testing.Short() || testkit.Race {
		sessions, rounds, keys = 3, 3000, 6000
	}
	o := tiny()
	s := mustOpen(t, "/store", o)
	counts := make([]atomic.Uint64, keys)
	var ended atomic.Bool
	var workers, background sync.WaitGroup
	for i := range sessions {
		workers.Go(func() {
			x := s.NewSession()
			table, err := NewTable[uint64, uint64](x)
			must(t, err)
			rnd := rand.New(rand.NewPCG(3, uint64(i)))
			pick := func() uint64 {
				if rnd.IntN(3) == 0 {
					return rnd.Uint64N(16) // of which all want a share
				}
				return rnd.Uint64N(keys)
			}
			var batch []uint64
			var raw [][]byte
			for n := range rounds {
				k := pick()
				key := binary.LittleEndian.AppendUint64(nil, k)
				switch n % 8 {
				case 0:
					batch, raw = batch[:0], raw[:0]
					for range 20 {
						k := pick()
						batch, raw = append(batch, k), append(raw, binary.LittleEndian.AppendUint64(nil, k))
						counts[k].Add(1)
					}
					if n%16 == 0 {
						must(t, table.MultiUpdate(batch, func(_ int, v *uint64, _ bool) { *v++ }))
					} else {
						must(t, x.MultiRMW(raw, func(_ int, old []byte) []byte { return increment(old) }))
					}
				case 1, 2:
					must(t, x.RMW(key, increment))
					counts[k].Add(1)
				case 3:
					must(t, s.RMW(key, increment))
					counts[k].Add(1)
				case 4: // records of their own, of twice the memory in all, to fill the log
					spill(t, x, 2*8*MinMemoryBytes/(sessions*rounds))
				default:
					must(t, table.Update(k, func(v *uint64, _ bool) { *v++ }))
					counts[k].Add(1)
				}
			}
		})
	}
	background.Go(func() {
		for n := 0; !ended.Load(); n++ {
			commit(t, s)
			if n%4 == 0 {
				must(t, s.Compact(context.Background()))
			}
		}
	})
	within(t, "a session", workers.Wait)
	ended.Store(true)
	within(t, "a checkpoint", background.Wait)
	check := func() {
		t.Helper()
		table, err := NewTable[uint64, uint64](s.NewSession())
		must(t, err)
		for k := range counts {
			v, ok, err := table.Get(uint64(k))
			if n := counts[k].Load(); err != nil || v != n || ok != (n > 0) {
				t.Fatalf("key %d counts %d, %v, %v; %d were counted", k, v, ok, err, n)
			}
		}
	}
	check()
	m := s.Metrics()
	if m.LogHead == uint64(word.FirstAddress) || m.IndexGrowthCount == 0 || m.CheckpointCount == 0 {
		t.Errorf("the log did not spill, or the index did not grow, or there was no version: %+v", m)
	}
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	check()
}

// Two sessions insert one key at the same moment, again and again: there is one record of it, with one of the values,
// and after both have deleted it none.
func TestSet_TwoInsertsOfOneKey(t *testing.T) {
	keys := 20000
	if testing.Short() || testkit.Race {
		keys = 3000
	}
	s := mustOpen(t, "/store", tiny())
	var ready [2]atomic.Int64
	meet := func(i int, n int64) { // both go on at once
		ready[i].Store(n)
		for spins := 0; ready[1-i].Load() < n; spins++ {
			if spins > 100 {
				runtime.Gosched()
			}
		}
	}
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			x := s.NewSession()
			for k := range keys {
				meet(i, int64(2*k+1))
				must(t, x.Set(key8(k), []byte{byte(i)}))
				if k%2 == 1 {
					meet(i, int64(2*k+2))
					must(t, x.Delete(key8(k)))
				}
			}
			ready[i].Store(1 << 62)
		})
	}
	within(t, "a session", wg.Wait)
	seen := map[string]int{}
	must(t, s.Scan(context.Background(), func(k, v []byte) bool {
		seen[string(k)]++
		if len(v) != 1 || v[0] > 1 {
			t.Errorf("key %x is %x", k, v)
		}
		return true
	}))
	for k := range keys {
		if n := seen[string(key8(k))]; n != (k+1)%2 {
			t.Fatalf("key %d was visited %d times", k, n)
		}
		if _, err := s.Get(nil, key8(k)); (err == nil) != (k%2 == 0) {
			t.Fatalf("key %d: %v", k, err)
		}
	}
}

var checksums = crc64.MakeTable(crc64.ECMA)

// selfChecked fills a value of n bytes, at least 16, that carries its length, a checksum and its key.
func selfChecked(v []byte, n int, key uint32, fill byte) []byte {
	v = v[:0]
	v = binary.LittleEndian.AppendUint32(v, uint32(n))
	v = binary.LittleEndian.AppendUint32(v, key)
	for len(v) < n-8 {
		v = append(v, fill+byte(len(v)))
	}
	return binary.LittleEndian.AppendUint64(v, crc64.Checksum(v, checksums))
}

func checkSelf(v []byte, key uint32) error {
	switch {
	case len(v) < 16 || int(binary.LittleEndian.Uint32(v)) != len(v):
		return fmt.Errorf("%d bytes, not as many as they say", len(v))
	case binary.LittleEndian.Uint32(v[4:]) != key:
		return fmt.Errorf("the value of key %d", binary.LittleEndian.Uint32(v[4:]))
	case crc64.Checksum(v[:len(v)-8], checksums) != binary.LittleEndian.Uint64(v[len(v)-8:]):
		return fmt.Errorf("%d bytes that were never written together", len(v))
	}
	return nil
}

// Values grow and shrink, within their capacity and beyond it, across the length where the header grows, under
// readers through every door. Frames are reused under them all the time.
func TestGet_ValuesGrowAndShrink(t *testing.T) {
	writes, keys := 25000, 40
	if testing.Short() || testkit.Race {
		writes = 4000
	}
	s := mustOpen(t, "/store", tiny())
	var ended, spilled atomic.Bool
	var found atomic.Int64
	// How much log the writes make depends on the checkpoints in between, and how much of it is left on the compactions,
	// that is on who runs when.
	enough := func() bool {
		if s.log.Head() > s.log.Begin() {
			spilled.Store(true)
		}
		return spilled.Load() && found.Load() > 0
	}
	var writers, readers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			x := s.NewSession()
			rnd := rand.New(rand.NewPCG(5, uint64(i)))
			var v []byte
			for n := 0; !enough() || n < writes; n++ {
				k := rnd.IntN(keys)
				size := 16 + rnd.IntN(100)
				switch rnd.IntN(8) {
				case 0:
					size = 2000 + rnd.IntN(100)
				case 1:
					size = 16 + rnd.IntN(9000)
				}
				switch n % 10 {
				case 0:
					must(t, x.Delete(key8(k)))
				case 1, 2, 3:
					must(t, x.RMW(key8(k), func(old []byte) []byte {
						if old != nil {
							if err := checkSelf(old, uint32(k)); err != nil {
								t.Errorf("update of %d: %v", k, err)
							}
						}
						return selfChecked(old[:0:cap(old)], size, uint32(k), byte(n))
					}))
				default:
					v = selfChecked(v, size, uint32(k), byte(n))
					must(t, x.Set(key8(k), v))
				}
			}
		})
	}
	check := func(k int, v []byte, err error) {
		if errors.Is(err, ErrNotFound) {
			return
		}
		must(t, err)
		if err := checkSelf(v, uint32(k)); err != nil {
			t.Errorf("get of %d: %v", k, err)
		}
		found.Add(1)
	}
	var all [][]byte
	for k := range keys {
		all = append(all, key8(k))
	}
	readers.Go(func() {
		x := s.NewSession()
		var buf []byte
		for k := 0; !ended.Load(); k = (k + 1) % keys {
			v, err := x.Get(buf[:0], key8(k))
			check(k, v, err)
			buf = v
			if k == 0 {
				must(t, x.MultiGet(all, func(i int, v []byte, err error) { check(i, v, err) }))
			}
		}
	})
	readers.Go(func() {
		for !ended.Load() {
			must(t, s.Scan(context.Background(), func(k, v []byte) bool {
				check(int(binary.BigEndian.Uint64(k)), v, nil)
				return !ended.Load()
			}))
			w, err := s.OpenVersion(context.Background(), commit(t, s))
			must(t, err)
			for k := range keys {
				v, err := w.Get(nil, key8(k))
				check(k, v, err)
			}
			must(t, w.Close())
		}
	})
	within(t, "a writer", writers.Wait)
	ended.Store(true)
	within(t, "a reader", readers.Wait)
}

// What a Table returns for an absent key is zero, whatever a reader has seen before it found the key deleted.
func TestTable_AbsentIsZeroUnderWriters(t *testing.T) {
	type large [100]uint64
	s := mustOpen(t, "/store", tiny())
	var ended atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		table, err := NewTable[uint64, large](s.NewSession())
		must(t, err)
		var v large
		for n := uint64(1); !ended.Load(); n++ {
			for i := range v {
				v[i] = n
			}
			must(t, table.Set(1, v))
			must(t, table.Delete(1))
		}
	})
	table, err := NewTable[uint64, large](s.NewSession())
	must(t, err)
	for range 20000 {
		v, ok, err := table.Get(1)
		must(t, err)
		if ok == (v == large{}) || v[0] != v[99] {
			t.Fatalf("present %v: %v", ok, v)
		}
	}
	ended.Store(true)
	within(t, "the writer", wg.Wait)
}

// A callback that panics leaves the value as it was, the record free and the session usable, through every door.
func TestRMW_CallbackPanics(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	x := s.NewSession()
	table, err := NewTable[uint64, uint64](x)
	must(t, err)
	key := binary.LittleEndian.AppendUint64(nil, 7)
	doors := map[string]func(){
		"session": func() { _ = x.RMW(key, func([]byte) []byte { panic("callback") }) },
		"store":   func() { _ = s.RMW(key, func([]byte) []byte { panic("callback") }) },
		"table":   func() { _ = table.Update(7, func(v *uint64, _ bool) { *v = 99; panic("callback") }) },
		"multi":   func() { _ = x.MultiRMW([][]byte{key, key}, func(i int, old []byte) []byte { panic("callback") }) },
		"multi table": func() {
			_ = table.MultiUpdate([]uint64{7, 7}, func(i int, v *uint64, _ bool) { *v = 99; panic("callback") })
		},
		"multi get": func() { _ = x.MultiGet([][]byte{key}, func(int, []byte, error) { panic("callback") }) },
		"scan":      func() { _ = s.Scan(context.Background(), func(k, v []byte) bool { panic("callback") }) },
	}
	for _, where := range []string{"absent", "mutable", "read-only", "on disk"} {
		switch where {
		case "mutable":
			must(t, table.Set(7, 42))
		case "read-only":
			commit(t, s)
		case "on disk":
			evict(t, s)
		}
		for name, call := range doors {
			if name == "scan" && where == "absent" {
				continue
			}
			func() {
				defer func() {
					if recover() != "callback" {
						t.Errorf("%s, %s: the panic did not come through", name, where)
					}
				}()
				call()
			}()
			v, ok, err := table.Get(7)
			if err != nil || ok != (where != "absent") || ok && v != 42 {
				t.Errorf("%s, %s: the value is %d, %v, %v", name, where, v, ok, err)
			}
		}
		within(t, "a checkpoint after a panic", func() { commit(t, s) })
	}
	must(t, table.Update(7, func(v *uint64, _ bool) { *v++ }))
	if v, _, err := table.Get(7); err != nil || v != 43 {
		t.Errorf("afterwards %d, %v", v, err)
	}
	within(t, "Close", func() { must(t, s.Close()) })
}

// A callback that blocks, and one that sleeps with a single processor, hold up nobody: operations on its key,
// checkpoints, spill, restores, Close.
func TestRMW_CallbackBlocks(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := mustOpen(t, "/store", tiny())
	key := []byte("key")
	must(t, s.Set(key, []byte{1}))
	v := commit(t, s)
	inside, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	result := make(chan error)
	go func() {
		x := s.NewSession()
		result <- x.RMW(key, func(old []byte) []byte {
			once.Do(func() {
				close(inside)
				<-leave
			})
			testkit.Pause(time.Millisecond)
			return append(old, 9)
		})
	}()
	<-inside
	within(t, "an operation beside a callback that blocks", func() {
		must(t, s.Set(key, []byte{2}))
		must(t, s.RMW(key, func(old []byte) []byte { return append(old, 3) }))
		commit(t, s)
		evict(t, s)
		must(t, s.Compact(context.Background()))
		must(t, s.Scan(context.Background(), func(k, v []byte) bool { return true }))
		_, err := s.Restore(context.Background(), v)
		must(t, err)
		must(t, s.Set(key, []byte{4}))
	})
	close(leave)
	must(t, <-result)
	if got, err := s.Get(nil, key); err != nil || string(got) != "\x04\x09" {
		t.Errorf("%v, %v", got, err)
	}
	block := make(chan struct{})
	entered := make(chan struct{})
	go func() {
		x := s.NewSession()
		result <- x.RMW(key, func(old []byte) []byte {
			close(entered)
			<-block
			return old
		})
	}()
	<-entered
	within(t, "Close beside a callback that blocks", func() { must(t, s.Close()) })
	close(block)
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("the update that the store was closed under returned %v", err)
	}
}

// Ten thousand sessions, most of them idle, some in the middle of a callback, some forgotten without Close.
func TestSession_TenThousand(t *testing.T) {
	n := 10000
	if testing.Short() || testkit.Race {
		n = 2000
	}
	s := mustOpen(t, "/store", tiny())
	sessions := make([]*Session, n)
	for i := range sessions {
		sessions[i] = s.NewSession()
		must(t, sessions[i].Set(key8(i), key8(i)))
	}
	release := make(chan struct{})
	var wg, inside sync.WaitGroup
	for i := range 100 {
		inside.Add(1)
		wg.Go(func() {
			first := true
			must(t, sessions[i].RMW([]byte("shared"), func(old []byte) []byte {
				if first {
					first = false
					inside.Done()
					<-release
				}
				return increment(old)
			}))
		})
	}
	inside.Wait()
	for i := range sessions[:n/2] { // forgotten
		if i >= 100 {
			sessions[i] = nil
		}
	}
	runtime.GC()
	within(t, "a checkpoint beside idle and forgotten sessions", func() {
		commit(t, s)
		evict(t, s)
	})
	close(release)
	within(t, "a session", wg.Wait)
	if got := counter(t, s, []byte("shared")); got != 100 {
		t.Errorf("100 updates counted %d", got)
	}
	for i := n / 2; i < n; i += 97 {
		if v, err := sessions[i].Get(nil, key8(i)); err != nil || string(v) != string(key8(i)) {
			t.Fatalf("session %d: %x, %v", i, v, err)
		}
	}
	within(t, "Close beside idle sessions", func() { must(t, s.Close()) })
	if _, err := sessions[n-1].Get(nil, key8(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("a session of a closed store: %v", err)
	}
	must(t, sessions[n-1].Close())
}

// A value of the largest size of a small record is overwritten in place, while it is read: it is read as one of those
// that were written, never as parts of two (W1).
func TestGet_SmallValueIsWhole(t *testing.T) {
	for _, key := range [][]byte{key8(1), []byte("of more than a word")} { // which have a short path each
		t.Run(fmt.Sprintf("key=%dB", len(key)), func(t *testing.T) { smallValueIsWhole(t, key) })
	}
}

func smallValueIsWhole(t *testing.T, key []byte) {
	s := mustOpen(t, "/store", tiny())
	fill := func(b []byte, n uint64) {
		for off := 0; off < len(b); off += 8 {
			binary.LittleEndian.PutUint64(b[off:], n)
		}
	}
	value := make([]byte, word.MaxSmallValue)
	must(t, s.Set(key, value))
	reads := 200_000
	if testing.Short() {
		reads /= 4
	}
	if testkit.Race { // a copy takes so long that a read seldom falls between two writes
		reads = 4_000
	}
	var ended atomic.Bool
	var writer, readers sync.WaitGroup
	writer.Go(func() {
		x := s.NewSession()
		defer x.Close()
		for n := uint64(1); !ended.Load(); n++ {
			fill(value, n)
			if err := x.Set(key, value); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2 {
		readers.Go(func() {
			x := s.NewSession()
			defer x.Close()
			room := make([]byte, 0, len(value))
			for i := range reads {
				dst := room
				if i%8 == 0 {
					dst = nil // without room for the value the short path is not taken
				}
				buf, err := x.Get(dst, key)
				if err != nil {
					t.Error(err)
					return
				}
				first := binary.LittleEndian.Uint64(buf)
				for off := 8; off < len(buf); off += len(buf) / 4 &^ 7 {
					if n := binary.LittleEndian.Uint64(buf[off:]); n != first {
						t.Errorf("read parts of writes %d and %d", first, n)
						return
					}
				}
			}
		})
	}
	readers.Wait()
	ended.Store(true)
	writer.Wait()
}
