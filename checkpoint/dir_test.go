package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

const testSegment = 1 << 16

var testIdentity = Identity{StoreID: [16]byte{0xab, 0xcd}, HashSeed: 42, SegmentBytes: testSegment}

func openTest(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(fsx.OS(), path, testIdentity, false)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// nextManifest returns a version that adds the given bytes of log to the current one, as an engine would after a
// rollback or reopening (live false) or going on (live true).
func nextManifest(d *Dir, v Version, n uint64, live bool) *Manifest {
	start := max(d.MaxEnd(), 4096)
	m := &Manifest{
		Version: v, DeltaStart: start, Cut: start + n, DeltaBytes: int64(n), LogVersion: uint64(v),
		Cookie: fmt.Appendf(nil, "cookie of %d", v), PageBytes: 4096,
	}
	parent := d.Current()
	if parent != nil {
		m.Parent, m.Image = parent.Version, parent.Image
	}
	m.Extents = Extend(parent, Extent{Start: start, End: start + n, Fuzzy: start + n, LogVersion: uint64(v)}, live)
	return m
}

func commitTest(t *testing.T, d *Dir, v Version, n uint64) *Manifest {
	t.Helper()
	m := nextManifest(d, v, n, true)
	if err := d.Commit(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

// wantDir compares what a directory says with ids (all versions) and current, now and after it is opened again.
func wantDir(t *testing.T, d *Dir, current Version, ids ...Version) {
	t.Helper()
	for _, d := range []*Dir{d, openTest(t, d.Path())} {
		var got []Version
		var at Version
		for _, info := range d.Versions() {
			got = append(got, info.Version)
			if info.Current {
				at = info.Version
			}
		}
		if !reflect.DeepEqual(got, ids) || at != current {
			t.Fatalf("versions %v at %d, want %v at %d", got, at, ids, current)
		}
		if m := d.Current(); (m == nil) != (current == 0) || m != nil && m.Version != current {
			t.Fatalf("current is %v, want %d", m, current)
		}
	}
}

func TestOpenDir_New(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "store")
	_, err := OpenDir(fsx.OS(), path, testIdentity, true)
	wantErr(t, err, fs.ErrNotExist)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a read-only open made the directory: %v", err)
	}
	d := openTest(t, path)
	wantDir(t, d, 0)
	if d.MaxID() != 0 || d.MaxEnd() != 0 {
		t.Errorf("new store has max id %d, max end %d", d.MaxID(), d.MaxEnd())
	}
	other := testIdentity
	other.StoreID[0]++
	d, err = OpenDir(fsx.OS(), path, other, false)
	must(t, err)
	if d.Identity() != testIdentity {
		t.Errorf("identity is %v, want the one on disk, %v", d.Identity(), testIdentity)
	}
	if _, err := OpenDir(fsx.OS(), t.TempDir(), Identity{SegmentBytes: 100}, false); err == nil {
		t.Error("odd segment size accepted")
	}
}

func TestDir_CommitRestoreCommit(t *testing.T) {
	d := openTest(t, t.TempDir())
	want := commitTest(t, d, 1, 8192)
	commitTest(t, d, 2, 4096)
	commitTest(t, d, 5, 4096)
	wantDir(t, d, 5, 1, 2, 5)

	got, err := openTest(t, d.Path()).Manifest(1)
	must(t, err)
	want.StoreID, want.Nonce = testIdentity.StoreID, got.Nonce
	want.HashSeed, want.SegmentBytes = testIdentity.HashSeed, testIdentity.SegmentBytes
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, want %+v", got, want)
	}

	must(t, d.SetHead(2))
	wantDir(t, d, 2, 1, 2, 5)
	d = openTest(t, d.Path())
	m := nextManifest(d, 5, 4096, false)
	wantErr(t, d.Commit(m), ErrOrder) // used up, though 2 is current
	m.Version = 6
	must(t, d.Commit(m))
	wantDir(t, d, 6, 1, 2, 5, 6)
	if m, _ := d.Manifest(6); m.Parent != 2 || len(m.Extents) != 2 || m.Extents[0].End != 4096+8192+4096 {
		t.Errorf("version 6 is %+v", m)
	}
	must(t, d.SetHead(5))
	wantDir(t, d, 5, 1, 2, 5, 6)
	must(t, d.SetHead(6))
	wantDir(t, d, 6, 1, 2, 5, 6)
}

func TestDir_ParentSumProvesAncestry(t *testing.T) {
	d := openTest(t, t.TempDir())
	commitTest(t, d, 1, 4096)
	commitTest(t, d, 2, 4096)
	one, err := os.ReadFile(d.ManifestPath(1))
	must(t, err)
	m, err := d.Manifest(2)
	must(t, err)
	if m.ParentSum != envelopeSum(one) {
		t.Errorf("parent sum %016x, the parent's file ends in %016x", m.ParentSum, envelopeSum(one))
	}
}

