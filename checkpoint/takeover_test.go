package checkpoint

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// testDisk returns a directory with versions 1, 2 and, after a rollback to 1, 3; each has a segment of its own and the
// last two an image.
func testDisk(t *testing.T) (*fsx.CrashFS, *Dir) {
	t.Helper()
	disk := fsx.NewCrash(fsx.CrashOptions{})
	d, err := OpenDir(disk, "store", testIdentity, false)
	must(t, err)
	commit := func(v Version) {
		m := nextManifest(d, v, testSegment, false)
		for n := m.DeltaStart / testSegment; n <= (m.Cut-1)/testSegment; n++ {
			must(t, fsx.WriteFileAtomic(disk, d.SegmentPath(n), make([]byte, testSegment)))
		}
		if v > 1 {
			m.Image = &ImageRef{ID: uint64(v), Bytes: 10}
			must(t, fsx.WriteFileAtomic(disk, d.ImagePath(uint64(v)), make([]byte, 10)))
		}
		must(t, d.Commit(m))
	}
	commit(1)
	commit(2)
	must(t, d.SetHead(1))
	commit(3)
	return disk, d
}

func wholeDisk(disk *fsx.CrashFS) *fsx.CrashFS { return disk.Clone(fsx.Crash{Keep: fsx.KeepAll}) }

// Whatever is left of a store, it is not taken for a new one, and not touched (V13).
func TestOpenDir_WhatIsLeftOfAStore(t *testing.T) {
	rolledBack, _ := testDisk(t)
	straight, d := testDisk(t)
	must(t, fsx.WriteFileAtomic(straight, d.headPath(), encodeHead(head{})))
	for _, disk := range []*fsx.CrashFS{rolledBack, straight} {
		whatIsLeft(t, disk)
	}
}

func whatIsLeft(t *testing.T, disk *fsx.CrashFS) {
	files := slices.Sorted(maps.Keys(filesOn(t, disk)))
	kind := func(name string) string {
		for _, k := range []string{"STORE", "HEAD", "manifest", "seg", "img"} {
			if strings.HasSuffix(name, k) {
				return k
			}
		}
		return ""
	}
	for _, lost := range [][]string{
		{"manifest"}, {"manifest", "HEAD"}, {"manifest", "STORE"}, {"STORE"}, {"HEAD"}, {"STORE", "HEAD"},
		{"manifest", "STORE", "HEAD"}, {"manifest", "seg"}, {"manifest", "img", "seg"}, {"manifest", "seg", "STORE", "HEAD"},
		{"manifest", "img", "STORE", "HEAD"}, {"manifest", "img", "seg", "STORE"}, {"manifest", "img", "seg", "HEAD"},
		{"seg", "img", "STORE", "HEAD"},
	} {
		left := wholeDisk(disk)
		for _, name := range files {
			if slices.Contains(lost, kind(name)) {
				must(t, left.Remove(name))
			}
		}
		before := filesOn(t, left)
		for _, o := range []OpenOptions{{Identity: testIdentity}, {Identity: testIdentity, ReadOnly: true}, {Identity: testIdentity, NoCreate: true}} {
			if _, err := OpenDirWith(left, "store", o); !errors.Is(err, ErrCorrupt) {
				t.Errorf("without %v, %+v: %v", lost, o, err)
			}
		}
		if after := filesOn(t, left); !reflect.DeepEqual(after, before) {
			t.Errorf("without %v: files were touched", lost)
		}
	}
}

func TestOpenDir_ForeignFilesOnly(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	for _, dir := range []string{"store/log", "store/versions", "store/other"} {
		must(t, disk.MkdirAll(dir))
	}
	for _, name := range []string{"store/notes", "store/LOCK", "store/log/zzz.seg", "store/versions/README", "store/other/HEAD"} {
		must(t, fsx.WriteFileAtomic(disk, name, []byte("mine")))
	}
	_, err := OpenDirWith(disk, "store", OpenOptions{NoCreate: true})
	wantErr(t, err, fs.ErrNotExist)
	_, err = OpenDirWith(disk, "store", OpenOptions{Identity: testIdentity, Version: 2})
	wantErr(t, err, ErrNotFound)
	d, err := OpenDir(disk, "store", testIdentity, false)
	must(t, err)
	if !d.Empty() {
		t.Error("a new store is not empty")
	}
	commitTest(t, d, 1, 4096)
	if d.Empty() {
		t.Error("a store with a version is empty")
	}
	if _, err := fsx.ReadFile(disk, d.nonePath(), 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NONE stays beside a version: %v", err)
	}
}

