package checkpoint

import (
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
	if ok, err := d.Amend(1, image); !ok || err != nil {
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
		if ok, err := d.Amend(v, ImageRef{ID: 8}); ok || err != nil {
			t.Fatalf("amend of version %d: %v, %v", v, ok, err)
		}
	}
}
