package hlog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// demoteRound writes some keys and demotes them, in a round of their own.
func demoteRound(t *testing.T, s *Store, round int, demote func(target uint64) error) error {
	t.Helper()
	for k := range 10 {
		must(t, s.Set(key8(k+round%7), fmt.Appendf(nil, "round %d", round)))
	}
	s.log.ShiftReadOnly(s.log.Tail())
	return demote(s.log.Tail())
}

// deepTier makes a tier with more files over a hash than there should be, by rounds that merge nothing before.
func deepTier(t *testing.T, s *Store) {
	t.Helper()
	for round := range maxColdDepth + 5 {
		must(t, demoteRound(t, s, round, func(target uint64) error {
			_, err := s.demoteOnce(t.Context(), target)
			return err
		}))
	}
	if n := s.cold.depth(); n <= maxColdDepth {
		t.Fatalf("%d files are over a hash: the test tests nothing", n)
	}
}

// Demotion that outruns the merges of cold files does them itself, however many rounds there are (T39).
func TestTier_DemotionBoundsTheDepth(t *testing.T) {
	s := demoted(t, "/store", tiny())
	deepest := 0
	const rounds = 3 * maxColdDepth
	for round := range rounds {
		must(t, demoteRound(t, s, round, func(target uint64) error { return s.demoteTo(t.Context(), target) }))
		n := s.cold.depth()
		if deepest = max(deepest, n); n > maxColdDepth {
			t.Fatalf("%d files are over a hash after round %d", n, round)
		}
	}
	if deepest < manyColdFiles {
		t.Errorf("at most %d files were over a hash: the test tests nothing", deepest)
	}
	for k := range 16 {
		last := rounds - 1
		for ; k < last%7 || k >= last%7+10; last-- {
		}
		if v, err := s.Get(nil, key8(k)); err != nil || string(v) != fmt.Sprint("round ", last) {
			t.Errorf("key %d is %q, %v; want round %d", k, v, err, last)
		}
	}
	must(t, s.Close())
}

// A tier that is too deep when demotion begins, because merges failed before, is merged first (T39).
func TestTier_DemotionFindsADeepTier(t *testing.T) {
	s := demoted(t, "/store", tiny())
	deepTier(t, s)
	must(t, demoteRound(t, s, 0, func(target uint64) error { return s.demoteTo(t.Context(), target) }))
	if n := s.cold.depth(); n > maxColdDepth {
		t.Errorf("%d files are over a hash", n)
	}
	must(t, s.Close())
}

// Nobody waits for ever for a tier that does not get shallow: demotion goes on, or ends with an error, when its context has ended
// or the disk is full.
func TestTier_DepthIsNotWaitedForInVain(t *testing.T) {
	o := tiny()
	disk := fsx.NewErr(o.FS)
	o.FS = disk
	s := demoted(t, "/store", o)
	deepTier(t, s)
	files, merged := len(s.cold.refs()), s.cold.merged.Load()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	within(t, "a demotion whose context has ended", func() {
		err := demoteRound(t, s, 0, func(target uint64) error { return s.demoteTo(ended, target) })
		if !errors.Is(err, context.Canceled) || s.cold.merged.Load() != merged {
			t.Errorf("with a context that has ended: %v, %d bytes were merged", err, s.cold.merged.Load()-merged)
		}
	})
	full := disk.Inject(fsx.Fault{Class: fsx.ClassWrite, Match: "*.img", Err: syscall.ENOSPC, Sticky: true})
	within(t, "a demotion on a full disk", func() {
		err := demoteRound(t, s, 0, func(target uint64) error { return s.demoteTo(t.Context(), target) })
		if !errors.Is(err, syscall.ENOSPC) || len(s.cold.refs()) != files {
			t.Errorf("on a full disk: %v, and %d files where there were %d", err, len(s.cold.refs()), files)
		}
	})
	full.Clear()
	must(t, demoteRound(t, s, 1, func(target uint64) error { return s.demoteTo(t.Context(), target) }))
	if n := s.cold.depth(); n > maxColdDepth {
		t.Errorf("%d files are over a hash", n)
	}
	must(t, s.Close())
}

