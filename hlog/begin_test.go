package hlog

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// While a manifest is written, and a restore waits for it, nobody else does: no checkpoint that begins, no scan, no view.
func TestBeginCheckpoint_DoesNotWaitForAManifest(t *testing.T) {
	o := tiny()
	files := &openHookFS{FS: o.FS}
	o.FS = files
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	must(t, s.Set(key8(1), key8(1)))
	first := commit(t, s)
	must(t, s.Set(key8(2), key8(2)))
	writing, resume := make(chan struct{}), make(chan struct{})
	hook := func(name string) {
		if strings.HasSuffix(name, ".manifest.tmp") {
			files.hook.Store(nil)
			close(writing)
			<-resume
		}
	}
	files.hook.Store(&hook)
	second, err := s.BeginCheckpoint()
	must(t, err)
	within(t, "the manifest", func() { <-writing })
	restored := make(chan error, 1)
	go func() {
		_, err := s.Restore(ctx, first)
		restored <- err
	}()
	eventually(t, "the restore to wait", func() bool { return testkit.Stands(").Drain(", ").Restore(") })
	within(t, "what has nothing to do with the manifest", func() {
		if _, err := s.BeginCheckpoint(); err != nil {
			t.Error(err)
		}
		if err := s.Scan(ctx, func(key, value []byte) bool { return true }); err != nil {
			t.Error(err)
		}
		w, err := s.OpenVersion(ctx, first)
		if err != nil {
			t.Error(err)
			return
		}
		w.Close()
		s.Metrics()
		s.changed()
	})
	close(resume)
	_, err = second.Wait(ctx)
	must(t, err)
	must(t, <-restored)
	if _, err := s.Get(nil, key8(2)); err != ErrNotFound {
		t.Errorf("after the restore: %v", err)
	}
}

// slowRemote holds up who gets an object, once resume is set.
type slowRemote struct {
	checkpoint.Remote
	resume atomic.Pointer[chan struct{}]
}

func (r *slowRemote) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if c := r.resume.Load(); c != nil {
		<-*c
	}
	return r.Remote.Get(ctx, name, off, n)
}

// While a restore fetches a version that only the remote still has, checkpoints begin.
func TestBeginCheckpoint_DoesNotWaitForAFetch(t *testing.T) {
	dir, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	remote := &slowRemote{Remote: dir}
	o := tiny()
	o.Remote = remote
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	must(t, s.Set(key8(1), key8(1)))
	first := commit(t, s)
	must(t, s.Set(key8(2), key8(2)))
	commit(t, s)
	must(t, s.Purge(ctx, first))
	resume := make(chan struct{})
	remote.resume.Store(&resume)
	restored := make(chan error, 1)
	go func() {
		_, err := s.Restore(ctx, first)
		restored <- err
	}()
	eventually(t, "the fetch", func() bool { return testkit.Stands(").Get(", ").Restore(") })
	within(t, "the beginning of a checkpoint", func() {
		if _, err := s.BeginCheckpoint(); err != nil {
			t.Error(err)
		}
	})
	close(resume)
	must(t, <-restored)
	if _, err := s.Get(nil, key8(2)); err != ErrNotFound {
		t.Errorf("after the restore: %v", err)
	}
}

// An id from which hardly any other could follow is refused, so that no slip of a caller ends the versions of a directory.
func TestBeginCheckpoint_LeavesIDs(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	must(t, s.Set(key8(1), []byte("one")))
	for _, v := range []checkpoint.Version{1 << 63, math.MaxUint64} {
		if _, err := s.BeginCheckpoint(WithVersion(v)); !errors.Is(err, ErrVersionOrder) {
			t.Errorf("version %d: %v", v, err)
		}
	}
	last := commit(t, s, WithVersion(1<<63-1))
	must(t, s.Set(key8(2), []byte("two")))
	if v := commit(t, s); v != last+1 {
		t.Errorf("version %d after %d", v, last)
	}
}
