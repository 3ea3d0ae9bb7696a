package hlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"syscall"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// content returns what a view has.
func content(t testing.TB, v *View) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, v.Scan(context.Background(), func(key, value []byte) bool {
		all[string(key)] = string(value)
		return true
	}))
	return all
}

// contentAt returns what a directory opens with, at which version.
func contentAt(t testing.TB, dir string, o Options) (checkpoint.Version, map[string]string) {
	t.Helper()
	s, err := Open(dir, &o)
	must(t, err)
	defer s.Close()
	v, err := s.OpenVersion(context.Background(), 0)
	must(t, err)
	defer v.Close()
	all := content(t, v)
	for k, want := range all {
		if got, err := s.Get(nil, []byte(k)); err != nil || string(got) != want {
			t.Fatalf("%q: %q, %v; the view says %q", k, got, err, want)
		}
	}
	return v.Info().Version, all
}

func viewOf(t testing.TB, s *Store, v checkpoint.Version) *View {
	t.Helper()
	w, err := s.OpenVersion(context.Background(), v)
	must(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

// streamOf returns version v as a stream, since another one unless that is 0.
func streamOf(t testing.TB, w *View, since checkpoint.Version) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := w.WriteDelta(&b, since)
	must(t, err)
	if n != int64(b.Len()) || since == 0 && n != w.Size() {
		t.Fatalf("%d bytes are said to be written, %d were, the size is %d", n, b.Len(), w.Size())
	}
	return b.Bytes()
}

// A version is written while writers, compaction and purges go on. The directory that is made of it opens at it; deltas then
// bring it to later versions, and it is a store like any other.
func TestImport_CopyOfARunningStore(t *testing.T) {
	o := tiny()
	o.KeepVersions = 2
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	x := s.NewSession()
	defer x.Close()
	round := 0
	write := func() {
		round++
		for k := range 4000 {
			if k%round == 0 {
				must(t, x.Set(key8(k), fmt.Appendf(nil, "%d in round %d", k, round)))
			}
		}
		must(t, x.Delete(key8(round)))
	}
	to := Options{MemoryBytes: MinMemoryBytes, FS: fsx.NewCrash(fsx.CrashOptions{})}
	var since checkpoint.Version
	for range 6 {
		write()
		p, err := s.BeginCheckpoint(WithCookie(key8(round)))
		must(t, err)
		v, err := p.View(ctx)
		must(t, err)
		want := content(t, v)
		var b bytes.Buffer
		between := writerFunc(func(p []byte) (int, error) {
			write()
			commit(t, s)
			must(t, s.Compact(ctx))
			return b.Write(p)
		})
		n, err := v.WriteDelta(between, since)
		must(t, err)
		if n != int64(b.Len()) {
			t.Fatalf("%d bytes are said to be written, %d were", n, b.Len())
		}
		rest := []byte("what follows is not read")
		r := io.MultiReader(&b, bytes.NewReader(rest))
		info, err := importInto(ctx, to.FS, "/copies/one", r)
		must(t, err)
		if info.Version != p.Version() || !info.Current || !bytes.Equal(info.Cookie, v.Info().Cookie) {
			t.Fatalf("imported: %+v", info)
		}
		if after, err := io.ReadAll(r); err != nil || !bytes.Equal(after, rest) {
			t.Fatalf("behind the stream: %q, %v", after, err)
		}
		at, got := contentAt(t, "/copies/one", to)
		if at != p.Version() || !maps.Equal(got, want) {
			t.Fatalf("the copy is at version %d with %d keys, want %d with %d", at, len(got), p.Version(), len(want))
		}
		since = p.Version()
		pin, err := s.ledger.Pin(since) // the sender keeps what it sends deltas since
		must(t, err)
		defer s.ledger.Unpin(pin.Version)
		must(t, v.Close())
	}
	copied := mustOpen(t, "/copies/one", &to)
	must(t, copied.Set([]byte("its own"), []byte("life")))
	commit(t, copied)
	_, err := copied.Restore(ctx, since)
	must(t, err)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// travelling is a store with versions 1 and 2, as streams: all of 1, all of 2, and what 2 has and 1 has not.
func travelling(t *testing.T) (one, two, delta []byte, contents [3]map[string]string) {
	t.Helper()
	o := tiny()
	s := mustOpen(t, "/store", o)
	contents[0] = map[string]string{}
	for v := 1; v <= 2; v++ {
		for k := range 20 {
			if v == 1 || k%3 == 0 {
				must(t, s.Set(key8(k), fmt.Appendf(nil, "%d in version %d", k, v)))
			}
		}
		commit(t, s, WithCookie([]byte("cookie")))
		contents[v] = content(t, viewOf(t, s, 0))
	}
	one, two = streamOf(t, viewOf(t, s, 1), 0), streamOf(t, viewOf(t, s, 2), 0)
	return one, two, streamOf(t, viewOf(t, s, 2), 1), contents
}

// Every byte of a stream counts: one that differs, or is missing, is ErrCorrupt, and the directory is as it was.
func TestImport_DamagedStream(t *testing.T) {
	one, two, delta, contents := travelling(t)
	ctx := context.Background()
	empty, based := fsx.NewCrash(fsx.CrashOptions{}), fsx.NewCrash(fsx.CrashOptions{})
	_, err := importInto(ctx, based, "/d", bytes.NewReader(one))
	must(t, err)
	refuse := func(disk fsx.FS, b []byte, what string) {
		t.Helper()
		if _, err := importInto(ctx, disk, "/d", bytes.NewReader(b)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for name, c := range map[string]struct {
		disk   fsx.FS
		stream []byte
		before checkpoint.Version
		after  checkpoint.Version
	}{"whole": {empty, two, 0, 2}, "delta": {based, delta, 1, 2}} {
		for i := range c.stream {
			if i > 1000 && i%testkit.Scaled(37, 23, 1, 1) != 0 { // an envelope is refused before anything is made
				continue
			}
			b := bytes.Clone(c.stream)
			b[i] ^= 1 << (i % 8)
			refuse(c.disk, b, fmt.Sprintf("%s, byte %d of %d flipped", name, i, len(b)))
			if i%7 == 0 {
				refuse(c.disk, c.stream[:i], fmt.Sprintf("%s, %d bytes of %d", name, i, len(b)))
			}
		}
		refuse(c.disk, bytes.Repeat([]byte("foreign "), 1000), name+", something else")
		if c.before > 0 {
			if v, got := contentAt(t, "/d", Options{MemoryBytes: MinMemoryBytes, FS: c.disk}); v != c.before || !maps.Equal(got, contents[v]) {
				t.Fatalf("%s: after all that the directory is at version %d", name, v)
			}
		} else if entries, err := c.disk.List("/d"); err != nil || len(entries) > 1 {
			t.Fatalf("%s: after all that the directory has %v, %v", name, entries, err)
		}
		_, err := importInto(ctx, c.disk, "/d", bytes.NewReader(c.stream))
		must(t, err)
		if v, got := contentAt(t, "/d", Options{MemoryBytes: MinMemoryBytes, FS: c.disk}); v != c.after || !maps.Equal(got, contents[v]) {
			t.Fatalf("%s: imported, the directory is at version %d", name, v)
		}
	}
}

// A delta goes to a directory that stands at its base, whatever else is there: of log and cold files that its base lacks, a
// part may lie there for the sake of an older version.
func TestImport_DeltaToAnotherBranch(t *testing.T) {
	ctx := context.Background()
	disk := fsx.NewCrash(fsx.CrashOptions{})
	o := Options{MemoryBytes: MinMemoryBytes, PageBytes: MinPageBytes, SegmentBytes: 256 << 10, ColdAfter: 1, FS: disk}
	s := mustOpen(t, "/from", &o)
	write := func(from, to int, what string) checkpoint.Version {
		for i := from; i < to; i++ {
			must(t, s.Set(fmt.Appendf(nil, "key %06d", i), []byte(what)))
		}
		return commit(t, s)
	}
	write(0, 3000, "first")
	must(t, s.Compact(ctx)) // into the cold tier
	first := write(0, 2500, "second")
	must(t, s.Compact(ctx))
	must(t, s.Compact(ctx))
	moved := write(0, 1000, "third")
	_, err := s.Restore(ctx, first)
	must(t, err)
	branch := write(100, 200, "fourth")
	streams := [][]byte{streamOf(t, viewOf(t, s, first), 0), streamOf(t, viewOf(t, s, moved), first), streamOf(t, viewOf(t, s, branch), moved)}
	for _, b := range streams {
		_, err := importInto(ctx, disk, "/to", bytes.NewReader(b))
		must(t, err)
	}
	want := content(t, viewOf(t, s, branch))
	if v, got := contentAt(t, "/to", o); v != branch || !maps.Equal(got, want) {
		t.Errorf("version %d with %d keys, want %d with %d", v, len(got), branch, len(want))
	}
	to := mustOpen(t, "/to", &o)
	for _, v := range []checkpoint.Version{first, moved} { // the older ones are whole
		if got := content(t, viewOf(t, to, v)); !maps.Equal(got, content(t, viewOf(t, s, v))) {
			t.Errorf("version %d is another one than before", v)
		}
	}
}

// What the store has put by itself where a delta goes, in a version that it has gone back from, is not overwritten.
func TestImport_DeltaWhereAnotherVersionLies(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	o := tiny()
	o.FS = disk
	s := mustOpen(t, "/from", o)
	for k := range 20 {
		must(t, s.Set(key8(k), []byte("first")))
		if k%10 == 9 {
			commit(t, s)
		}
	}
	last := commit(t, s)
	_, err := importInto(context.Background(), disk, "/to", bytes.NewReader(streamOf(t, viewOf(t, s, 1), 0)))
	must(t, err)
	to := mustOpen(t, "/to", o)
	must(t, to.Set(key8(0), []byte("its own")))
	own := commit(t, to)
	_, err = to.Restore(context.Background(), 1)
	must(t, err)
	must(t, to.Close())
	if _, err := importInto(context.Background(), disk, "/to", bytes.NewReader(streamOf(t, viewOf(t, s, last), 1))); !errors.Is(err, ErrDiverged) {
		t.Errorf("%v, want ErrDiverged", err)
	}
	o.Version = own
	to = mustOpen(t, "/to", o)
	if got, err := to.Get(nil, key8(0)); err != nil || string(got) != "its own" {
		t.Errorf("%q, %v", got, err)
	}
}

// What a stream cannot be imported into is told before anything is changed.
func TestImport_Refused(t *testing.T) {
	one, two, delta, _ := travelling(t)
	other, _, _, _ := travelling(t) // of another store
	ctx := context.Background()
	disk := fsx.NewCrash(fsx.CrashOptions{})
	o := Options{MemoryBytes: MinMemoryBytes, FS: disk}
	import_ := func(dir string, b []byte) error {
		_, err := importInto(ctx, disk, dir, bytes.NewReader(b))
		return err
	}
	must(t, import_("/at one", one))
	must(t, import_("/at two", two))
	must(t, import_("/other", other))
	must(t, disk.MkdirAll("/foreign"))
	f, err := disk.Open("/foreign/file", fsx.Write|fsx.Create)
	must(t, err)
	must(t, f.Close())
	must(t, mustOpen(t, "/fresh", &o).Close())
	running := mustOpen(t, "/running", &o)
	must(t, running.Set([]byte("k"), nil))
	commit(t, running)
	newer := bytes.Clone(one)
	newer[8] = 2 // the format
	end := binary.LittleEndian.Uint64(newer[16:]) - 8
	binary.LittleEndian.PutUint64(newer[end:], xxh3.Hash(newer[:end]))
	before := disk.Calls()
	var base *BaseError
	for _, c := range []struct {
		dir    string
		stream []byte
		want   error
	}{
		{"/at one", one, ErrNotEmpty}, {"/at one", two, ErrNotEmpty}, {"/foreign", one, ErrNotEmpty}, {"/foreign", delta, ErrNotEmpty},
		{"/fresh", one, ErrOtherStore}, {"/other", one, ErrOtherStore}, {"/other", delta, ErrOtherStore}, {"/running", one, ErrLocked},
		{"/running", delta, ErrLocked}, {"/at two", delta, ErrBase}, {"/nowhere", delta, ErrBase}, {"/at one", newer, ErrFormat},
	} {
		err := import_(c.dir, c.stream)
		if !errors.Is(err, c.want) {
			t.Errorf("into %s: %v, want %v", c.dir, err, c.want)
		}
		if c.want == ErrBase && (!errors.As(err, &base) || base.Base != 1 || c.dir == "/at two" && base.Here != 2) {
			t.Errorf("into %s: %v does not say which base", c.dir, err)
		}
	}
	// Looking for the base opens the directory, which writes nothing either.
	if n := disk.Calls() - before; n > 0 {
		t.Errorf("%d calls wrote something", n)
	}
	must(t, import_("/at one", delta))
	if err := import_("/at one", delta); !errors.Is(err, ErrBase) {
		t.Errorf("a delta for the second time: %v", err)
	}
}

func TestWriteDelta_Refused(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	for range 3 {
		must(t, s.Set([]byte("k"), []byte("v")))
		commit(t, s)
	}
	v := viewOf(t, s, 2)
	for since, want := range map[checkpoint.Version]error{2: ErrVersionOrder, 3: ErrVersionOrder, 7: ErrVersionNotFound} {
		if n, err := v.WriteDelta(io.Discard, since); n != 0 || !errors.Is(err, want) {
			t.Errorf("since %d: %d, %v", since, n, err)
		}
	}
	full := errors.New("full")
	if _, err := v.WriteTo(writerFunc(func([]byte) (int, error) { return 0, full })); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
	must(t, v.Close())
	if _, err := v.WriteTo(io.Discard); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed view: %v", err)
	}
}

// The plug is pulled at every call of an import that changes the disk. What is left is refused, or is the version before or
// the one that came; the next import works, whatever is left, and so it does after another crash in it.
func TestImport_CrashAtEveryCall(t *testing.T) {
	one, two, delta, contents := travelling(t)
	ctx := context.Background()
	states := 0
	var now []byte                // what is imported
	var before checkpoint.Version // that was there
	var again bool                // crash the next import as well
	// crash runs an import on disk, and check on what is left at each of its calls.
	crash := func(disk *fsx.CrashFS, b []byte, stride int64, check func(*fsx.CrashFS)) {
		disk.SetHook(func(c fsx.Call) {
			if c.N%stride != 0 {
				return
			}
			ways := []fsx.Crash{{Keep: fsx.KeepNone}, {Keep: fsx.KeepAll}, {Keep: fsx.KeepSubset, Seed: uint64(c.N)}, {Keep: fsx.KeepSubset, Seed: uint64(-c.N)}}
			if !again { // else it is a second crash, in the import after the first
				ways = ways[:testkit.Scaled(2, 2, 4, 4)]
			}
			for _, k := range ways {
				states++
				check(disk.Clone(k))
			}
		})
		_, err := importInto(ctx, disk, "/d", bytes.NewReader(b))
		must(t, err)
		disk.SetHook(nil)
	}
	left := func(disk *fsx.CrashFS) {
		t.Helper()
		o := Options{MemoryBytes: MinMemoryBytes, FS: disk, ReadOnly: true}
		s, err := Open("/d", &o)
		at := checkpoint.Version(0)
		switch {
		case err == nil:
			if c, ok := s.Current(); ok {
				at = c.Version
			}
			must(t, s.Close())
		case before > 0 || !errors.Is(err, ErrCorrupt) && !errors.Is(err, fs.ErrNotExist):
			t.Fatalf("version %d was there: %v", before, err)
		}
		if at != before && at != 2 {
			t.Fatalf("at version %d", at)
		}
		if at != 2 {
			if again {
				again = false
				crash(disk, now, 7, func(disk *fsx.CrashFS) {
					_, err := importInto(ctx, disk, "/d", bytes.NewReader(now))
					if err != nil && !errors.Is(err, ErrNotEmpty) && !errors.Is(err, ErrBase) {
						t.Fatalf("the import after the second crash: %v", err)
					}
				})
				again = true
			} else if _, err := importInto(ctx, disk, "/d", bytes.NewReader(now)); err != nil {
				t.Fatalf("the next import: %v", err)
			}
		}
		o.ReadOnly = false
		if v, got := contentAt(t, "/d", o); v != 2 || !maps.Equal(got, contents[2]) {
			t.Fatalf("after the next import: version %d, %v", v, got)
		}
	}
	stride := int64(testkit.Scaled(3, 3, 1, 1)) // of the calls of the first import
	now, again = two, true
	crash(fsx.NewCrash(fsx.CrashOptions{}), two, stride, left)
	based := fsx.NewCrash(fsx.CrashOptions{})
	_, err := importInto(ctx, based, "/d", bytes.NewReader(one))
	must(t, err)
	now, before = delta, 1
	crash(based, delta, stride, left)
	t.Logf("%d crash states", states)
}

// A disk that fails in the middle leaves the directory as it was: the next import works.
func TestImport_FailingDisk(t *testing.T) {
	one, two, delta, contents := travelling(t)
	ctx := context.Background()
	for name, c := range map[string]struct{ base, stream []byte }{"whole": {nil, two}, "delta": {one, delta}} {
		for class := fsx.ClassWrite; class < fsx.ClassLock; class++ {
			for n := int64(1); ; n++ {
				disk := fsx.NewCrash(fsx.CrashOptions{})
				if c.base != nil {
					_, err := importInto(ctx, disk, "/d", bytes.NewReader(c.base))
					must(t, err)
				}
				failing := fsx.NewErr(disk)
				injected := failing.Inject(fsx.Fault{Class: class, Nth: n, Err: syscall.EIO})
				_, err := importInto(ctx, failing, "/d", bytes.NewReader(c.stream))
				if err == nil {
					if injected.Fired() == 0 {
						break
					}
					continue // a call that does not matter
				}
				if !errors.Is(err, syscall.EIO) {
					t.Fatalf("%s, %v %d: %v", name, class, n, err)
				}
				if _, err := importInto(ctx, disk, "/d", bytes.NewReader(c.stream)); err != nil {
					t.Fatalf("%s, %v %d fails, and the next import: %v", name, class, n, err)
				}
				if v, got := contentAt(t, "/d", Options{MemoryBytes: MinMemoryBytes, FS: disk}); v != 2 || !maps.Equal(got, contents[2]) {
					t.Fatalf("%s, %v %d: version %d", name, class, n, v)
				}
			}
		}
	}
}
