package hlog

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/step"
)

// A demotion does not switch the tier from when a version has named the one that stands until its cut has been taken (T26).
func TestTier_NotSwitchedDuringACut(t *testing.T) {
	work, o := step.New(1), tiny()
	o.FS, o.NoCompaction = &steppedFS{o.FS, work}, true // cuts are taken when they are waited for
	s := mustOpen(t, "/store", o)
	fillKeys(t, s, 500)
	first := commit(t, s)
	p, err := s.BeginCheckpoint()
	must(t, err)
	cutting := s.ledger.Newest()
	if closed(cutting.Cutting())() {
		t.Fatal("the cut has been taken: the test tests nothing")
	}
	demoteAll(t, s)
	if s.cold.standing.Load() != nil {
		t.Error("the tier is switched while a cut is taken")
	}
	for k := range 500 {
		if _, e, status := s.index().Find(s.hash(key8(k))); status != index.Found || uint64(e.Address()) < s.log.Begin() {
			t.Fatalf("the entry of key %d is cleared", k)
		}
	}
	check := fillKeys(t, s, 600) // behind the version, in front of its cut
	_, err = p.Wait(t.Context())
	must(t, err)
	demoteAll(t, s)
	if s.cold.standing.Load() == nil {
		t.Error("nothing is demoted after the cut")
	}
	check(s.Get)
	for _, v := range []checkpoint.Version{p.Version(), first} {
		_, err := s.Restore(t.Context(), v)
		must(t, err)
		for k := range 600 {
			value, err := s.Get(nil, key8(k))
			if k < 500 && (err != nil || string(value) != fmt.Sprintf("value %d", k)) || k >= 500 && !errors.Is(err, ErrNotFound) {
				t.Fatalf("key %d is %q, %v after a restore to version %d", k, value, err, v)
			}
		}
	}
}

// A delete writes a tombstone where the tier has what it has to hide, whatever else is in the key's chain (T32).
func TestTier_DeleteHidesWhatItHas(t *testing.T) {
	s := demoted(t, "/store", tiny())
	chains := colliding(t, s, 2, 2)
	for _, c := range chains {
		must(t, s.Set(c[0], []byte("below")))
	}
	fillKeys(t, s, 100)
	commit(t, s)
	demoteAll(t, s)
	must(t, s.Set(chains[1][1], []byte("above"))) // shares the entry of the key that lies in the tier
	for i, c := range chains {
		if _, _, status := s.index().Find(s.hash(c[0])); (status == index.Found) != (i == 1) {
			t.Fatalf("chain %d has an entry, or none: the test tests nothing", i)
		}
		must(t, s.Delete(c[0]))
		if v, err := s.Get(nil, c[0]); err != ErrNotFound {
			t.Errorf("chain %d: a deleted key is %q, %v", i, v, err)
		}
	}
	for round := range 2 { // in the log, and in the tier
		for i, c := range chains {
			if v, err := s.Get(nil, c[0]); err != ErrNotFound {
				t.Errorf("round %d, chain %d: a deleted key is %q, %v", round, i, v, err)
			}
		}
		if v, err := s.Get(nil, chains[1][1]); err != nil || string(v) != "above" {
			t.Errorf("round %d: the other key is %q, %v", round, v, err)
		}
		commit(t, s)
		demoteAll(t, s)
	}
}

// A restore to a version from before a demotion brings its state back, although entries have been cleared and the tier has newer
// records (T31), and so does one to a version from after it.
func TestTier_RestoreAcrossADemotion(t *testing.T) {
	s := demoted(t, "/store", tiny())
	check := fillKeys(t, s, 300)
	before := commit(t, s)
	for k := range 300 {
		must(t, s.Set(key8(k), []byte("later")))
	}
	commit(t, s)
	demoteAll(t, s)
	must(t, s.Set(key8(300), []byte("later")))
	after := commit(t, s)
	for k := range 301 {
		must(t, s.Set(key8(k), []byte("last")))
	}
	for _, v := range []checkpoint.Version{after, before, after, before} {
		_, err := s.Restore(t.Context(), v)
		must(t, err)
		if v == before {
			check(s.Get)
			continue
		}
		for k := range 301 {
			if value, err := s.Get(nil, key8(k)); err != nil || string(value) != "later" {
				t.Fatalf("key %d is %q, %v", k, value, err)
			}
		}
	}
}

