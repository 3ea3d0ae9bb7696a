package hlog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// farTier makes a remote with a version of which most is in the cold tier, and returns how many cold files it has.
func farTier(t *testing.T, keys int) (r *remotetest.Faulty, files int) {
	t.Helper()
	inner, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	r = remotetest.NewFaulty(inner)
	o := tiny()
	o.Remote, o.ColdAfter, o.indexPace = r, 1, shares.Pace{Uncovered: shareTestCut, ShareLength: 8 << 10}
	s := demoted(t, "store", o)
	for i := range keys {
		must(t, s.Set(key8(i), fmt.Appendf(nil, "value %d", i)))
	}
	commit(t, s)
	for more := true; more; { // rounds that merge nothing before: there are to be many files
		more, err = s.demoteOnce(t.Context(), s.current().Cut)
		must(t, err)
	}
	must(t, s.Set([]byte("k"), nil))
	commit(t, s)
	must(t, s.copies.mirror.PutHint(t.Context()))
	files = len(s.current().Index.Cold)
	must(t, s.Close())
	return r, files
}

// A read of what is in the cold tier of a version takes few answers and requests, however many cold files the version has: index
// shares of log that was demoted are not read.
func TestOpenRemote_FirstReadInTheColdTier(t *testing.T) {
	keys := testkit.UnderRace(12_000, 30_000)
	r, files := farTier(t, keys)
	synctest.Test(t, func(t *testing.T) {
		first := func() *View {
			d := remotetest.NewDistant(r)
			began := time.Now()
			v, err := OpenRemote(context.Background(), d, 0, nil)
			must(t, err)
			value, err := v.Get(nil, key8(7))
			must(t, err)
			trips, calls := time.Since(began)/remotetest.Trip, d.Calls()
			t.Logf("%d keys in %d cold files: %d round trips, %d requests", keys, files, trips, calls)
			if files < 8 || trips > 8 || calls > 56 || string(value) != "value 7" {
				t.Errorf("%d keys in %d cold files: %d round trips, %d requests, %q", keys, files, trips, calls, value)
			}
			return v
		}
		must(t, first().Close())
		must(t, r.Delete(t.Context(), "HINT"))
		v := first()
		n := 0
		must(t, v.Scan(context.Background(), func(key, value []byte) bool { n++; return true }))
		if n != keys+1 {
			t.Errorf("a scan finds %d keys, want %d", n, keys+1)
		}
		_, err := v.Verify(context.Background(), func(damage Damage) { t.Errorf("damage: %+v", damage) })
		must(t, err)
		must(t, v.Close())
	})
}

// Many reads at a time open the cold files that they come upon, each once, also where the remote has failed before.
func TestOpenRemote_ManyReadsInTheColdTier(t *testing.T) {
	const keys = 5_000
	r, _ := farTier(t, keys)
	synctest.Test(t, func(t *testing.T) { // time-outs take no time
		v, err := OpenRemote(context.Background(), r, 0, &Options{OpenTimeout: time.Second})
		must(t, err)
		defer v.Close()
		r.Inject(remotetest.Fault{Verb: remotetest.Get, Mode: remotetest.Block, Match: "images", Sticky: true})
		if _, err := v.Get(nil, key8(7)); !errors.Is(err, ErrRemote) {
			t.Errorf("a remote that does not answer: %v", err)
		}
		r.Clear()
		var readers sync.WaitGroup
		for g := range 4 {
			readers.Go(func() {
				for i := g; i < keys; i += 5 {
					if got, err := v.Get(nil, key8(i)); err != nil || string(got) != fmt.Sprint("value ", i) {
						t.Errorf("key %d: %q, %v", i, got, err)
						return
					}
				}
			})
		}
		readers.Wait()
	})
}

// creating is a file system that calls then before it makes the next file of an index or a tier.
type creating struct {
	fsx.FS
	then atomic.Pointer[func()]
}

type creatingRoot struct {
	fsx.Root
	c *creating
}

func (c *creating) OpenRoot(dir string) (fsx.Root, error) {
	root, err := c.FS.OpenRoot(dir)
	return creatingRoot{root, c}, err
}

func (r creatingRoot) Open(name string, flag fsx.Flag) (fsx.File, error) {
	if flag&fsx.Create != 0 && filepath.Ext(name) == ".img" {
		if then := r.c.then.Swap(nil); then != nil {
			(*then)()
		}
	}
	return r.Root.Open(name, flag)
}

// A load that demotes has cold files to merge all the time. The index shares that it makes meanwhile are merged all the same, or
// each read of a version on a remote would ask all of them.
func TestMergeShares_ColdFilesDoNotKeepTheIndexWaiting(t *testing.T) {
	o := tiny()
	o.indexPace = shares.Pace{Uncovered: shareTestCut, ShareLength: 8 << 10}
	c := &creating{FS: o.FS}
	o.FS = c
	s := demoted(t, "/store", o)
	s.background.runs.Stop()
	write := func(keys int) {
		for i := range keys {
			must(t, s.Set(key8(i), make([]byte, 50)))
		}
		commit(t, s)
	}
	for range 4 {
		write(1_000)
		demoteAll(t, s)
	}
	s.disk.Merge()
	due := false
	then := func() {
		for range 12 {
			write(2_000)
			must(t, s.disk.WriteRunsUpTo(s.log.Durability().Written()))
		}
		due = mergeDue(s)
	}
	c.then.Store(&then)
	merged := s.cold.merged.Load()
	s.mergeShares()
	if !due || s.cold.merged.Load() == merged {
		t.Fatalf("index shares to merge: %v, cold files were merged: %v: the test tests nothing", due, s.cold.merged.Load() > merged)
	}
	if mergeDue(s) {
		t.Error("index shares are left to be merged")
	}
}