// A restore does not wait for the merges that a demotion does, and these go on in the tier that stands then (T39).
func TestTier_RestoreWhileDemotionMerges(t *testing.T) {
	o := tiny()
	hooks := &creating{FS: o.FS}
	o.FS = hooks
	s := demoted(t, "/store", o)
	check := fillKeys(t, s, 50)
	v := commit(t, s)
	deepTier(t, s)
	restored := false
	then := func() { // a merge begins
		_, err := s.Restore(t.Context(), v)
		must(t, err)
		restored = true
	}
	hooks.then.Store(&then)
	within(t, "the restore", func() { must(t, s.demoteTo(t.Context(), s.log.SafeReadOnly())) })
	if !restored {
		t.Error("nothing was merged: the test tests nothing")
	}
	check(s.Get)
	must(t, s.Close())
}

// Close ends the merges that a caller of Compact does, and waits for no more than the end of the one under way (T39).
func TestTier_CloseWhileDemotionMerges(t *testing.T) {
	o := tiny()
	hooks := &creating{FS: o.FS}
	o.FS = hooks
	s := demoted(t, "/store", o)
	deepTier(t, s)
	check := fillKeys(t, s, 50)
	commit(t, s)
	check(s.Get)
	closed := make(chan error, 1)
	var merges atomic.Bool
	then := func() {
		if s.cold.merging.TryLock() {
			s.cold.merging.Unlock()
			t.Error("the file is not that of a merge: the test tests nothing")
		}
		merges.Store(true)
		go func() {
			err := s.Close()
			if merges.Load() {
				t.Error("Close has returned while a merge is under way")
			}
			closed <- err
		}()
		eventually(t, "the store does not close", func() bool { return s.check() != nil })
		for range 10_000 {
			runtime.Gosched() // Close could go on
		}
		merges.Store(false)
	}
	hooks.then.Store(&then)
	within(t, "Compact and Close", func() {
		if err := s.Compact(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Compact of a store that closes: %v", err)
		}
		must(t, <-closed)
	})
	s = mustOpen(t, "/store", o)
	check(s.Get)
	must(t, s.Close())
}

// Where versions are uploaded, merges of cold files that nobody waits for write what the ration has, which is one with that of the
// index: nothing once it is spent, until what is demoted and committed has filled it. Those that are urgent do not wait for it,
// and what they write counts; without a remote nobody does (T40).
func TestTier_MergesAreRationed(t *testing.T) {
	for _, uploads := range []bool{true, false} {
		o := tiny()
		if uploads {
			dir, err := checkpoint.NewDirRemote(t.TempDir())
			must(t, err)
			o.Remote = dir
		}
		s := demoted(t, "/store", o)
		round := 0
		demote := func() {
			t.Helper()
			must(t, demoteRound(t, s, round, func(target uint64) error {
				_, err := s.demoteOnce(t.Context(), target)
				return err
			}))
			round++
		}
		merge := func(urgent bool) (merged bool) {
			t.Helper()
			tier := s.cold.standing.Load()
			_, err := s.mergeColdOnce(nil, urgent)
			must(t, err)
			return s.cold.standing.Load() != tier
		}
		for round < manyColdFiles-1 {
			demote()
		}
		const much = 1 << 40
		s.disk.Spend(much)
		if merged := merge(false); merged == uploads {
			t.Errorf("uploads %v: a merge that nobody waits for, beyond the ration: merged %v", uploads, merged)
		}
		if !uploads {
			must(t, s.Close())
			continue
		}
		demote()
		if !s.cold.crowded() {
			t.Fatalf("%d files are over a hash: the test tests nothing", s.cold.depth())
		}
		if !merge(false) {
			t.Error("lookups have many files to ask, and none is merged")
		}
		for !merge(false) && round < 3*manyColdFiles { // fewer, but worth while
			s.disk.Earn(much / 8)
			demote()
		}
		s.disk.Spend(much)
		for round < 4*manyColdFiles && !s.cold.crowded() {
			demote()
		}
		if !merge(true) {
			t.Error("a merge that somebody waits for is rationed")
		}
		for s.disk.Earn(4 * much); !s.cold.crowded(); demote() {
		}
		if s.disk.Earn(4 * much); !merge(true) || s.disk.Afford(much) {
			t.Error("what a merge has written does not count")
		}
		must(t, s.Close())
	}
}
