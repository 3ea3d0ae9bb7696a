package hlog

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// imageCountFS counts the image files that are open.
type imageCountFS struct {
	fsx.FS
	open atomic.Int64
}

type countedImage struct {
	fsx.File
	open *atomic.Int64
}

func (c *imageCountFS) Open(name string, f fsx.Flag) (fsx.File, error) {
	return c.openCounted(c.FS, name, f)
}

func (c *imageCountFS) OpenRoot(dir string) (fsx.Root, error) {
	return fsx.OpenRootBy(c.FS, dir, c.openCounted)
}

func (c *imageCountFS) openCounted(in fsx.FS, name string, f fsx.Flag) (fsx.File, error) {
	file, err := in.Open(name, f)
	if err != nil || filepath.Ext(name) != ".img" {
		return file, err
	}
	c.open.Add(1)
	return &countedImage{file, &c.open}, nil
}

func (f *countedImage) Close() error {
	f.open.Add(-1)
	return f.File.Close()
}

// A restore to another branch opens the version's index beside the one in use. If the rollback then cannot be made
// durable, that index has to go again: its memory, what it counts for in the budget, and its file.
func TestRestore_FailedHeadClosesTheIndexItOpened(t *testing.T) {
	files := &imageCountFS{FS: fsx.NewCrash(fsx.CrashOptions{})}
	failing := fsx.NewErr(files)
	imaged := make(chan struct{}, 1)
	o := tiny()
	o.FS, o.NoCompaction = failing, true
	o.Events.ImageWritten = func(int64, time.Duration) {
		select {
		case imaged <- struct{}{}:
		default:
		}
	}
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	spill(t, x, 1<<20)
	base := commit(t, s)
	<-imaged
	must(t, x.Set([]byte("k"), []byte("one branch")))
	other := commit(t, s)
	_, err := s.Restore(context.Background(), base)
	must(t, err)
	must(t, x.Set([]byte("k"), []byte("another")))
	here := commit(t, s)
	withoutRuns(s) // which open images, too
	if m, err := s.ledger.Manifest(other); err != nil || len(m.Shares) == 0 {
		t.Fatalf("version %d has no shares: %v", other, err)
	}

	for _, class := range []fsx.Class{fsx.ClassOpen, fsx.ClassTruncate, fsx.ClassWrite, fsx.ClassSync, fsx.ClassRename} {
		opened, counted := files.open.Load(), s.memory.index.Load()
		fault := failing.Inject(fsx.Fault{Class: class, Match: "HEAD.tmp"})
		if _, err := s.Restore(context.Background(), other); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%v: %v", class, err)
		}
		fault.Clear()
		if n := files.open.Load(); n != opened {
			t.Errorf("%v: %d images are open, %d were", class, n, opened)
		}
		if n := s.memory.index.Load(); n != counted {
			t.Errorf("%v: the index counts for %d bytes, it did for %d", class, n, counted)
		}
		if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != "another" {
			t.Errorf("%v: %q, %v", class, v, err)
		}
	}
	_, err = s.Restore(context.Background(), other)
	must(t, err)
	if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != "one branch" {
		t.Errorf("%q, %v", v, err)
	}
	_, err = s.Restore(context.Background(), here)
	must(t, err)
	must(t, s.Close())
	if n := files.open.Load(); n != 0 {
		t.Errorf("%d images are open at the end", n)
	}
}
