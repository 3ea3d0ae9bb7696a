package hlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
)

// tree returns what the files below dir hold, by their names relative to it.
func tree(t testing.TB, fsys fsx.FS, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	var walk func(at string)
	walk = func(at string) {
		entries, err := fsys.List(filepath.Join(dir, at))
		must(t, err)
		for _, e := range entries {
			name := filepath.Join(at, e.Name)
			if e.Dir {
				files[name+"/"] = ""
				walk(name)
				continue
			}
			b, err := fsx.ReadFile(fsys, filepath.Join(dir, name), 1<<30)
			must(t, err)
			files[name] = string(b)
		}
	}
	walk("")
	return files
}

// clearTree removes everything below dir.
func clearTree(t testing.TB, fsys fsx.FS, dir string) {
	t.Helper()
	entries, err := fsys.List(dir)
	must(t, err)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name)
		if e.Dir {
			clearTree(t, fsys, name)
		}
		must(t, fsys.Remove(name))
	}
}

// putTree writes files below dir, into those that are there or into new ones.
func putTree(t testing.TB, fsys fsx.FS, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if name[len(name)-1] == '/' {
			must(t, fsys.MkdirAll(path))
			continue
		}
		must(t, fsys.MkdirAll(filepath.Dir(path)))
		f, err := fsys.Open(path, fsx.Write|fsx.Create)
		must(t, err)
		must(t, f.Truncate(0))
		_, err = f.WriteAt([]byte(data), 0)
		must(t, err)
		must(t, f.Close())
	}
}

// onBoth runs a test on the double and on the system's files.
func onBoth(t *testing.T, test func(t *testing.T, o *Options, home string)) {
	t.Run("double", func(t *testing.T) {
		o := tiny()
		must(t, o.FS.MkdirAll("/home"))
		test(t, o, "/home")
	})
	t.Run("system", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("a directory that is open cannot be renamed there")
		}
		o := tiny()
		o.FS = fsx.OS()
		test(t, o, t.TempDir())
	})
}

// A directory is renamed and another store made in its place, at each point of what a store does: both are whole.
func TestDirectory_MovedAndReplaced(t *testing.T) {
	ctx := context.Background()
	script := []func(s *Store) error{
		func(s *Store) error { return s.Set([]byte("k"), []byte("1")) },
		func(s *Store) error { _, err := s.Checkpoint(ctx); return err },
		func(s *Store) error { // more than the memory, and new segments
			for i := range 2500 {
				if err := s.Set(key8(i), make([]byte, 2000)); err != nil {
					return err
				}
			}
			return s.Set([]byte("k"), []byte("2"))
		},
		func(s *Store) error { _, err := s.Checkpoint(ctx); return err },
		func(s *Store) error { _, err := s.Get(nil, key8(1)); return err },
		func(s *Store) error { return s.Compact(ctx) },
		func(s *Store) error { _, err := s.Restore(ctx, 1); return err },
		func(s *Store) error { return s.Purge(ctx, 2) },
		func(s *Store) error { return s.Set([]byte("k"), []byte("3")) },
		func(s *Store) error { return s.Close() },
	}
	onBoth(t, func(t *testing.T, o *Options, home string) {
		for at := range script {
			dir, moved := filepath.Join(home, fmt.Sprint("db", at)), filepath.Join(home, fmt.Sprint("moved", at))
			old := mustOpen(t, dir, o)
			var others map[string]string
			for i, do := range script {
				if i == at {
					must(t, o.FS.Rename(dir, moved))
					young := mustOpen(t, dir, o)
					must(t, young.Set([]byte("k"), []byte("young")))
					commit(t, young)
					must(t, young.Close())
					others = tree(t, o.FS, dir)
				}
				if err := do(old); err != nil {
					t.Fatalf("moved at %d: step %d: %v", at, i, err)
				}
			}
			for name, data := range tree(t, o.FS, dir) {
				if others[name] != data {
					t.Errorf("moved at %d: %s of the other store was changed", at, name)
				}
				delete(others, name)
			}
			if len(others) > 0 {
				t.Errorf("moved at %d: %d files of the other store are gone", at, len(others))
			}
			for dir, want := range map[string]string{moved: "3", dir: "young"} {
				s := mustOpen(t, dir, o)
				if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != want {
					t.Errorf("moved at %d: %s: %q, %v", at, filepath.Base(dir), v, err)
				}
				must(t, s.Close())
			}
		}
	})
}

