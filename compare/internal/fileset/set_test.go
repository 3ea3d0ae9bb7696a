package fileset

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/zeebo/xxh3"
)

func open(t *testing.T, kind string, o base.Options) *Set {
	t.Helper()
	s, err := Open(kind, "/d", o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// contents returns the files of a directory.
func contents(t *testing.T, fsys fsx.FS, dir string) map[string]string {
	t.Helper()
	entries, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := fsx.ReadFile(fsys, dir+"/"+e.Name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name] = string(data)
	}
	return all
}

func write(t *testing.T, s *Set, data []byte) *File {
	t.Helper()
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n := min(len(data), 1000)
		if _, err := w.Append(data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	f, err := w.Finish(1)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestOpen_RefusesWhatItDoesNotKnowAndLeavesIt(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(m string) string
		want   error
	}{
		"newer format": {func(string) string { return "hybridlog-compare lsm 2\nthe future\n" }, base.ErrFormat},
		"other engine": {func(string) string { return string(Manifest{Kind: "appendlog", Version: 1, Highest: 1}.encode()) }, base.ErrFormat},
		"no manifest":  {func(string) string { return "" }, base.ErrCorrupt},
		"flipped":      {func(m string) string { return m[:30] + "x" + m[31:] }, base.ErrCorrupt},
		"of another version": {func(string) string {
			return string(Manifest{Kind: "lsm", Version: 2, Highest: 2}.encode())
		}, base.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			disk := fsx.NewCrash(fsx.CrashOptions{})
			o := base.Options{FS: disk, KeepVersions: 3}
			s := open(t, "lsm", o)
			f := write(t, s, []byte("data"))
			if err := s.Snapshot(1, []*File{f}); err != nil {
				t.Fatal(err)
			}
			f.Drop()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := "/d/" + versionName(1)
			whole, err := fsx.ReadFile(disk, path, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := fsx.WriteFileAtomic(disk, path, []byte(c.damage(string(whole)))); err != nil {
				t.Fatal(err)
			}
			before := contents(t, disk, "/d")
			if _, err := Open("lsm", "/d", o); !errors.Is(err, c.want) {
				t.Errorf("open: %v, want %v", err, c.want)
			}
			if after := contents(t, disk, "/d"); !maps.Equal(before, after) {
				t.Error("the directory was changed")
			}
		})
	}
}

func TestOpen_DataWithoutManifestIsDamage(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	o := base.Options{FS: disk, KeepVersions: 3}
	s := open(t, "lsm", o)
	f := write(t, s, []byte("data"))
	if err := s.SaveHead([]*File{f}); err != nil {
		t.Fatal(err)
	}
	f.Drop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := disk.Remove("/d/" + headName); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("lsm", "/d", o); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("open: %v", err)
	}
}

func TestRemote_LargeFilesTravelInPieces(t *testing.T) {
	data := make([]byte, 2*pieceBytes+12345)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	here := fsx.NewCrash(fsx.CrashOptions{})
	dir, err := checkpoint.NewDirRemoteOn(fsx.NewCrash(fsx.CrashOptions{}), "/remote")
	if err != nil {
		t.Fatal(err)
	}
	o := base.Options{FS: here, KeepVersions: 3, Remote: base.Streamed{Remote: dir}}
	s := open(t, "lsm", o)
	f := write(t, s, data)
	if err := s.Snapshot(1, []*File{f}); err != nil {
		t.Fatal(err)
	}
	pieces, err := dir.List(t.Context(), "L")
	if err != nil || len(pieces) != 3 {
		t.Fatalf("%d pieces, %v", len(pieces), err)
	}
	o.FS = fsx.NewCrash(fsx.CrashOptions{})
	there := open(t, "lsm", o)
	files, err := there.OpenAll(there.Newest().Files)
	if err != nil {
		t.Fatal(err)
	}
	got, err := files[0].Read(0, files[0].Length)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("what was fetched differs, %v", err)
	}
	// Without its last piece the file is not there.
	if err := dir.Delete(t.Context(), pieces[2].Name); err != nil {
		t.Fatal(err)
	}
	o.FS = fsx.NewCrash(fsx.CrashOptions{})
	if _, err := Open("lsm", "/d", o); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("open without a piece: %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	m := Manifest{Kind: "lsm", Sequence: 9, Version: 7, Parent: 3, Highest: 7,
		Files: []Ref{{Level: 1, Number: 4, Sum: 0xabc, Length: 100}, {Level: 0, Number: 8, Sum: 1, Length: 2}}}
	f.Add(m.encode(), true)
	f.Add([]byte("hybridlog-compare lsm 1\nsequence 1\nversion 7\nparent 0\nhighest 7\nfile L0.1-2 -3\n"), true)
	f.Fuzz(func(t *testing.T, b []byte, fixSum bool) {
		if fixSum { // past the checksum, to the lines
			if at := bytes.LastIndex(b[:max(len(b)-1, 0)], []byte("\n")) + 1; at > 0 {
				b = append(bytes.Clone(b[:at]), fmt.Sprintf("xxh3 %016x\n", xxh3.Hash(b[:at]))...)
			}
		}
		got, err := decode("lsm", versionName(7), b)
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) && !errors.Is(err, base.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		again, err := decode("lsm", versionName(7), got.encode())
		if err != nil || !again.equal(got) {
			t.Fatalf("%+v is read back as %+v, %v", got, again, err)
		}
	})
}

// openFS counts the files that are open.
type openFS struct {
	fsx.FS
	files int
}

type openFile struct {
	fsx.File
	fs *openFS
}

func (o *openFS) Open(name string, f fsx.Flag) (fsx.File, error) { return o.open(o.FS, name, f) }

func (o *openFS) OpenRoot(dir string) (fsx.Root, error) {
	return fsx.OpenRootBy(o.FS, dir, o.open)
}

func (o *openFS) open(in fsx.FS, name string, f fsx.Flag) (fsx.File, error) {
	file, err := in.Open(name, f)
	if err != nil {
		return nil, err
	}
	o.files++
	return &openFile{file, o}, nil
}

func (f *openFile) Close() error {
	f.fs.files--
	return f.File.Close()
}

// A file that cannot be begun is not left open.
func TestCreate_TruncateFails(t *testing.T) {
	files := &openFS{FS: fsx.NewCrash(fsx.CrashOptions{})}
	failing := fsx.NewErr(files)
	s := open(t, "test", base.Options{FS: failing, KeepVersions: 1})
	before := files.files
	failing.Inject(fsx.Fault{Class: fsx.ClassTruncate})
	if w, err := s.Create(); err == nil {
		w.Abort()
		t.Fatal("no error")
	}
	if files.files != before {
		t.Errorf("%d files are open, %d were", files.files, before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