func TestDir_CommitRefused(t *testing.T) {
	d := openTest(t, t.TempDir())
	commitTest(t, d, 3, 8192)
	for name, change := range map[string]func(*Manifest){
		"same id":      func(m *Manifest) { m.Version = 3 },
		"lower id":     func(m *Manifest) { m.Version = 2 },
		"id 0":         func(m *Manifest) { m.Version = 0 },
		"wrong parent": func(m *Manifest) { m.Parent = 2 },
		"no parent":    func(m *Manifest) { m.Parent = 0 },
	} {
		m := nextManifest(d, 4, 4096, true)
		change(m)
		if err := d.Commit(m); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: got %v, want ErrOrder", name, err)
		}
	}
	m := nextManifest(d, 4, 4096, true)
	m.DeltaStart -= 4096
	if err := d.Commit(m); err == nil {
		t.Error("a delta over committed log was accepted")
	}
	m = nextManifest(d, 4, 4096, true)
	m.Cookie = make([]byte, MaxCookie+1)
	if err := d.Commit(m); err == nil {
		t.Error("an oversized cookie was accepted")
	}
	wantDir(t, d, 3, 3)
}

func TestDir_UnknownVersion(t *testing.T) {
	d := openTest(t, t.TempDir())
	commitTest(t, d, 2, 4096)
	before := snapshot(t, d.Path())
	for _, v := range []Version{0, 1, 3} {
		_, err := d.Manifest(v)
		wantErr(t, err, ErrNotFound)
		_, err = d.Info(v)
		wantErr(t, err, ErrNotFound)
		_, err = d.Pin(v)
		wantErr(t, err, ErrNotFound)
		_, err = d.Purge(v)
		wantErr(t, err, ErrNotFound)
		wantErr(t, d.SetHead(v), ErrNotFound)
		d.Unpin(v)
	}
	if after := snapshot(t, d.Path()); !reflect.DeepEqual(after, before) {
		t.Errorf("files changed: %v, before %v", after, before)
	}
}

// snapshot returns the content of every file below path.
func snapshot(t *testing.T, path string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		files[name] = string(b)
		return err
	}))
	return files
}

func TestOpenDir_ReadOnlyWritesNothing(t *testing.T) {
	path := t.TempDir()
	d := openTest(t, path)
	commitTest(t, d, 1, 4096)
	commitTest(t, d, 2, 4096)
	must(t, os.WriteFile(d.ManifestPath(3)+fsx.TempSuffix, []byte("half"), 0o644))
	before := snapshot(t, path)
	r, err := OpenDir(fsx.OS(), path, testIdentity, true)
	must(t, err)
	wantErr(t, r.Commit(nextManifest(r, 3, 4096, true)), ErrReadOnly)
	wantErr(t, r.SetHead(1), ErrReadOnly)
	_, err = r.Purge(1)
	wantErr(t, err, ErrReadOnly)
	_, err = r.Collect(r.Idle, nil)
	wantErr(t, err, ErrReadOnly)
	if after := snapshot(t, path); !reflect.DeepEqual(after, before) {
		t.Errorf("files changed: %v, before %v", after, before)
	}
	if r.Current().Version != 2 {
		t.Errorf("current is %d, want 2", r.Current().Version)
	}
}

func TestOpenDir_RemovesOnlyItsOwnTempFiles(t *testing.T) {
	path := t.TempDir()
	d := openTest(t, path)
	commitTest(t, d, 1, 4096)
	own := []string{d.ManifestPath(2), d.ImagePath(7), d.SegmentPath(3), d.headPath(), d.storePath()}
	foreign := []string{"notes.tmp", "versions/2.manifest.tmp", "images/x.img.tmp", "log/000000000003.segment.tmp", "log/LOCK"}
	for _, name := range own {
		must(t, os.WriteFile(name+fsx.TempSuffix, []byte("half"), 0o644))
	}
	for _, name := range foreign {
		must(t, os.WriteFile(filepath.Join(path, name), []byte("mine"), 0o644))
	}
	openTest(t, path)
	for _, name := range own {
		if _, err := os.Stat(name + fsx.TempSuffix); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s%s is still there: %v", name, fsx.TempSuffix, err)
		}
	}
	for _, name := range foreign {
		if b, err := os.ReadFile(filepath.Join(path, name)); string(b) != "mine" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// TestOpenDir_EveryDamagedFile flips bits in, truncates and removes each file in turn: an error that names the file, or
// a directory that says what it knows, and never a file touched.
func TestOpenDir_EveryDamagedFile(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	d, err := OpenDir(disk, "store", testIdentity, false)
	must(t, err)
	commitTest(t, d, 1, 4096)
	commitTest(t, d, 2, 4096)
	must(t, d.SetHead(1))
	must(t, d.Commit(nextManifest(d, 3, 4096, false)))
	want := stateOf(d)
	for name, content := range filesOn(t, disk) {
		damaged := [][]byte{nil, {}, []byte(content[:len(content)/2]), append([]byte(content), 0)}
		for i := range content {
			b := []byte(content)
			b[i] ^= 0x40
			damaged = append(damaged, b)
		}
		for i, b := range damaged {
			if b == nil {
				must(t, disk.Remove(name))
			} else {
				must(t, fsx.WriteFileAtomic(disk, name, b))
			}
			before := filesOn(t, disk)
			checkDamaged(t, disk, d, name, b == nil)
			if after := filesOn(t, disk); !reflect.DeepEqual(after, before) {
				t.Fatalf("%s, damage %d: files were touched", name, i)
			}
		}
		must(t, fsx.WriteFileAtomic(disk, name, []byte(content)))
	}
	if got, err := open(disk); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("mended: %+v, %v, want %+v", got, err, want)
	}
}