// What no version refers to when the directory is opened stays until the first commit, purges notwithstanding, and new
// log goes behind it (V12).
func TestDir_StraysStayUntilTheFirstCommit(t *testing.T) {
	disk, d := testDisk(t)
	end := d.MaxEnd()
	beyond := []string{d.SegmentPath(end/testSegment + 3), d.ImagePath(99), d.ImagePath(1)}
	for _, name := range beyond {
		must(t, fsx.WriteFileAtomic(disk, name, make([]byte, 5000)))
	}
	cut := d.SegmentPath(end / testSegment)
	whole := filesOn(t, disk)[cut]
	d, err := OpenDir(disk, "store", testIdentity, false)
	must(t, err)
	slices.Sort(beyond)
	if got := d.Strays(); !reflect.DeepEqual(got, beyond) {
		t.Errorf("strays are %v, want %v", got, beyond)
	}
	if got, want := d.LogEnd(), (end/testSegment+3)*testSegment+5000; got != want {
		t.Errorf("log ends at %d, want %d", got, want)
	}
	collect := func(want ...string) {
		t.Helper()
		gone, err := d.Collect(func() (Picture, error) { return d.Picture(Live{LogFrom: d.LogEnd()}) }, nil)
		must(t, err)
		var names []string
		for _, o := range gone {
			names = append(names, o.Path)
		}
		if slices.Sort(names); !reflect.DeepEqual(names, want) {
			t.Errorf("collected %v, want %v", names, want)
		}
	}
	collect()
	_, err = d.Purge(2)
	must(t, err)
	collect(d.ImagePath(2)) // versions 1 and 3 have log in its segments
	if got := filesOn(t, disk)[cut]; got != whole {
		t.Errorf("the last segment has %d bytes before the first commit, it had %d", len(got), len(whole))
	}
	if id := d.NextImageID(99); id != 100 {
		t.Errorf("the next image gets id %d, which a stray has", id)
	}
	m := nextManifest(d, 4, 4096, false)
	m.DeltaStart, m.Cut = d.LogEnd(), d.LogEnd()+4096
	m.Extents = Extend(d.Current(), Extent{Start: m.DeltaStart, End: m.Cut, Fuzzy: m.Cut}, false)
	must(t, d.Commit(m))
	collect(d.ImagePath(1), d.ImagePath(99))
	if got := filesOn(t, disk)[cut]; uint64(len(got)) != end%testSegment {
		t.Errorf("the segment that committed log ended in has %d bytes, want %d", len(got), end%testSegment)
	}
}

// TestOpenDirWith_VersionIsTheWayBack damages or loses STORE, HEAD, the newest manifest, or all three, and opens at each
// version that is whole. It is interrupted at every call, and can be done again.
func TestOpenDirWith_VersionIsTheWayBack(t *testing.T) {
	disk, d := testDisk(t)
	head, newest := d.headPath(), d.ManifestPath(3)
	states := 0
	for what, names := range map[string][]string{"HEAD": {head}, "STORE": {d.storePath()}, "newest": {newest}, "all": {head, d.storePath(), newest}} {
		for how, damage := range map[string]func(name string, b []byte) error{
			"flipped": func(name string, b []byte) error { b[len(b)/2] ^= 1; return fsx.WriteFileAtomic(disk, name, b) },
			"emptied": func(name string, b []byte) error { return fsx.WriteFileAtomic(disk, name, nil) },
			"missing": func(name string, b []byte) error { return disk.Remove(name) },
		} {
			if how == "missing" && (what == "newest" || what == "all") {
				continue // the version was purged, as far as anybody can tell
			}
			good := filesOn(t, disk)
			for _, name := range names {
				must(t, damage(name, []byte(good[name])))
			}
			for _, v := range []Version{1, 2} {
				n, err := wayBack(disk, v, newest, slices.Contains(names, newest))
				states += n
				if err != nil {
					t.Errorf("%s %s, version %d: %v", what, how, v, err)
				}
			}
			if slices.Contains(names, newest) {
				_, err := OpenDirWith(disk, "store", OpenOptions{Version: 3})
				wantErr(t, err, ErrCorrupt)
			}
			_, err := OpenDirWith(disk, "store", OpenOptions{Version: 9})
			wantErr(t, err, map[bool]error{true: ErrCorrupt, false: ErrNotFound}[slices.Contains(names, d.storePath())])
			for name, content := range good {
				must(t, fsx.WriteFileAtomic(disk, name, []byte(content)))
			}
		}
	}
	t.Logf("%d crash states", states)
}

