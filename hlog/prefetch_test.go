package hlog

import (
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// keysOnDisk returns a store with so many keys, none of which is in memory, and the keys.
func keysOnDisk(t *testing.T, o *Options, n int) (*Store, *Session, [][]byte) {
	t.Helper()
	o.NoCompaction, o.NoReadCache = true, true
	s := mustOpen(t, "/db", o)
	x := s.NewSession()
	t.Cleanup(func() { x.Close() })
	var keys [][]byte
	for i := range n {
		keys = append(keys, key8(i))
		must(t, x.Set(keys[i], append(key8(i), make([]byte, 92)...)))
	}
	last := keys[n-1]
	for uint64(chainHead(x, last)) >= s.log.Head() {
		spill(t, x, MinPageBytes)
	}
	return s, x, keys
}

// landed waits until nothing is read ahead any more.
func landed(t *testing.T, s *Store) {
	t.Helper()
	p := &s.prefetcher
	testkit.Eventually(t, "what is read ahead has been read", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.flights) == 0
	})
}

// What Prefetch has read is found by every kind of operation, which then reads nothing, and is gone then.
func TestPrefetch_OperationsFindWhatWasRead(t *testing.T) {
	bump := func(old []byte) []byte { old[8]++; return old }
	for name, use := range map[string]func(t *testing.T, x *Session, keys [][]byte){
		"get": func(t *testing.T, x *Session, keys [][]byte) {
			for i, k := range keys {
				got, err := x.Get(nil, k)
				if must(t, err); string(got[:8]) != string(key8(i)) {
					t.Errorf("key %d has %q", i, got)
				}
			}
		},
		"rmw": func(t *testing.T, x *Session, keys [][]byte) {
			for _, k := range keys {
				must(t, x.RMW(k, bump))
			}
		},
		"multi get": func(t *testing.T, x *Session, keys [][]byte) {
			must(t, x.MultiGet(keys, func(i int, value []byte, err error) {
				if err != nil || string(value[:8]) != string(key8(i)) {
					t.Errorf("key %d has %q, %v", i, value, err)
				}
			}))
		},
		"multi rmw": func(t *testing.T, x *Session, keys [][]byte) {
			must(t, x.MultiRMW(keys, func(_ int, old []byte) []byte { return bump(old) }))
		},
		"table": func(t *testing.T, x *Session, keys [][]byte) {
			table, err := NewTable[[8]byte, [100]byte](x)
			must(t, err)
			for i := range keys {
				v, ok, err := table.Get([8]byte(keys[i]))
				if must(t, err); !ok || string(v[:8]) != string(keys[i]) {
					t.Errorf("key %d has %v", i, v)
				}
			}
		},
	} {
		for _, early := range []bool{false, true} { // before the reads have ended
			s, x, keys := keysOnDisk(t, tiny(), 200)
			before := s.Metrics()
			told := make([][]byte, len(keys))
			for i := range keys {
				told[i] = append([]byte(nil), keys[i]...)
			}
			x.Prefetch(told)
			for i := range told {
				clear(told[i]) // they were copied
			}
			if !early {
				landed(t, s)
			}
			use(t, x, keys)
			d := s.Metrics().Sub(before)
			// Of two keys that share an entry one takes the other's record from what was read ahead, and the other reads it
			// again. An update that starts over, because its page was full, say, may have to read once more.
			again := uint64(4)
			if strings.HasSuffix(name, "rmw") {
				again = 10
			}
			if d.ColdReadCount < 200 || d.ColdReadCount > 200+again || d.PrefetchCount != 200 || d.PrefetchDropCount+d.PrefetchIgnoreCount != 0 {
				t.Errorf("%s, early %v: %d reads, %d of them ahead, %d dropped, %d ignored", name, early,
					d.ColdReadCount, d.PrefetchCount, d.PrefetchDropCount, d.PrefetchIgnoreCount)
			}
			if n := held(s); n != 0 {
				t.Errorf("%s, early %v: %d records are held after they were asked for", name, early, n)
			}
			must(t, s.Close())
		}
	}
}

