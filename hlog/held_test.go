package hlog

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// openHookFS calls a hook before it opens a file for reading, once it is set.
type openHookFS struct {
	fsx.FS
	hook atomic.Pointer[func(name string)]
}

func (h *openHookFS) Open(name string, f fsx.Flag) (fsx.File, error) {
	if hook := h.hook.Load(); hook != nil && f&fsx.Write == 0 {
		(*hook)(name)
	}
	return h.FS.Open(name, f)
}

// withImageOfItsOwn returns the current version, the only one that refers to the image that it does: one of an
// ancestor that is no more.
func withImageOfItsOwn(t *testing.T, s *Store) *checkpoint.Manifest {
	t.Helper()
	parent := commit(t, s)
	imagesAreWorth(s, 1)
	s.writeImageIfDue()
	s.images.wait()
	imagesAreWorth(s, never)
	x := s.NewSession()
	defer x.Close()
	spill(t, x, 256<<10) // more than the size of the image, so that another one is due
	v := commit(t, s)
	must(t, s.Purge(context.Background(), parent))
	m := s.current()
	if m.Version != v || m.Image == nil || m.Image.ReplayFrom >= members(m).fuzzy {
		t.Fatalf("version %d has image %v", m.Version, m.Image)
	}
	return m
}

// supersede gives the current version a newer image and collects what nothing needs then.
func supersede(t *testing.T, s *Store, m *checkpoint.Manifest) {
	t.Helper()
	imagesAreWorth(s, 1)
	s.writeImageIfDue()
	s.images.wait()
	imagesAreWorth(s, never)
	within(t, "the amendment", func() {
		for {
			now, err := s.versions.Manifest(m.Version)
			must(t, err)
			if now.Image.ID != m.Image.ID {
				return
			}
		}
	})
	must(t, s.collect())
}

func imageExists(t *testing.T, s *Store, id uint64) bool {
	t.Helper()
	f, err := s.opts.FS.Open(s.versions.ImagePath(id), fsx.Write)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	must(t, err)
	f.Close()
	return true
}

// The image that a version's manifest names is superseded, and has no other user, between the look at the manifest and
// the opening of the file.
func TestOpenVersion_ImageIsSupersededMeanwhile(t *testing.T) {
	o := tiny()
	files := &openHookFS{FS: o.FS}
	o.FS = files
	s := mustOpen(t, "/store", o)
	imagesAreWorth(s, never)
	check := fillImages(t, s, 500)
	m := withImageOfItsOwn(t, s)
	var once atomic.Bool
	hook := func(name string) {
		if name == s.versions.ImagePath(m.Image.ID) && !once.Swap(true) {
			supersede(t, s, m)
		}
	}
	files.hook.Store(&hook)
	w, err := s.OpenVersion(context.Background(), m.Version)
	must(t, err)
	if !once.Load() {
		t.Fatal("the image was not opened")
	}
	check(w.Get)
	must(t, w.Close())
	must(t, s.collect())
	if imageExists(t, s, m.Image.ID) {
		t.Error("the image stays although nobody needs it any more")
	}
}

// The store goes back to its newest version, whose image is superseded meanwhile. What is committed after that must
// not refer to an image that is gone.
func TestRestore_ImageIsSupersededMeanwhile(t *testing.T) {
	o := tiny()
	disk := o.FS
	files := &readHookFS{FS: disk}
	o.FS = files
	s := mustOpen(t, "/store", o)
	imagesAreWorth(s, never)
	check := fillImages(t, s, 500)
	m := withImageOfItsOwn(t, s)
	must(t, s.Set(key8(0), []byte("to be undone")))
	evict(t, s)
	var once atomic.Bool
	files.set(func(name string) {
		if strings.HasSuffix(name, ".seg") && !once.Swap(true) {
			supersede(t, s, m)
		}
	})
	_, err := s.Restore(context.Background(), m.Version)
	must(t, err)
	if !once.Load() {
		t.Fatal("the restore read nothing from disk")
	}
	must(t, s.collect())
	must(t, s.Set([]byte("after"), []byte("wards")))
	commit(t, s)
	check(s.Get)
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	check(s.Get)
}

// While the store goes back to a version, the versions that it has gone on to since are purged. Log of theirs that the
// store's own log has no more, because it was compacted, still links the chains to where they were.
func TestRestore_VersionInBetweenIsPurgedMeanwhile(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	files := &readHookFS{FS: o.FS}
	o.FS = files
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	check := fillImages(t, s, 500)
	first := commit(t, s)
	x := s.NewSession()
	defer x.Close()
	spill(t, x, 512<<10) // a segment at least that only the next version has
	for k := range 500 {
		must(t, s.Set(key8(k), []byte("to be undone")))
	}
	spill(t, x, 512<<10)
	second := commit(t, s)
	must(t, s.Compact(ctx))
	commit(t, s)
	evict(t, s)
	var once atomic.Bool
	files.set(func(name string) {
		if strings.HasSuffix(name, ".seg") && !once.Swap(true) {
			must(t, s.Purge(ctx, second))
		}
	})
	_, err := s.Restore(ctx, first)
	must(t, err)
	if !once.Load() {
		t.Fatal("the restore read nothing from disk")
	}
	files.set(nil)
	check(s.Get)
}
