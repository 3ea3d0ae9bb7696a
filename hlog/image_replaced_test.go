package hlog

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// openHookFS calls a hook before a file is opened, once.
type openHookFS struct {
	fsx.FS
	hook atomic.Pointer[func(name string)]
}

func (h *openHookFS) Open(name string, f fsx.Flag) (fsx.File, error) { return h.open(h.FS, name, f) }

func (h *openHookFS) OpenRoot(dir string) (fsx.Root, error) {
	return fsx.OpenRootBy(h.FS, dir, h.open)
}

func (h *openHookFS) open(in fsx.FS, name string, f fsx.Flag) (fsx.File, error) {
	if hook := h.hook.Load(); hook != nil {
		(*hook)(name)
	}
	return in.Open(name, f)
}

// never is more log than there is.
const never = 1 << 48

// pace sets after how much log an image is written; the background does as well.
func pace(s *Store, log uint64) {
	s.images.minLog.Store(log)
}

// imaged returns a store whose current version has an image, and would be given a newer one.
func imaged(t *testing.T, fs fsx.FS) *Store {
	t.Helper()
	o := tiny()
	o.FS, o.NoCompaction = fs, true
	s := mustOpen(t, "/store", o)
	pace(s, 1)
	must(t, s.Set(key8(1), key8(1)))
	older := commit(t, s)
	s.writeImageIfDue()
	waitClaims(t, s)
	first := newestImage(s)
	if first == nil {
		t.Fatal("no image")
	}
	pace(s, never)
	x := s.NewSession()
	defer x.Close()
	spill(t, x, 1<<20)
	commit(t, s)
	must(t, s.Purge(context.Background(), older)) // which has the image, too
	if m := s.ledger.Current(); m.Image == nil || m.Image.ID != first.ID {
		t.Fatalf("the version has the image %v, not %v", m.Image, first)
	}
	return s
}

// newImage gives the current version a newer image than old, and what that replaces to the collection.
func newImage(t *testing.T, s *Store, old uint64) {
	pace(s, 1)
	eventually(t, "a newer image", func() bool {
		s.writeImageIfDue() // unless the background does
		return s.ledger.Current().Image.ID != old
	})
	pace(s, never)
	if err := s.collect(); err != nil {
		t.Error(err)
	}
}

func TestOpenVersion_ImageReplacedMeanwhile(t *testing.T) {
	fs := &openHookFS{FS: tiny().FS}
	s := imaged(t, fs)
	old := newestImage(s).ID
	hook := func(name string) {
		if strings.HasSuffix(name, ".img") {
			fs.hook.Store(nil)
			within(t, "the image", func() { newImage(t, s, old) })
		}
	}
	fs.hook.Store(&hook)
	w, err := s.OpenVersion(context.Background(), 0)
	must(t, err)
	if v, err := w.Get(nil, key8(1)); err != nil || string(v) != string(key8(1)) {
		t.Errorf("got %x, %v", v, err)
	}
	must(t, w.Close())
	must(t, s.collect())
	if _, err := fs.FS.Open(s.ledger.ImagePath(old), fsx.Read); err == nil {
		t.Error("the old image stays although nobody needs it")
	}
}

// A restore to the current version, which is given a new image while the restore reads. What is committed next must
// not refer to the old one if that is gone.
func TestRestore_ImageReplacedMeanwhile(t *testing.T) {
	fs := &readHookFS{FS: tiny().FS}
	s := imaged(t, fs)
	must(t, s.Set(key8(2), key8(2)))
	evict(t, s) // so that the restore reads from disk
	old := newestImage(s).ID
	ended := make(chan struct{})
	hook := func(name string) {
		if strings.HasSuffix(name, ".seg") {
			fs.set(nil)
			go func() {
				defer close(ended)
				newImage(t, s, old)
			}()
			eventually(t, "the collection, or its wait for the restore", func() bool {
				return testkit.Closed(ended) || testkit.Stands("[sync.Mutex.Lock", "hlog.newImage(", ").collect(")
			})
		}
	}
	fs.set(hook)
	_, err := s.Restore(context.Background(), 0)
	must(t, err)
	within(t, "the image", func() { <-ended })
	must(t, s.Set(key8(3), key8(3)))
	commit(t, s)
	must(t, s.collect())
	versions, err := s.Versions()
	must(t, err)
	for _, info := range versions {
		w, err := s.OpenVersion(context.Background(), info.Version)
		if err != nil {
			t.Errorf("version %d: %v", info.Version, err)
			continue
		}
		must(t, w.Close())
	}
	must(t, s.Close())
	s = mustOpen(t, "/store", &s.opts)
	if v, err := s.Get(nil, key8(3)); err != nil || string(v) != string(key8(3)) {
		t.Errorf("got %x, %v", v, err)
	}
}

// claimImage claims an image of the current version, whether one is due or not.
func claimImage(s *Store) *ledger.Claim {
	return s.ledger.Claim(ledger.Image, func(now ledger.Now) (ledger.Want, bool) {
		return ledger.Want{From: now.Lineage.Parent.LiveFuzzy()}, true
	})
}

// A restore to the current version comes when a new image of that is whole, and not yet standing: it never will be.
func TestRestore_BeforeAnImageIsPublished(t *testing.T) {
	s := imaged(t, tiny().FS)
	old := newestImage(s).ID
	claim := claimImage(s)
	ref, err := s.writeImage(context.Background(), claim)
	must(t, err)
	must(t, s.collect())
	_, err = s.Restore(context.Background(), 0)
	must(t, err)
	must(t, s.collect())
	if published, err := claim.Publish(func(ledger.Index) (ledger.Index, bool) { return ledger.Index{Image: ref}, true }); published || err != nil {
		t.Fatalf("published: %v, %v", published, err)
	}
	if now := newestImage(s).ID; now != old {
		t.Errorf("image %x stands, not %x", now, old)
	}
	if _, err := s.opts.FS.Open(s.ledger.ImagePath(ref.ID), fsx.Read); err == nil {
		t.Error("the image is there although it is of no use")
	}
	must(t, s.Close())
	s = mustOpen(t, "/store", &s.opts)
	if v, err := s.Get(nil, key8(1)); err != nil || string(v) != string(key8(1)) {
		t.Errorf("got %x, %v", v, err)
	}
}