// wayBack opens a damaged directory at version v, with a crash at every call.
func wayBack(damaged *fsx.CrashFS, v Version, newest string, lost bool) (states int, err error) {
	want, _ := fsx.ReadFile(damaged, newest, 1<<20)
	back := func(disk fsx.FS) (*Dir, error) {
		d, err := OpenDirWith(disk, "store", OpenOptions{Version: v})
		if err == nil {
			err = d.TakeOver()
		}
		if err == nil {
			err = d.SetHead(v)
		}
		return d, err
	}
	if _, err := OpenDir(damaged, "store", testIdentity, false); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "Options.Version") {
		return 0, errors.Join(errors.New("opened without a version, or without advice"), err)
	}
	if d, err := OpenDirWith(damaged, "store", OpenOptions{Version: v, ReadOnly: true}); err != nil || d.Identity() != testIdentity {
		return 0, errors.Join(errors.New("read-only"), err)
	}
	for k := int64(1); ; k++ {
		disk := wholeDisk(damaged)
		disk.CrashAt(k)
		_, opened := back(disk)
		for i := range uint64(4) {
			left := disk.Clone(fsx.Crash{Keep: []fsx.Keep{fsx.KeepNone, fsx.KeepAll, fsx.KeepSubset, fsx.KeepSubset}[i], Seed: i})
			if opened != nil {
				if _, err := back(left); err != nil {
					return states, err
				}
			}
			states++
			d, err := OpenDir(left, "store", testIdentity, false)
			if err != nil {
				return states, err
			}
			now, _ := fsx.ReadFile(left, newest, 1<<20)
			switch {
			case d.Current().Version != v || d.MaxID() != 3 || d.Identity() != testIdentity:
				return states, errors.New("another version, id or identity")
			case lost != (len(d.Damaged()) > 0) || string(now) != string(want):
				return states, errors.Join(errors.New("the damaged version was touched"), errors.Join(d.Damaged()...))
			}
			if gone, err := d.Collect(d.Idle, nil); len(gone) > 0 || lost && !errors.Is(err, ErrCorrupt) {
				return states, errors.Join(errors.New("files that the damaged version may need have been collected"), err)
			}
			m := nextManifest(d, 4, 4096, false)
			m.DeltaStart, m.Cut = d.LogEnd(), d.LogEnd()+4096
			m.Extents = Extend(d.Current(), Extent{Start: m.DeltaStart, End: m.Cut, Fuzzy: m.Cut}, false)
			if err := d.Commit(m); err != nil {
				return states, err
			}
		}
		if opened == nil {
			return states, nil
		}
	}
}

// A store whose manifests are of an older release loses its identity with STORE.
func TestOpenDirWith_ManifestWithoutIdentity(t *testing.T) {
	disk, d := testDisk(t)
	m, err := d.Manifest(2)
	must(t, err)
	m = m.Clone()
	m.HashSeed, m.SegmentBytes = 0, 0
	b, err := EncodeManifest(m)
	must(t, err)
	must(t, fsx.WriteFileAtomic(disk, d.ManifestPath(2), b))
	must(t, disk.Remove(d.storePath()))
	_, err = OpenDirWith(disk, "store", OpenOptions{Version: 2})
	wantErr(t, err, ErrCorrupt)
	if !strings.Contains(err.Error(), filepath.Base(d.ManifestPath(2))) {
		t.Errorf("%v does not name the manifest", err)
	}
	_, err = OpenDirWith(disk, "store", OpenOptions{Version: 1})
	must(t, err)
}