// An update that rests on what the tier has said, or has not, is not published when its key has been written and demoted since,
// also when no version has begun meanwhile (T28): its entry looks as it did before.
func TestTier_UpdateAcrossADemotionWithoutAVersion(t *testing.T) {
	s := demoted(t, "/store", tiny())
	demoteNow := func() {
		s.log.ShiftReadOnly(s.log.Tail())
		must(t, s.demoteTo(t.Context(), s.log.Tail()))
	}
	writer, updater := s.NewSession(), s.NewSession()
	for round, key := range [][]byte{[]byte("absent, no tier"), []byte("absent"), []byte("cold")} {
		if round == 2 {
			must(t, s.Set(key, []byte("0")))
			demoteNow()
		}
		calls := 0
		must(t, updater.RMW(key, func(old []byte) []byte {
			if calls++; calls == 1 {
				must(t, writer.Set(key, []byte("1")))
				demoteNow()
				if _, _, status := s.index().Find(s.hash(key)); status == index.Found {
					t.Fatalf("round %d: the entry is not cleared: the test tests nothing", round)
				}
			}
			return append(old[:len(old):len(old)], 'x')
		}))
		if v, err := s.Get(nil, key); err != nil || string(v) != "1x" {
			t.Errorf("round %d: the value is %q, %v after %d calls; want 1x", round, v, err, calls)
		}
	}
	if versions, err := s.Versions(); err != nil || len(versions) > 0 {
		t.Errorf("versions %v, %v: the test tests nothing", versions, err)
	}
	must(t, s.Close())
}

// Deletes of keys that there are not write no tombstones, also where only filters that nobody has read yet can tell (T32).
func TestTier_DeleteOfAbsentKeys(t *testing.T) {
	s := demoted(t, "/store", tiny())
	defer s.Close()
	for k := range 2000 {
		must(t, s.Set(key8(2*k), []byte("below")))
	}
	commit(t, s)
	demoteAll(t, s)
	x := s.NewSession()
	before := s.log.Tail()
	for k := range 2000 {
		must(t, x.Delete(key8(2*k+1)))
	}
	if n := (s.log.Tail() - before) / 24; n > 2000/16 { // one of 128 absent keys passes the filter
		t.Errorf("%d of 2000 deletes of absent keys wrote a tombstone", n)
	}
	for k := range 2000 {
		must(t, x.Delete(key8(2*k)))
		if v, err := x.Get(nil, key8(2*k)); err != ErrNotFound {
			t.Fatalf("a deleted key is %q, %v", v, err)
		}
	}
}

// A merge puts another tier in the place of that which a demotion has begun with: the files of that one stay until the demotion
// has ended.
func TestTier_ADemotionKeepsTheTierThatItBeganWith(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	defer s.Close()
	fillKeys(t, s, 500)
	commit(t, s)
	demoteAll(t, s)
	refs := s.cold.refs()
	if len(refs) == 0 {
		t.Fatal("there is no tier: the test tests nothing")
	}
	kept := func() bool {
		return !slices.ContainsFunc(refs, func(r index.ShareRef) bool { return !slices.Contains(s.cold.ids(), r.ID) })
	}
	d := s.newDemotion()
	s.cold.replace(nil)
	if !kept() {
		t.Error("a file of the tier may be removed")
	}
	d.close()
	if kept() {
		t.Error("the tier is kept after the demotion")
	}
}
