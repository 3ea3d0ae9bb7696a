// Package fsxtest holds the tests that every [fsx.FS] must pass, so that what was tested on a double holds on the
// operating system.
package fsxtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Run runs the suite. open is called once per test and returns a file system and an empty directory in it.
func Run(t *testing.T, open func(t *testing.T) (fsys fsx.FS, dir string)) {
	for _, c := range []struct {
		name string
		test func(*testing.T, env)
	}{
		{"OpenFlags", testOpenFlags},
		{"OpenErrors", testOpenErrors},
		{"ReadAtEnd", testReadAtEnd},
		{"WriteHoles", testWriteHoles},
		{"WriteRandom", testWriteRandom},
		{"ReadOnlyFile", testReadOnlyFile},
		{"Allocate", testAllocate},
		{"Truncate", testTruncate},
		{"BadArguments", testBadArguments},
		{"PastFourGigabytes", testPastFourGigabytes},
		{"Closed", testClosed},
		{"OpenAfterRemove", testOpenAfterRemove},
		{"TwoHandles", testTwoHandles},
		{"Directories", testDirectories},
		{"List", testList},
		{"Rename", testRename},
		{"RenameErrors", testRenameErrors},
		{"RenameNew", testRenameNew},
		{"Remove", testRemove},
		{"Direct", testDirect},
		{"Lock", testLock},
		{"LockShared", testLockShared},
		{"LockErrors", testLockErrors},
		{"ReadFile", testReadFile},
		{"WriteFileAtomic", testWriteFileAtomic},
		{"Concurrent", testConcurrent},
		{"CloseUnderReaders", testCloseUnderReaders},
		{"InPlace", testInPlace},
		{"RootFollowsItsDirectory", testRootFollowsItsDirectory},
		{"RootLock", testRootLock},
		{"RootRemoved", testRootRemoved},
		{"RootOutside", testRootOutside},
		{"RootClosed", testRootClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, dir := open(t)
			c.test(t, env{fsys, dir})
		})
	}
}

// env is what a test works on.
type env struct {
	fsx.FS
	dir string
}

func (e env) path(elem ...string) string { return filepath.Join(append([]string{e.dir}, elem...)...) }

