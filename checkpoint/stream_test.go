package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// noise gives a file random content, from off on.
func noise(t *testing.T, disk fsx.FS, name string, off, n int64) {
	t.Helper()
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	f, err := disk.Open(name, fsx.Write|fsx.Create)
	must(t, err)
	_, err = f.WriteAt(b, off)
	must(t, err)
	must(t, f.Close())
}

func streamed(t *testing.T, d *Dir, m, base *Manifest) []byte {
	t.Helper()
	s, err := d.Stream(m, base)
	must(t, err)
	var b bytes.Buffer
	n, err := s.WriteTo(context.Background(), &b)
	must(t, err)
	if n != int64(b.Len()) || n != s.Size() {
		t.Fatalf("%d bytes are said to be written, %d were, the size is %d", n, b.Len(), s.Size())
	}
	return b.Bytes()
}

func imported(disk fsx.FS, b []byte) error {
	in, err := ReadStream(bytes.NewReader(b))
	if err != nil {
		return err
	}
	_, err = in.Into(context.Background(), disk, "/copy")
	return err
}

// named returns what the files hold that version m names: index files whole, of segments what is the version's log.
func named(t *testing.T, d *Dir, m *Manifest) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, f := range m.Index.files() {
		b, err := fsx.ReadFile(d.fs, d.ImagePath(f.id), 1<<30)
		if err != nil {
			t.Fatalf("index file %d: %v", f.id, err)
		}
		all["image "+Version(f.id).String()] = string(b)
	}
	log := Log(m.Extents)
	for _, r := range log.Ranges() {
		b := make([]byte, r.Bytes())
		must(t, d.readLog(b, r.Start))
		all["log "+Version(r.Start).String()] = string(b)
	}
	return all
}

// Every class of file that a manifest can name travels. A delta brings what its base has been amended with since it was
// copied: the copy names the older files.
func TestStream_BringsAllFiles(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	must(t, disk.MkdirAll("/store"))
	must(t, disk.MkdirAll("/copy"))
	d, err := OpenDir(disk, "/store", testIdentity, false)
	must(t, err)
	commit := func(v Version, n uint64, x Index) *Manifest {
		t.Helper()
		m := nextManifest(d, v, n, false) // over several segments
		m.Index = x
		for at := m.DeltaStart; at < m.Cut; {
			end := min(m.Cut, (at/testSegment+1)*testSegment)
			noise(t, disk, d.SegmentPath(at/testSegment), int64(at%testSegment), int64(end-at))
			at = end
		}
		for _, f := range m.Index.files() {
			if _, err := disk.Open(d.ImagePath(f.id), fsx.Read); errors.Is(err, fs.ErrNotExist) {
				noise(t, disk, d.ImagePath(f.id), 0, f.bytes)
			}
		}
		must(t, d.Commit(m))
		return d.Current()
	}
	image := &ImageRef{ID: 1, Bytes: 3<<20 + 77, ReplayFrom: 8192}
	run := RunRef{ID: 2, Bytes: 1 << 20, From: 8192, To: 12288}
	share := func(id uint64) ShareRef { return ShareRef{ID: id, Bytes: 500, Last: 9, From: 4096, To: 12288} }
	one := commit(1, 5*testSegment+4096, Index{Image: image, Runs: []RunRef{run}, Shares: []ShareRef{share(3)}, ReplayFrom: 12288})
	first := streamed(t, d, one, nil)

	noise(t, disk, d.ImagePath(4), 0, 500)
	ok, err := d.Amend(1, Index{Image: image, Runs: []RunRef{run}, Shares: []ShareRef{share(4)}, ReplayFrom: 12288})
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	noise(t, disk, d.ImagePath(5), 0, 0)
	empty := ShareRef{ID: 5, First: 10, Last: 10, From: 4096, To: 12288}
	two := commit(2, testSegment, Index{Image: image, Runs: []RunRef{run}, Shares: []ShareRef{share(4), empty}, ReplayFrom: 12288})
	base, err := d.Manifest(1)
	must(t, err)
	delta := streamed(t, d, two, base)
	if len(delta) > 2*testSegment {
		t.Errorf("a delta of %d bytes", len(delta))
	}

	must(t, imported(disk, first))
	c, err := OpenDir(disk, "/copy", Identity{}, true)
	must(t, err)
	if !maps.Equal(named(t, d, one), named(t, c, c.Current())) {
		t.Error("the first version has other files there")
	}
	must(t, imported(disk, delta))
	c, err = OpenDir(disk, "/copy", Identity{}, true)
	must(t, err)
	if m := c.Current(); m.Version != 2 || !maps.Equal(named(t, d, two), named(t, c, m)) {
		t.Error("the second version has other files there")
	}
}

// A base that has the same id but not the files that a delta relies on is refused: the directory was opened again since it
// was copied, and what it was amended with before is not known any more.
func TestStream_BaseWithOtherFiles(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	must(t, disk.MkdirAll("/store"))
	must(t, disk.MkdirAll("/copy"))
	d, err := OpenDir(disk, "/store", testIdentity, false)
	must(t, err)
	image := func(id uint64) *ImageRef {
		noise(t, disk, d.ImagePath(id), 0, 100)
		return &ImageRef{ID: id, Bytes: 100, ReplayFrom: 4096}
	}
	m := nextManifest(d, 1, 4096, false)
	noise(t, disk, d.SegmentPath(0), 4096, 4096)
	m.Image = image(1)
	must(t, d.Commit(m))
	must(t, imported(disk, streamed(t, d, d.Current(), nil)))
	_, err = d.Amend(1, Index{Image: image(2)})
	must(t, err)
	d, err = OpenDir(disk, "/store", Identity{}, false)
	must(t, err)
	base := d.Current()
	noise(t, disk, d.SegmentPath(0), 8192, 4096)
	must(t, d.Commit(nextManifest(d, 2, 4096, false)))
	var e *BaseError
	if err := imported(disk, streamed(t, d, d.Current(), base)); !errors.As(err, &e) || e.Base != 1 || !e.Other {
		t.Fatalf("a delta onto a base with other files: %v", err)
	}
	if c, err := OpenDir(disk, "/copy", Identity{}, true); err != nil || c.Current().Version != 1 {
		t.Fatal("the copy was changed")
	}
}
