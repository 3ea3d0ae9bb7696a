package fsxtest

import (
	"io/fs"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// openRoot opens dir of e, and closes it at the end of the test.
func (e env) openRoot(t *testing.T, dir string) (env, fsx.Root) {
	t.Helper()
	root, err := e.OpenRoot(dir)
	ok(t, err)
	t.Cleanup(func() { root.Close() })
	return env{root, dir}, root
}

// removeAll removes a directory with what is in it.
func (e env) removeAll(t *testing.T, dir string) {
	t.Helper()
	entries, err := e.List(dir)
	ok(t, err)
	for _, n := range entries {
		if at := (env{e, dir}).path(n.Name); n.Dir {
			e.removeAll(t, at)
		} else {
			ok(t, e.Remove(at))
		}
	}
	ok(t, e.Remove(dir))
}

// A Root goes on meaning its directory after that was renamed and another one took its name, which stays as it is.
func testRootFollowsItsDirectory(t *testing.T, e env) {
	for _, dir := range []string{"old/sub", "new/sub"} {
		ok(t, e.MkdirAll(e.path(dir)))
	}
	e.put(t, "old/kept", "kept")
	e.put(t, "old/gone", "gone")
	e.put(t, "old/sub/f", "below")
	r, _ := e.openRoot(t, e.path("old"))
	kept := r.must(t, "kept", fsx.Write)

	ok(t, e.Rename(e.path("old"), e.path("moved")))
	ok(t, e.Rename(e.path("new"), e.path("old")))
	e.put(t, "old/gone", "another's")
	before := e.names(t, "old")

	if got := r.get(t, "kept"); got != "kept" {
		t.Fatalf("%q", got)
	}
	if got := r.get(t, "sub/f"); got != "below" {
		t.Fatalf("%q", got)
	}
	write(t, kept, []byte("K"), 0)
	r.put(t, "sub/made", "made")
	ok(t, r.MkdirAll(r.path("a", "b")))
	ok(t, r.Rename(r.path("kept"), r.path("a", "b", "renamed")))
	ok(t, r.Remove(r.path("gone")))
	ok(t, fsx.WriteFileAtomic(r, r.path("whole"), []byte("whole")))
	ok(t, r.SyncDir(r.dir))
	ok(t, r.SyncDir(r.path("sub")))
	ok(t, r.SyncDir(e.dir)) // the one above

	if got := e.names(t, "old"); !slices.Equal(got, before) {
		t.Errorf("the other directory holds %v, held %v", got, before)
	}
	if got := e.get(t, "old/gone"); got != "another's" {
		t.Errorf("the other's file holds %q", got)
	}
	if got := e.names(t, "moved"); !slices.Equal(got, []string{"a", "sub", "whole"}) {
		t.Errorf("its own directory holds %v", got)
	}
	if got := r.names(t); !slices.Equal(got, []string{"a", "sub", "whole"}) {
		t.Errorf("it lists %v", got)
	}
	if got := e.get(t, "moved/a/b/renamed"); got != "Kept" {
		t.Errorf("%q", got)
	}
	if got := e.get(t, "moved/sub/made"); got != "made" {
		t.Errorf("%q", got)
	}
}

// The lock is that of the directory, wherever it is.
func testRootLock(t *testing.T, e env) {
	ok(t, e.MkdirAll(e.path("old")))
	r, _ := e.openRoot(t, e.path("old"))
	ok(t, e.Rename(e.path("old"), e.path("moved")))
	ok(t, e.MkdirAll(e.path("old")))
	release, err := r.Lock(r.dir, false)
	ok(t, err)
	_, err = e.Lock(e.path("moved"), true)
	is(t, err, fsx.ErrLocked)
	other, err := e.Lock(e.path("old"), false)
	ok(t, err)
	ok(t, other())
	ok(t, release())
	again, err := e.Lock(e.path("moved"), false)
	ok(t, err)
	ok(t, again())
}

// Nothing can be made in a directory that was removed, also when another one has its name.
func testRootRemoved(t *testing.T, e env) {
	ok(t, e.MkdirAll(e.path("dir", "sub")))
	e.put(t, "dir/f", "x")
	r, _ := e.openRoot(t, e.path("dir"))
	f := r.must(t, "f", fsx.Write)
	e.removeAll(t, e.path("dir"))
	ok(t, e.MkdirAll(e.path("dir", "sub")))
	e.put(t, "dir/f", "another's")

	_, err := r.Open(r.path("new"), fsx.Write|fsx.Create)
	is(t, err, fs.ErrNotExist)
	_, err = r.Open(r.path("f"), fsx.Read)
	is(t, err, fs.ErrNotExist)
	is(t, r.MkdirAll(r.path("new")), fs.ErrNotExist)
	is(t, r.Remove(r.path("f")), fs.ErrNotExist)
	wrapped(t, fsx.WriteFileAtomic(r, r.path("f"), []byte("y")))
	write(t, f, []byte("z"), 0) // the file is there as long as it is open
	is(t, f.InPlace(), fsx.ErrReplaced)
	if got := e.names(t, "dir"); !slices.Equal(got, []string{"f", "sub"}) {
		t.Errorf("the other directory holds %v", got)
	}
	if got := e.get(t, "dir/f"); got != "another's" {
		t.Errorf("the other's file holds %q", got)
	}
}

func testRootOutside(t *testing.T, e env) {
	ok(t, e.MkdirAll(e.path("dir")))
	ok(t, e.MkdirAll(e.path("dirt")))
	e.put(t, "dirt/f", "x")
	r, _ := e.openRoot(t, e.path("dir"))
	r.put(t, "in", "x")
	for _, name := range []string{e.path("dirt", "f"), e.path("dir", "..", "dirt", "f"), e.path("f")} {
		_, err := r.Open(name, fsx.Read)
		is(t, err, fsx.ErrOutside)
		_, err = r.List(name)
		is(t, err, fsx.ErrOutside)
		_, err = r.Lock(name, false)
		is(t, err, fsx.ErrOutside)
		_, err = r.OpenRoot(name)
		is(t, err, fsx.ErrOutside)
		is(t, r.Remove(name), fsx.ErrOutside)
		is(t, r.Rename(name, r.path("g")), fsx.ErrOutside)
		is(t, r.Rename(r.path("in"), name), fsx.ErrOutside)
		is(t, r.MkdirAll(name), fsx.ErrOutside)
		is(t, r.SyncDir(name), fsx.ErrOutside)
	}
	_, err := r.List(e.dir)
	is(t, err, fsx.ErrOutside)
	wrapped(t, r.Remove(r.dir)) // what is open cannot remove itself
}

func testRootClosed(t *testing.T, e env) {
	ok(t, e.MkdirAll(e.path("dir")))
	r, root := e.openRoot(t, e.path("dir"))
	f := r.must(t, "f", fsx.Write|fsx.Create)
	ok(t, root.Close())
	is(t, root.Close(), fs.ErrClosed)
	_, err := r.Open(r.path("f"), fsx.Read)
	is(t, err, fs.ErrClosed)
	_, err = r.List(r.dir)
	is(t, err, fs.ErrClosed)
	is(t, r.Remove(r.path("f")), fs.ErrClosed)
	is(t, r.MkdirAll(r.path("g")), fs.ErrClosed)
	is(t, r.SyncDir(r.dir), fs.ErrClosed)
	is(t, f.InPlace(), fs.ErrClosed)
	write(t, f, []byte("x"), 0)
	ok(t, f.Sync())
	_, err = e.OpenRoot(e.path("none"))
	is(t, err, fs.ErrNotExist)
	_, err = e.OpenRoot(e.path("dir", "f"))
	wrapped(t, err)
}

func testInPlace(t *testing.T, e env) {
	ok(t, e.MkdirAll(e.path("dir")))
	e.put(t, "dir/f", "x")
	r, _ := e.openRoot(t, e.path("dir"))
	byPath := e.must(t, "dir/f", fsx.Read)
	inRoot := r.must(t, "f", fsx.Read)
	want := func(when string, path, root bool) {
		t.Helper()
		for f, want := range map[fsx.File]bool{byPath: path, inRoot: root} {
			if err := f.InPlace(); want {
				ok(t, err)
			} else if is(t, err, fsx.ErrReplaced); t.Failed() {
				t.Fatal(when)
			}
		}
	}
	want("at first", true, true)
	ok(t, e.Rename(e.path("dir"), e.path("moved")))
	want("the directory is renamed", false, true)
	ok(t, e.MkdirAll(e.path("dir")))
	e.put(t, "dir/f", "x")
	want("another has its name", false, true)
	ok(t, e.Rename(e.path("moved", "f"), e.path("moved", "g")))
	want("the file is renamed", false, false)
	e.put(t, "moved/f", "x")
	want("another file has its name", false, false)
	ok(t, e.Rename(e.path("moved", "g"), e.path("moved", "f")))
	want("it has its name again", false, true)
	ok(t, e.Remove(e.path("moved", "f")))
	want("it is removed", false, false)
}