// filesOn returns the content of every file of the directory "store".
func filesOn(t *testing.T, disk fsx.FS) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for _, dir := range []string{"store", "store/versions", "store/images", "store/log"} {
		entries, err := disk.List(dir)
		must(t, err)
		for _, e := range entries {
			if name := filepath.Join(dir, e.Name); !e.Dir {
				b, err := fsx.ReadFile(disk, name, 1<<20)
				must(t, err)
				files[name] = string(b)
			}
		}
	}
	return files
}

func checkDamaged(t *testing.T, disk fsx.FS, good *Dir, name string, missing bool) {
	t.Helper()
	d, err := OpenDir(disk, "store", testIdentity, false)
	var c *CorruptionError
	isCorrupt := func(err error) bool {
		return errors.Is(err, ErrCorrupt) && errors.As(err, &c) && c.File == name
	}
	damaged, isManifest := Version(0), false
	for _, v := range []Version{1, 2, 3} {
		if name == good.ManifestPath(v) {
			damaged, isManifest = v, true
		}
	}
	switch {
	case isManifest && missing: // purged, as far as anybody can tell; then HEAD's target takes over
		if want := map[Version]Version{1: 3, 2: 3, 3: 1}[damaged]; err != nil || d.Current().Version != want {
			t.Fatalf("%s missing: %v", name, err)
		}
	case !isManifest || damaged == 3:
		if d != nil || !isCorrupt(err) {
			t.Fatalf("%s damaged: %v", name, err)
		}
	default:
		must(t, err)
		_, err := d.Manifest(damaged)
		if !isCorrupt(err) || len(d.Damaged()) != 1 || len(d.Versions()) != 2 || d.MaxID() != 3 {
			t.Fatalf("%s damaged: %v, %v, %v", name, err, d.Damaged(), d.Versions())
		}
		if err := d.SetHead(damaged); !isCorrupt(err) {
			t.Fatalf("rolled back to a damaged version: %v", err)
		}
		if o, err := d.Collect(d.Idle, nil); len(o) > 0 || !isCorrupt(err) {
			t.Fatalf("collected %v, %v beside a damaged manifest", o, err)
		}
	}
}

func TestOpenDir_NewerFormat(t *testing.T) {
	path := t.TempDir()
	d := openTest(t, path)
	commitTest(t, d, 1, 4096)
	commitTest(t, d, 2, 4096)
	for _, name := range []string{d.storePath(), d.headPath(), d.ManifestPath(1), d.ManifestPath(2)} {
		good, err := os.ReadFile(name)
		must(t, err)
		b := bytes.Clone(good)
		b[magicBytes] = Format + 1
		must(t, os.WriteFile(name, resum(b), 0o644))
		must(t, os.WriteFile(d.headPath()+fsx.TempSuffix, nil, 0o644))
		before := snapshot(t, path)
		_, err = OpenDir(fsx.OS(), path, testIdentity, false)
		wantErr(t, err, ErrFormat)
		if after := snapshot(t, path); !reflect.DeepEqual(after, before) {
			t.Errorf("%s: files were touched", name)
		}
		must(t, os.WriteFile(name, good, 0o644))
	}
}

func TestOpenDir_ForeignManifest(t *testing.T) {
	d := openTest(t, t.TempDir())
	commitTest(t, d, 1, 4096)
	other := testIdentity
	other.StoreID[3]++
	e, err := OpenDir(fsx.OS(), t.TempDir(), other, false)
	must(t, err)
	commitTest(t, e, 2, 4096)
	for _, from := range []string{d.ManifestPath(1), e.ManifestPath(2)} { // under a wrong id, of a wrong store
		b, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(d.ManifestPath(2), b, 0o644))
		_, err = OpenDir(fsx.OS(), d.Path(), testIdentity, false)
		wantErr(t, err, ErrCorrupt)
	}
}
