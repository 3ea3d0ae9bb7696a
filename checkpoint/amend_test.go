package checkpoint

import (
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

func TestDir_AmendGivesTheCurrentVersionAnImage(t *testing.T) {
	path := t.TempDir()
	d, err := OpenDir(fsx.OS(), path, Identity{SegmentBytes: 1 << 20}, false)
	if err != nil {
		t.Fatal(err)
	}
	first := &Manifest{Version: 1, DeltaStart: 4096, Cut: 8192, LogVersion: 1,
		Extents: []Extent{{Start: 4096, End: 8192, Fuzzy: 8192, LogVersion: 1}}}
	if err := d.Commit(first); err != nil {
		t.Fatal(err)
	}
	image := ImageRef{ID: 7, Bytes: 100, ReplayFrom: 8192}
	if ok, err := d.Amend(1, Index{Image: &image}); !ok || err != nil {
		t.Fatalf("amend: %v, %v", ok, err)
	}
	d, err = OpenDir(fsx.OS(), path, Identity{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if m := d.Current(); m.Image == nil || *m.Image != image || m.Cut != 8192 {
		t.Fatalf("reopened: image %v, cut %d", m.Image, m.Cut)
	}
	second := &Manifest{Version: 2, Parent: 1, DeltaStart: 8192, Cut: 8192, LogVersion: 2, Extents: first.Extents}
	if err := d.Commit(second); err != nil {
		t.Fatal(err)
	}
	for _, v := range []Version{1, 3} { // has a child, does not exist
		if ok, err := d.Amend(v, Index{Image: &ImageRef{ID: 8}}); ok || err != nil {
			t.Fatalf("amend of version %d: %v, %v", v, ok, err)
		}
	}
}

// Whoever has pinned a version opens the image that its manifest named then. Amend gives the current version another
// one, after which nothing else may refer to the first.
func TestDir_AmendKeepsTheImageOfAPinnedVersion(t *testing.T) {
	d, err := OpenDir(fsx.NewCrash(fsx.CrashOptions{}), "/store", Identity{SegmentBytes: 1 << 20}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(&Manifest{Version: 1, DeltaStart: 4096, Cut: 8192, LogVersion: 1, Index: Index{Image: &ImageRef{ID: 7, Bytes: 100, ReplayFrom: 4096}},
		Extents: []Extent{{Start: 4096, End: 8192, Fuzzy: 8192, LogVersion: 1}}}); err != nil {
		t.Fatal(err)
	}
	images := func(want ...uint64) {
		t.Helper()
		if _, got, err := d.References(); err != nil || !slices.Equal(got, want) {
			t.Errorf("images %v are referred to, want %v; %v", got, want, err)
		}
	}
	amend := func(id uint64) {
		t.Helper()
		if ok, err := d.Amend(1, Index{Image: &ImageRef{ID: id, Bytes: 100, ReplayFrom: 8192}}); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	for range 2 {
		if m, err := d.Pin(1); err != nil || m.Image.ID != 7 {
			t.Fatal(m, err)
		}
	}
	amend(8)
	amend(9)
	images(7, 8, 9)
	d.Unpin(1)
	images(7, 8, 9)
	d.Unpin(1)
	images(9)
	amend(10)
	images(10)
}