// A link in the path is switched to another directory while the store is open.
func TestDirectory_LinkSwitched(t *testing.T) {
	home, o := t.TempDir(), tiny()
	o.FS = fsx.OS()
	one, two, link := filepath.Join(home, "1"), filepath.Join(home, "2"), filepath.Join(home, "current")
	must(t, os.Mkdir(one, 0o755))
	must(t, os.Mkdir(two, 0o755))
	if err := os.Symlink(one, link); err != nil {
		t.Skip(err)
	}
	old := mustOpen(t, filepath.Join(link, "db"), o)
	must(t, old.Set([]byte("k"), []byte("old")))
	commit(t, old)
	must(t, os.Remove(link))
	must(t, os.Symlink(two, link))
	young := mustOpen(t, filepath.Join(link, "db"), o)
	must(t, young.Set([]byte("k"), []byte("young")))
	commit(t, young)
	must(t, old.Set([]byte("k"), []byte("old 2")))
	commit(t, old)
	must(t, old.Close())
	must(t, young.Close())
	for dir, want := range map[string]string{one: "old 2", two: "young"} {
		s := mustOpen(t, filepath.Join(dir, "db"), o)
		if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != want {
			t.Errorf("%s: %q, %v; want %q", dir, v, err, want)
		}
	}
}

// What lies in the directory is removed, or replaced by an older backup, while the store is open: nothing is acknowledged
// on top of it, and the backup stays as it is.
func TestDirectory_ContentReplaced(t *testing.T) {
	type files = map[string]string
	ways := []struct {
		name    string
		replace func(t *testing.T, fsys fsx.FS, dir string, first, newest files) files // returns what lies there then
	}{
		{"older files", func(t *testing.T, fsys fsx.FS, dir string, first, _ files) files {
			clearTree(t, fsys, dir)
			putTree(t, fsys, dir, first)
			return first
		}},
		{"older bytes", func(t *testing.T, fsys fsx.FS, dir string, first, newest files) files {
			putTree(t, fsys, dir, first)
			for name := range newest {
				if _, ok := first[name]; !ok {
					must(t, fsys.Remove(filepath.Join(dir, name)))
				}
			}
			return first
		}},
		{"the newest files", func(t *testing.T, fsys fsx.FS, dir string, _, newest files) files {
			clearTree(t, fsys, dir)
			putTree(t, fsys, dir, newest)
			return newest
		}},
		{"nothing", func(t *testing.T, fsys fsx.FS, dir string, _, _ files) files {
			clearTree(t, fsys, dir)
			return nil
		}},
		{"no directory", func(t *testing.T, fsys fsx.FS, dir string, _, _ files) files {
			clearTree(t, fsys, dir)
			must(t, fsys.Remove(dir))
			must(t, fsys.MkdirAll(dir))
			return nil
		}},
	}
	onBoth(t, func(t *testing.T, o *Options, home string) {
		for i, way := range ways {
			t.Run(way.name, func(t *testing.T) {
				dir := filepath.Join(home, fmt.Sprint("db", i))
				o := *o
				o.FS = &steppedFS{o.FS, step.New(1)} // nobody changes files while they are copied
				s, err := Open(dir, &o)
				must(t, err)
				write := func(v string) {
					for i := range 200 {
						must(t, s.Set(key8(i), append(make([]byte, 1000), v...)))
					}
				}
				write("first")
				commit(t, s)
				first := tree(t, o.FS, dir)
				for range 3 {
					write("newest")
					commit(t, s)
				}
				newest := tree(t, o.FS, dir)
				want := way.replace(t, o.FS, dir, first, newest)

				write("lost")
				for range 2 {
					if _, err := s.Checkpoint(context.Background()); !errors.Is(err, ErrReplaced) {
						t.Errorf("checkpoint: %v", err)
					}
				}
				if way.name != "the newest files" { // which it may take for its own as long as nothing is committed
					if _, err := s.Restore(context.Background(), 3); err == nil {
						t.Error("a rollback was acknowledged")
					}
					if err := s.Purge(context.Background(), 2); !errors.Is(err, ErrReplaced) {
						t.Errorf("purge: %v", err)
					}
				}
				if err := s.Close(); !errors.Is(err, ErrReplaced) {
					t.Errorf("close: %v", err)
				}
				got := tree(t, o.FS, dir)
				for name, data := range want {
					if got[name] != data {
						t.Errorf("%s has changed", name)
					}
				}
				if want == nil {
					return
				}
				again := mustOpen(t, dir, &o)
				version, err := again.Versions()
				must(t, err)
				v, err := again.Get(nil, key8(7))
				if text := string(v[min(len(v), 1000):]); err != nil || !slices.Contains([]string{"first", "newest"}, text) || (text == "first") != (len(version) == 1) {
					t.Errorf("%d versions, %q, %v", len(version), text, err)
				}
			})
		}
	})
}
