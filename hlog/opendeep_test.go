package hlog

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
)

// deepStore makes a store on a remote as bad as it can be made for a first reader: a cold tier as deep as demotion leaves it, and
// versions each of which has a run of its own, which nothing is merged with in the background.
func deepStore(t *testing.T) (remote checkpoint.Remote, s *Store, versions int) {
	t.Helper()
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	o := tiny()
	o.Remote, o.KeepVersions, o.indexPace = remote, 4, shares.Pace{Uncovered: shareTestCut, ShareLength: 8 << 10}
	s = demoted(t, "store", o) // without merges in the background
	for round := range 2 * maxColdDepth {
		must(t, demoteRound(t, s, round, func(target uint64) error { return s.demoteTo(t.Context(), target) }))
	}
	for s.cold.depth() < maxColdDepth {
		must(t, demoteRound(t, s, 0, func(target uint64) error {
			_, err := s.demoteOnce(t.Context(), target)
			return err
		}))
	}
	const pipelined = 5
	for versions = 0; versions < 3*shares.MaxDepth/2; versions++ {
		for i := range 4 * shareTestCut / 1_000 {
			must(t, s.Set(key8(1_000+(versions*37+i*11)%5_000), make([]byte, 900)))
		}
		must(t, s.Set(key8(1_000), make([]byte, 900)))
		must(t, s.Set(key8(999), fmt.Append(nil, versions)))
		if versions%7 == 6 { // some are begun while others are on their way
			for range pipelined {
				must(t, s.Set(key8(999), fmt.Append(nil, versions)))
				_, err := s.BeginCheckpoint()
				must(t, err)
			}
		}
		commit(t, s)
		if n := shares.Of(s.current().Shares).Depth(); n > shares.MaxDepth {
			t.Fatalf("version %d has %d shares for a hash", s.current().Version, n)
		}
	}
	must(t, s.copies.mirror.PutHint(t.Context()))
	return remote, s, versions
}

// The first read of a store takes at most eight answers that wait for each other, and at most 64 requests, whatever was done to
// it: its index shares are few (R7), its cold files are (T39), and each is one request (I22).
func TestOpenRemote_FirstReadOfADeepStore(t *testing.T) {
	r, s, versions := deepStore(t)
	m := s.current()
	depth, cold := shares.Of(m.Shares).Depth(), shares.Of(m.Index.Cold).Depth()
	if depth < shares.MaxDepth-3 || cold < maxColdDepth {
		t.Errorf("%d index shares and %d cold files for a hash: the test tests nothing", depth, cold)
	}
	for _, hint := range []bool{true, false} {
		if !hint {
			must(t, r.Delete(t.Context(), "HINT"))
		}
		for key, want := range map[int]string{999: fmt.Sprint(versions - 1), 3: "round 0", 1_000: string(make([]byte, 900))} {
			for _, memory := range []int64{MinMemoryBytes, 64 << 20} { // what was read is kept in a part of it
				synctest.Test(t, func(t *testing.T) {
					d := remotetest.NewDistant(r)
					began := time.Now()
					v, err := OpenRemote(context.Background(), d, m.Version, &Options{MemoryBytes: memory})
					must(t, err)
					value, err := v.Get(nil, key8(key))
					must(t, err)
					trips, calls := time.Since(began)/remotetest.Trip, d.Calls()
					t.Logf("key %d in %d index shares and %d cold files, hint %v, %d MiB: %d round trips, %d requests", key, depth, cold, hint, memory>>20, trips, calls)
					if trips > 8 || calls > 64 || string(value) != want {
						t.Errorf("key %d: %d round trips, %d requests, %.20q, want %.20q", key, trips, calls, value, want)
					}
					must(t, v.Close())
				})
			}
		}
	}
}

// A store that is closed as soon as something was written, each time, has no time for merges: its last versions have few shares
// all the same, and so has a version after many that were committed without a remote (R7).
func TestClose_BoundsTheSharesOfItsVersion(t *testing.T) {
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	o := tiny()
	o.indexPace = shares.Pace{Uncovered: shareTestCut, ShareLength: 8 << 10}
	write := func(s *Store, round int) {
		s.background.merges.Stop()
		for i := range 40 {
			must(t, s.Set(key8(round%7*1_000+i), make([]byte, 900)))
		}
	}
	deepest := 0
	const without = shares.MaxDepth + 4
	for round := range without + 12 {
		if round == without {
			if deepest <= shares.MaxDepth {
				t.Fatalf("%d shares for a hash without a remote: the test tests nothing", deepest)
			}
			o.Remote = remote
		}
		s := mustOpen(t, "store", o)
		if m := s.current(); m != nil {
			n := shares.Of(m.Shares).Depth()
			if deepest = max(deepest, n); round > without && n > shares.MaxDepth {
				t.Fatalf("%d shares for a hash after round %d", n, round)
			}
		}
		write(s, round)
		must(t, s.Close())
	}
}

// Runs that are written while nothing is merged in the background, and no version wants them, wait for merges: a version finds
// few shares, and has little to merge (R7).
func TestWriteRuns_MakeRoomForVersions(t *testing.T) {
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	o := tiny()
	o.Remote, o.indexPace = remote, shares.Pace{Uncovered: shareTestCut, ShareLength: 8 << 10}
	s := demoted(t, "store", o)
	deepest := 0
	for i := range 3 * shares.MaxDepth * 2 * shareTestCut / 1_000 {
		must(t, s.Set(key8(i%5_000), make([]byte, 900)))
		if i%40 == 0 {
			tail, _ := s.log.AlignTail(0)
			s.log.ShiftReadOnly(tail)
			must(t, s.log.SyncTo(tail))
			s.disk.WriteRuns()
			deepest = max(deepest, standing(s).Depth())
		}
	}
	if deepest >= shares.MaxDepth || deepest < shares.MaxDepth/2 {
		t.Errorf("%d shares for a hash", deepest)
	}
	must(t, s.Close())
}