// held returns how many of the first keys have a record that was read ahead and not asked for.
func held(s *Store) (n int) {
	x := s.NewSession()
	defer x.Close()
	for i := range 200 {
		if s.prefetcher.read.Has(chainHead(x, key8(i))) {
			n++
		}
	}
	return n
}

// There is a limit to what is read ahead, and what nobody asks for makes room, the oldest first; all of it is counted.
func TestPrefetch_IsBounded(t *testing.T) {
	const n = 3 * prefetchKeysMax
	s, x, keys := keysOnDisk(t, tiny(), n)
	x.Prefetch(keys)
	if got := s.Metrics().PrefetchIgnoreCount; got < n-prefetchKeysMax {
		t.Errorf("%d of %d keys are ignored", got, n)
	}
	landed(t, s)
	m := s.Metrics()
	if m.PrefetchCount+m.PrefetchIgnoreCount < n || m.PrefetchDropCount == 0 || m.PrefetchDropCount >= m.PrefetchCount {
		t.Errorf("%d keys: %d read, %d ignored, %d dropped", n, m.PrefetchCount, m.PrefetchIgnoreCount, m.PrefetchDropCount)
	}
	if used := s.memory.ahead.Load(); used > MinMemoryBytes/prefetchMemoryShare {
		t.Errorf("%d bytes for what is read ahead", used)
	}
	if newest, oldest := chainHead(x, keys[prefetchKeysMax-1]), chainHead(x, keys[0]); !s.prefetcher.read.Has(newest) || s.prefetcher.read.Has(oldest) {
		t.Errorf("the newest is there: %v, the oldest: %v", s.prefetcher.read.Has(newest), s.prefetcher.read.Has(oldest))
	}
	for i := range keys[:100] {
		got, err := x.Get(nil, keys[i])
		if must(t, err); string(got[:8]) != string(keys[i]) {
			t.Fatalf("key %d has %q", i, got)
		}
	}
}

// Where everything is in memory Prefetch does nothing, nor does it on a session or a store that is closed.
func TestPrefetch_NothingToDo(t *testing.T) {
	s := mustOpen(t, "/db", tiny())
	x := s.NewSession()
	must(t, x.Set([]byte("key"), []byte("value")))
	keys := [][]byte{[]byte("key"), []byte("absent"), nil}
	if n := testing.AllocsPerRun(100, func() { x.Prefetch(keys) }); n != 0 && !testkit.Race {
		t.Errorf("%v allocations", n)
	}
	if s.prefetcher.used.Load() {
		t.Error("it has taken memory")
	}
	must(t, x.Close())
	x.Prefetch(keys)
	y := s.NewSession()
	must(t, s.Close())
	y.Prefetch(keys)
}

// Closing a store does not wait for what is read ahead, nor does anybody wait for what will not be read.
func TestPrefetch_CloseMeanwhile(t *testing.T) {
	for range 10 {
		s, x, keys := keysOnDisk(t, tiny(), 1000)
		y := s.NewSession()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for _, k := range keys {
				if _, err := y.Get(nil, k); err != nil && err != ErrClosed {
					t.Error(err)
				}
			}
		}()
		x.Prefetch(keys)
		must(t, s.Close())
		testkit.Within(t, "the reader ends", func() { <-ended })
	}
}

// A record that was queued when the job had stopped is given up when the store closes, and who waits for it goes on.
func TestPrefetch_EndsFlights(t *testing.T) {
	s, x, keys := keysOnDisk(t, tiny(), 200)
	x.Prefetch(keys)
	landed(t, s)
	p, a := &s.prefetcher, chainHead(x, keys[0])
	s.background.prefetch.Stop()
	p.read.Take(a)
	p.add([]aheadWant{{a: a, key: keys[0]}})
	if _, _, under := p.has(a, nil); !under {
		t.Fatal("it is not under way")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, ok := p.claim(a, nil, reading); ok {
			t.Error("a record that nobody has read")
		}
	}()
	must(t, s.Close())
	testkit.Within(t, "who waits goes on", func() { <-ended })
}