// must opens a file and closes it at the end of the test.
func (e env) must(t *testing.T, name string, f fsx.Flag) fsx.File {
	t.Helper()
	file, err := e.Open(e.path(name), f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// put makes name hold data.
func (e env) put(t *testing.T, name, data string) {
	t.Helper()
	f := e.must(t, name, fsx.Write|fsx.Create)
	ok(t, f.Truncate(0))
	write(t, f, []byte(data), 0)
	ok(t, f.Close())
}

// get returns what name holds.
func (e env) get(t *testing.T, name string) string {
	t.Helper()
	data, err := fsx.ReadFile(e, e.path(name), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// names returns the names in a directory.
func (e env) names(t *testing.T, elem ...string) []string {
	t.Helper()
	entries, err := e.List(e.path(elem...))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, n := range entries {
		names = append(names, n.Name)
	}
	return names
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is demands an error that wraps target and says, by its type, which file and operation it is about.
func is(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("want %v, got %v", target, err)
	}
	wrapped(t, err)
}

// wrapped demands some error that names a file.
func wrapped(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("want an error, got none")
	}
	if s := fmt.Sprintf("%T", err); s != "*fs.PathError" && s != "*os.LinkError" {
		t.Fatalf("error of type %s: %v", s, err)
	}
}

func write(t *testing.T, f fsx.File, p []byte, off int64) {
	t.Helper()
	if n, err := f.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("wrote %d of %d at %d: %v", n, len(p), off, err)
	}
}

// holds demands that n bytes at off are want, followed by the end of the file exactly if end.
func holds(t *testing.T, f fsx.File, off int64, want []byte, end bool) {
	t.Helper()
	got := bytes.Repeat([]byte{0xaa}, len(want)+1)
	n, err := f.ReadAt(got[:len(want)], off)
	if n != len(want) || err != nil && err != io.EOF || !bytes.Equal(got[:n], want) {
		t.Fatalf("read %d of %d at %d, %v; equal: %v", n, len(want), off, err, bytes.Equal(got[:n], want[:n]))
	}
	n, err = f.ReadAt(got, off)
	if end != (n == len(want) && err == io.EOF) {
		t.Fatalf("end of file at %d: want %v; read %d, %v", off+int64(len(want)), end, n, err)
	}
}

func size(t *testing.T, f fsx.File, want int64) {
	t.Helper()
	if got, err := f.Size(); got != want || err != nil {
		t.Fatalf("size %d, %v; want %d", got, err, want)
	}
}

func testOpenFlags(t *testing.T, e env) {
	_, err := e.Open(e.path("f"), fsx.Write)
	is(t, err, fs.ErrNotExist)
	_, err = e.Open(e.path("f"), fsx.Read)
	is(t, err, fs.ErrNotExist)
	f := e.must(t, "f", fsx.Write|fsx.Create|fsx.Exclusive)
	write(t, f, []byte("abc"), 0)
	_, err = e.Open(e.path("f"), fsx.Write|fsx.Create|fsx.Exclusive)
	is(t, err, fs.ErrExist)
	size(t, e.must(t, "f", fsx.Write|fsx.Create), 3) // what is there stays
	size(t, e.must(t, "f", fsx.Read), 3)
	for _, bad := range []fsx.Flag{fsx.Create, fsx.Exclusive, fsx.Write | fsx.Exclusive, fsx.Create | fsx.Exclusive, 1 << 20} {
		_, err := e.Open(e.path("g"), bad)
		is(t, err, syscall.EINVAL)
	}
	if got := e.names(t); !slices.Equal(got, []string{"f"}) {
		t.Fatal(got)
	}
}

func testOpenErrors(t *testing.T, e env) {
	e.put(t, "f", "x")
	ok(t, e.MkdirAll(e.path("d")))
	for _, f := range []fsx.Flag{fsx.Read, fsx.Write, fsx.Read | fsx.Direct} {
		_, err := e.Open(e.path("d"), f)
		is(t, err, syscall.EISDIR)
		_, err = e.Open(e.path("f", "below"), f)
		is(t, err, syscall.ENOTDIR)
	}
	_, err := e.Open(e.path("none", "f"), fsx.Write|fsx.Create)
	is(t, err, fs.ErrNotExist)
	_, err = e.Open(e.path("d"), fsx.Write|fsx.Create)
	is(t, err, syscall.EISDIR)
	_, err = e.Open(e.path("d"), fsx.Write|fsx.Create|fsx.Exclusive)
	is(t, err, fs.ErrExist)
}

func testReadAtEnd(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	p := make([]byte, 10)
	if n, err := f.ReadAt(p, 0); n != 0 || err != io.EOF {
		t.Fatalf("empty file: %d, %v", n, err)
	}
	write(t, f, []byte("0123456789"), 0)
	holds(t, f, 0, []byte("0123456789"), true)
	holds(t, f, 3, []byte("345"), false)
	if n, err := f.ReadAt(p, 7); n != 3 || err != io.EOF || string(p[:n]) != "789" {
		t.Fatalf("across the end: %d, %v", n, err)
	}
	for _, off := range []int64{10, 11, 1 << 40} {
		if n, err := f.ReadAt(p, off); n != 0 || err != io.EOF {
			t.Fatalf("at %d: %d, %v", off, n, err)
		}
	}
	if n, err := f.ReadAt(nil, 5); n != 0 || err != nil {
		t.Fatalf("nothing: %d, %v", n, err)
	}
}

func testWriteHoles(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	write(t, f, []byte("end"), 3*4096+100)
	size(t, f, 3*4096+103)
	want := make([]byte, 3*4096+103)
	copy(want[3*4096+100:], "end")
	holds(t, f, 0, want, true)
	write(t, f, []byte("mid"), 4095)
	copy(want[4095:], "mid")
	holds(t, f, 0, want, true)
	write(t, f, nil, 1<<20) // writes nothing and grows nothing
	size(t, f, int64(len(want)))
}

// testWriteRandom runs writes, truncations and allocations against a slice.
func testWriteRandom(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	var model []byte
	grow := func(n int) {
		if n > len(model) {
			model = append(model, make([]byte, n-len(model))...)
		}
	}
	state := uint64(1)
	random := func(n int) int {
		state = state*6364136223846793005 + 1442695040888963407
		return int(state>>33) % n
	}
	for step := range 300 {
		off, n := random(20_000), 1+random(9_000)
		switch random(8) {
		default:
			p := bytes.Repeat([]byte{byte(step + 1)}, n)
			write(t, f, p, int64(off))
			grow(off + n)
			copy(model[off:], p)
		case 0:
			ok(t, f.Truncate(int64(off)))
			grow(off)
			model = model[:off:off]
		case 1:
			ok(t, f.Allocate(int64(off), int64(n)))
			grow(off + n)
		case 2:
			ok(t, f.Sync())
		}
		size(t, f, int64(len(model)))
		from := random(len(model) + 1)
		holds(t, f, int64(from), model[from:], true)
	}
}

func testReadOnlyFile(t *testing.T, e env) {
	e.put(t, "f", "abc")
	f := e.must(t, "f", fsx.Read)
	_, err := f.WriteAt([]byte("x"), 0)
	wrapped(t, err)
	wrapped(t, f.Truncate(1))
	wrapped(t, f.Allocate(0, 100))
	ok(t, f.Sync())
	holds(t, f, 0, []byte("abc"), true)
}

func testAllocate(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	write(t, f, []byte("abc"), 0)
	ok(t, f.Allocate(0, 10_000))
	size(t, f, 10_000)
	want := make([]byte, 10_000)
	copy(want, "abc")
	holds(t, f, 0, want, true)
	ok(t, f.Allocate(100, 200)) // inside: no change
	size(t, f, 10_000)
	ok(t, f.Allocate(20_000, 1))
	size(t, f, 20_001)
	holds(t, f, 0, append(want, make([]byte, 10_001)...), true)
}

func testTruncate(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	write(t, f, bytes.Repeat([]byte("x"), 9000), 0)
	ok(t, f.Truncate(4100))
	size(t, f, 4100)
	ok(t, f.Truncate(9000)) // what was cut off does not come back
	want := append(bytes.Repeat([]byte("x"), 4100), make([]byte, 4900)...)
	holds(t, f, 0, want, true)
	ok(t, f.Truncate(0))
	size(t, f, 0)
	holds(t, f, 0, nil, true)
}

func testBadArguments(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	p := make([]byte, 8)
	_, err := f.ReadAt(p, -1)
	is(t, err, syscall.EINVAL)
	n, err := f.WriteAt(p, -1)
	is(t, err, syscall.EINVAL)
	if n != 0 {
		t.Fatal("bytes of a failed write:", n)
	}
	is(t, f.Truncate(-1), syscall.EINVAL)
	is(t, f.Allocate(-1, 10), syscall.EINVAL)
	is(t, f.Allocate(0, 0), syscall.EINVAL)
	is(t, f.Allocate(0, -1), syscall.EINVAL)
	is(t, f.Allocate(1<<62, 1<<62), syscall.EINVAL)
	size(t, f, 0)
}

func testPastFourGigabytes(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	for _, off := range []int64{1<<31 - 3, 1<<32 - 3, 1<<35 + 7} {
		write(t, f, []byte("across"), off)
		holds(t, f, off-2, []byte("\x00\x00across"), true)
	}
	ok(t, f.Sync())
	holds(t, f, 1<<32-4, []byte("\x00across\x00"), false)
	ok(t, f.Truncate(1<<32))
	holds(t, f, 1<<32-4, []byte("\x00acr"), true)
}

func testClosed(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	ok(t, f.Close())
	is(t, f.Close(), fs.ErrClosed)
	p := make([]byte, 1)
	_, err := f.ReadAt(p, 0)
	is(t, err, fs.ErrClosed)
	_, err = f.WriteAt(p, 0)
	is(t, err, fs.ErrClosed)
	is(t, f.Sync(), fs.ErrClosed)
	is(t, f.Allocate(0, 1), fs.ErrClosed)
	is(t, f.Truncate(0), fs.ErrClosed)
	_, err = f.Size()
	is(t, err, fs.ErrClosed)
}

func testOpenAfterRemove(t *testing.T, e env) {
	e.put(t, "f", "old")
	f := e.must(t, "f", fsx.Write)
	if err := e.Remove(e.path("f")); errors.Is(err, fs.ErrPermission) {
		t.Skip("this platform does not remove open files")
	} else if err != nil {
		t.Fatal(err)
	}
	e.put(t, "f", "new")
	holds(t, f, 0, []byte("old"), true)
	write(t, f, []byte("more"), 3)
	ok(t, f.Sync())
	holds(t, f, 0, []byte("oldmore"), true)
	if got := e.get(t, "f"); got != "new" {
		t.Fatal(got)
	}
}

func testTwoHandles(t *testing.T, e env) {
	a := e.must(t, "f", fsx.Write|fsx.Create)
	b := e.must(t, "f", fsx.Read)
	write(t, a, []byte("seen"), 0)
	holds(t, b, 0, []byte("seen"), true)
	ok(t, a.Close())
	holds(t, b, 0, []byte("seen"), true)
}
