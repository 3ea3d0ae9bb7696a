package hlog

import (
	"fmt"
	"testing"
)

// inTheTier returns a store with so many keys in its tier, of which nothing is in memory, and the keys.
func inTheTier(t *testing.T, n int) (*Store, *Session, [][]byte) {
	t.Helper()
	o := tiny()
	o.NoReadCache = true
	s := demoted(t, "/store", o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil && err != ErrClosed {
			t.Error(err)
		}
		if n := len(s.cold.tiers); n != 0 {
			t.Errorf("%d tiers are held after Close", n)
		}
	})
	x := s.NewSession()
	var keys [][]byte
	for i := range n {
		keys = append(keys, key8(i))
		must(t, x.Set(keys[i], append(key8(i), make([]byte, 92)...)))
	}
	commit(t, s)
	demoteAll(t, s)
	return s, x, keys
}

// entriesAhead returns how many of the keys have a record of the tier that was read ahead and not asked for.
func entriesAhead(s *Store, keys [][]byte) (n int) {
	for _, k := range keys {
		for _, f := range s.cold.standing.Load().files {
			if s.prefetcher.read.Has(cachedAt(f.share.Ref().ID, s.hash(k))) {
				n++
			}
		}
	}
	return n
}

// What Prefetch has read of the tier is found by every kind of operation, which then reads nothing, and is gone then.
func TestPrefetch_ReadsTheTier(t *testing.T) {
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
			for i, k := range keys {
				must(t, x.RMW(k, func(old []byte) []byte {
					if len(old) != 100 || string(old[:8]) != string(key8(i)) {
						t.Errorf("key %d has %q", i, old)
					}
					return nil
				}))
			}
		},
		"multi get": func(t *testing.T, x *Session, keys [][]byte) {
			must(t, x.MultiGet(keys, func(i int, value []byte, err error) {
				if err != nil || string(value[:8]) != string(key8(i)) {
					t.Errorf("key %d has %q, %v", i, value, err)
				}
			}))
		},
	} {
		for _, early := range []bool{false, true} { // before the reads have ended
			s, x, keys := inTheTier(t, 200)
			before := s.Metrics()
			x.Prefetch(keys)
			if !early {
				x.Prefetch(keys[:50]) // which is under way, or at hand
				landed(t, s)
			}
			use(t, x, keys)
			d := s.Metrics().Sub(before)
			// An update that starts over, because its page was full, say, may have to read once more.
			again := uint64(0)
			if name == "rmw" {
				again = 10
			}
			if d.ColdReadCount < 200 || d.ColdReadCount > 200+again || d.PrefetchCount != 200 || d.PrefetchDropCount+d.PrefetchIgnoreCount != 0 {
				t.Errorf("%s, early %v: %d reads, %d of them ahead, %d dropped, %d ignored", name, early,
					d.ColdReadCount, d.PrefetchCount, d.PrefetchDropCount, d.PrefetchIgnoreCount)
			}
			if n := entriesAhead(s, keys); n != 0 {
				t.Errorf("%s: %d records are held after they were asked for", name, n)
			}
			must(t, s.Close())
		}
	}
}

// Reading ahead goes on into the tier where a chain on disk ends.
func TestPrefetch_FollowsAChainIntoTheTier(t *testing.T) {
	o := tiny()
	o.NoReadCache = true
	s := demoted(t, "/store", o)
	x := s.NewSession()
	chains := colliding(t, s, 20, 2)
	var keys [][]byte
	for i, c := range chains {
		must(t, x.Set(c[0], fmt.Appendf(nil, "below %d", i)))
		keys = append(keys, c[0])
	}
	commit(t, s)
	demoteAll(t, s)
	for _, c := range chains {
		must(t, x.Set(c[1], []byte("above")))
	}
	evict(t, s)
	x.Prefetch(keys)
	landed(t, s)
	before := s.counters.coldReads.Value()
	for i, k := range keys {
		if v, err := x.Get(nil, k); err != nil || string(v) != fmt.Sprintf("below %d", i) {
			t.Errorf("key %d is %q, %v", i, v, err)
		}
	}
	if n := s.counters.coldReads.Value() - before; n != 0 {
		t.Errorf("%d reads for what was read ahead", n)
	}
}

// What was read ahead is not found where a newer file of the tier has the key, and a store closes while it is read.
func TestPrefetch_TierSwitchedMeanwhile(t *testing.T) {
	s, x, keys := inTheTier(t, 200)
	for round := range 4 {
		x.Prefetch(keys)
		if round%2 == 0 {
			landed(t, s)
		}
		for _, k := range keys {
			must(t, x.Set(k, fmt.Appendf(nil, "%d", round)))
		}
		commit(t, s)
		demoteAll(t, s)
		for i, k := range keys {
			if v, err := x.Get(nil, k); err != nil || string(v) != fmt.Sprint(round) {
				t.Fatalf("round %d: key %d is %q, %v", round, i, v, err)
			}
		}
	}
	x.Prefetch(keys)
}
