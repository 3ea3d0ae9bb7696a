package hlog

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// A sync that fails when the pages it covers have left memory cannot be made good (G8). Every checkpoint from then on,
// and Close, say so, and say what that sync failed with; the version before is whole, and a restore to it starts afresh.
func TestCheckpoint_AfterALostSync(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	o := tiny()
	o.FS, o.NoCompaction = disk, true
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	must(t, x.Set([]byte("k"), []byte("kept")))
	kept := commit(t, s)

	lose := func() {
		t.Helper()
		must(t, x.Set([]byte("k"), []byte("lost")))
		evict(t, s)
		disk.FailSync(fsx.SyncFailOnce, "*.seg")
		if _, err := s.Checkpoint(context.Background()); !errors.Is(err, syscall.EIO) {
			t.Fatalf("the sync that fails: %v", err)
		}
		disk.FailSync(fsx.SyncHonest, "")
		if _, err := s.Checkpoint(context.Background()); !errors.Is(err, reclog.ErrNotDurable) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("the one after it: %v", err)
		}
	}
	lose()
	_, err := s.Restore(context.Background(), kept)
	must(t, err)
	if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != "kept" {
		t.Fatalf("after the restore: %q, %v", v, err)
	}
	commit(t, s)

	lose()
	if err := s.Close(); !errors.Is(err, reclog.ErrNotDurable) || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), ".seg") {
		t.Fatalf("close: %v", err)
	}
	s = mustOpen(t, "/store", o)
	if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != "kept" {
		t.Fatalf("after opening again: %q, %v", v, err)
	}
}

// The same when it is a crash that the sync fails with: whoever asks for the reason of a failed Close finds it.
func TestClose_AfterASyncLostInACrash(t *testing.T) {
	failing := fsx.NewErr(fsx.NewCrash(fsx.CrashOptions{}))
	o := tiny()
	o.FS, o.NoCompaction = failing, true
	s := mustOpen(t, "/store", o)
	must(t, s.Set([]byte("k"), []byte("lost")))
	evict(t, s)
	failing.Inject(fsx.Fault{Class: fsx.ClassSync, Err: fsx.ErrCrashed, Sticky: true})
	for range 2 {
		if _, err := s.Checkpoint(context.Background()); !errors.Is(err, fsx.ErrCrashed) {
			t.Fatalf("checkpoint: %v", err)
		}
	}
	if err := s.Close(); !errors.Is(err, reclog.ErrNotDurable) || !errors.Is(err, fsx.ErrCrashed) {
		t.Fatalf("close: %v", err)
	}
}

// A first segment whose name was lost by a sync that failed is made anew by the next process: a later sync of the
// directory would not make the old name durable (G8).
func TestOpen_TheFirstSegmentsNameWasLost(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	o := tiny()
	o.FS, o.NoCompaction = disk, true
	s := mustOpen(t, "/store", o)
	commit(t, s) // of nothing
	must(t, s.Set([]byte("k"), []byte("lost")))
	disk.FailSync(fsx.SyncFailOnce, "/store/log")
	if _, err := s.Checkpoint(context.Background()); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the sync that fails: %v", err)
	}
	disk.FailSync(fsx.SyncFailOnce, "/store/log")
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("close: %v", err)
	}
	disk.FailSync(fsx.SyncHonest, "")

	s = mustOpen(t, "/store", o)
	must(t, s.Set([]byte("k"), []byte("kept")))
	commit(t, s)
	must(t, s.Close())
	o.FS = disk.Clone(fsx.Crash{Keep: fsx.KeepNone})
	s = mustOpen(t, "/store", o)
	if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != "kept" {
		t.Fatalf("after a crash: %q, %v", v, err)
	}
}
