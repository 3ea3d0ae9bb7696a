package hlog

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
)

// withCache gives the cache of a store memory.
func withCache(t testing.TB, s *Store) {
	t.Helper()
	eventually(t, "the cache gets no memory", func() bool {
		s.background.sizing.Wake()
		return s.memory.cache.Load() > 0
	})
}

// A key of the tier that is read again and again is not read from disk each time, whoever reads it.
func TestTier_RepeatedReadsAreCached(t *testing.T) {
	o := tiny()
	hooks := &readHookFS{FS: o.FS}
	o.FS = hooks
	s, keys, held := tierStore(t, "/store", o, 900)
	withCache(t, s)
	x := s.NewSession()
	defer x.Close()
	v := s.current().Version
	w, err := s.OpenVersion(t.Context(), v)
	must(t, err)
	defer w.Close()
	var cold [][]byte // keys of which only the tier has something, in blocks of their own or not
	for i, k := range keys {
		if i%9 > 1 {
			cold = append(cold, k)
		}
	}
	cold = cold[:120]
	reads := readsOfTier(hooks, s)
	for name, read := range map[string]func(each func(k, v []byte, err error)){
		"get": func(each func(k, v []byte, err error)) {
			for _, k := range cold {
				v, err := x.Get(nil, k)
				each(k, v, err)
			}
		},
		"multi get": func(each func(k, v []byte, err error)) {
			must(t, x.MultiGet(cold, func(i int, v []byte, err error) { each(cold[i], v, err) }))
		},
		"view": func(each func(k, v []byte, err error)) {
			for _, k := range cold {
				v, err := w.Get(nil, k)
				each(k, v, err)
			}
		},
	} {
		for i, k := range cold { // what other rounds have left
			for _, f := range s.cold.standing.Load().files {
				s.cache.Take(cachedAt(f.share.Ref().ID, s.hash(k)))
			}
			if i == 0 {
				reads.Store(0)
			}
		}
		var rounds [4]int64
		for i := range rounds {
			read(func(k, v []byte, err error) {
				if err != nil || string(v) != held[string(k)] {
					t.Fatalf("%s: %q is %.20q, %v", name, k, v, err)
				}
			})
			rounds[i] = reads.Swap(0)
		}
		// The filter of a newer share lets some pass of which the share has nothing.
		if rounds[0] < int64(len(cold)) || rounds[3] > int64(len(cold)/8) {
			t.Errorf("%s: %d keys took %d reads", name, len(cold), rounds)
		}
	}
	// What is updated leaves the cache.
	k := cold[0]
	must(t, x.RMW(k, func(old []byte) []byte { return append(old, '+') }))
	for _, f := range s.cold.standing.Load().files {
		if s.cache.Has(cachedAt(f.share.Ref().ID, s.hash(k))) {
			t.Error("what has been superseded is in the cache")
		}
	}
}

// What is cached of a key is never found where a tier says something else: after updates, demotions, merges and restores.
func TestTier_CachedAndMoved(t *testing.T) {
	s := demoted(t, "/store", tiny())
	const keys = 60
	check := func(what string, want string) {
		t.Helper()
		for range 4 { // into the cache, and out of it
			for k := range keys {
				v, err := s.Get(nil, key8(k))
				if want == "" && !errors.Is(err, ErrNotFound) || want != "" && (err != nil || string(v) != want) {
					t.Fatalf("%s: key %d is %q, %v; want %q", what, k, v, err, want)
				}
			}
		}
	}
	versions := map[checkpoint.Version]string{}
	write := func(value string) {
		for k := range keys {
			if value == "" {
				must(t, s.Delete(key8(k)))
			} else {
				must(t, s.Set(key8(k), []byte(value)))
			}
		}
		check("written", value)
		versions[commit(t, s)] = value
		demoteAll(t, s)
		withCache(t, s)
		check("demoted", value)
	}
	for _, value := range []string{"one", "two", "", "three", "three", "four"} {
		write(value)
	}
	s.mergeCold()
	check("merged", "four")
	for v, value := range versions {
		_, err := s.Restore(t.Context(), v)
		must(t, err)
		check(fmt.Sprintf("restored to version %d", v), value)
		write(fmt.Sprintf("behind version %d", v))
		w, err := s.OpenVersion(t.Context(), v)
		must(t, err)
		for k := range keys {
			if got, err := w.Get(nil, key8(k)); (err == nil) != (value != "") || string(got) != value {
				t.Fatalf("a view of version %d: key %d is %q, %v; want %q", v, k, got, err, value)
			}
		}
		must(t, w.Close())
	}
	if s.cache.Hits() == 0 {
		t.Error("nothing was found in the cache: the test tests nothing")
	}
}

// An entry is taken for what it is, and for nothing else.
func TestTierCache_EntriesTellWhatTheyAre(t *testing.T) {
	for _, c := range []struct{ key, value string }{{"k", ""}, {"key", "value"}, {"a key of words", "v"}, {"12345678", "12345678"}} {
		e := appendEntry(nil, 7, []byte(c.key), []byte(c.value))
		if v, ok := valueOf(e, 7, []byte(c.key)); !ok || string(v) != c.value || len(e)%8 != 0 {
			t.Errorf("%q: %q, %v in %d bytes", c.key, v, ok, len(e))
		}
		if _, ok := valueOf(e, 8, []byte(c.key)); ok {
			t.Errorf("%q is found for another file", c.key)
		}
		for _, other := range []string{c.key + "x", c.key[1:], "x" + c.key[1:]} {
			if v, ok := valueOf(e, 7, []byte(other)); ok {
				t.Errorf("%q is found as %q with %q", c.key, other, v)
			}
		}
	}
	for _, h := range []uint64{0, 1, ^uint64(0)} {
		if a := cachedAt(h, h); a < coldcache.Beyond || a >= 2*coldcache.Beyond || a%8 != 0 {
			t.Errorf("an entry is cached at %#x", a)
		}
	}
}
