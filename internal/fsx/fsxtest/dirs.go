package fsxtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
)

func testDirectories(t *testing.T, e env) {
	ok(t, e.MkdirAll(e.path("a", "b", "c")))
	ok(t, e.MkdirAll(e.path("a", "b", "c")))
	ok(t, e.MkdirAll(e.path("a")))
	ok(t, e.MkdirAll(e.dir))
	e.put(t, "a/b/f", "x")
	is(t, e.MkdirAll(e.path("a", "b", "f")), syscall.ENOTDIR)
	is(t, e.MkdirAll(e.path("a", "b", "f", "g")), syscall.ENOTDIR)
	ok(t, e.SyncDir(e.path("a", "b")))
	ok(t, e.SyncDir(e.path("a")))
	is(t, e.SyncDir(e.path("none")), fs.ErrNotExist)
	if got := e.names(t, "a", "b"); !slices.Equal(got, []string{"c", "f"}) {
		t.Fatal(got)
	}
	if got := e.get(t, "a/./b/../b/f"); got != "x" {
		t.Fatal(got)
	}
}

func testList(t *testing.T, e env) {
	got, err := e.List(e.dir)
	ok(t, err)
	if len(got) != 0 {
		t.Fatal(got)
	}
	for _, name := range []string{"b", "a10", "a2", "B", "z"} {
		e.put(t, name, strings.Repeat("x", len(name)))
	}
	ok(t, e.MkdirAll(e.path("dir", "sub")))
	got, err = e.List(e.dir)
	ok(t, err)
	want := []fsx.Entry{
		{Name: "B", Size: 1}, {Name: "a10", Size: 3}, {Name: "a2", Size: 2}, {Name: "b", Size: 1},
		{Name: "dir", Dir: true}, {Name: "z", Size: 1},
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	_, err = e.List(e.path("none"))
	is(t, err, fs.ErrNotExist)
	_, err = e.List(e.path("b"))
	is(t, err, syscall.ENOTDIR)
}

func testRename(t *testing.T, e env) {
	e.put(t, "a", "A")
	e.put(t, "b", "B")
	open := e.must(t, "b", fsx.Read)
	ok(t, e.Rename(e.path("a"), e.path("c")))
	if got := e.names(t); !slices.Equal(got, []string{"b", "c"}) {
		t.Fatal(got)
	}
	if err := e.Rename(e.path("c"), e.path("b")); errors.Is(err, fs.ErrPermission) {
		t.Skip("this platform does not replace open files")
	} else if err != nil {
		t.Fatal(err)
	}
	if got := e.get(t, "b"); got != "A" {
		t.Fatal(got)
	}
	holds(t, open, 0, []byte("B"), true) // the replaced file lives as long as it is open
	ok(t, e.Rename(e.path("b"), e.path("b")))
	if got := e.get(t, "b"); got != "A" {
		t.Fatal(got)
	}
	ok(t, e.MkdirAll(e.path("d")))
	ok(t, e.Rename(e.path("b"), e.path("d", "b")))
	ok(t, e.Rename(e.path("d"), e.path("e")))
	if got := e.get(t, "e/b"); got != "A" || !slices.Equal(e.names(t), []string{"e"}) {
		t.Fatal(got, e.names(t))
	}
}

func testRenameErrors(t *testing.T, e env) {
	e.put(t, "f", "F")
	ok(t, e.MkdirAll(e.path("d", "e")))
	is(t, e.Rename(e.path("none"), e.path("x")), fs.ErrNotExist)
	is(t, e.Rename(e.path("f"), e.path("none", "x")), fs.ErrNotExist)
	is(t, e.Rename(e.path("f"), e.path("d")), fs.ErrExist)
	is(t, e.Rename(e.path("f"), e.path("f", "x")), syscall.ENOTDIR)
	wrapped(t, e.Rename(e.path("d"), e.path("f")))
	wrapped(t, e.Rename(e.path("d"), e.path("d", "e", "x")))
	if got := e.names(t); !slices.Equal(got, []string{"d", "f"}) || e.get(t, "f") != "F" {
		t.Fatal(got)
	}
}

func testRenameNew(t *testing.T, e env) {
	e.put(t, "a", "A")
	e.put(t, "b", "B")
	ok(t, e.MkdirAll(e.path("d")))
	err := e.RenameNew(e.path("a"), e.path("d", "c"))
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this platform cannot")
	}
	ok(t, err)
	is(t, e.RenameNew(e.path("b"), e.path("d", "c")), fs.ErrExist)
	is(t, e.RenameNew(e.path("b"), e.path("b")), fs.ErrExist)
	is(t, e.RenameNew(e.path("b"), e.path("d")), fs.ErrExist)
	is(t, e.RenameNew(e.path("none"), e.path("x")), fs.ErrNotExist)
	is(t, e.RenameNew(e.path("b"), e.path("none", "x")), fs.ErrNotExist)
	if got := e.names(t); !slices.Equal(got, []string{"b", "d"}) || e.get(t, "b") != "B" || e.get(t, "d/c") != "A" {
		t.Fatal(got)
	}
	// Of many that want one name, one gets it.
	const callers = 8
	results := make(chan error, callers)
	for i := range callers {
		e.put(t, fmt.Sprint("from", i), fmt.Sprint(i))
		go func() { results <- e.RenameNew(e.path(fmt.Sprint("from", i)), e.path("d", "one")) }()
	}
	won := 0
	for range callers {
		if err := <-results; err == nil {
			won++
		} else {
			is(t, err, fs.ErrExist)
		}
	}
	if got := e.names(t); won != 1 || len(got) != callers-1+2 {
		t.Fatalf("%d have it, %v", won, got)
	}
}

func testRemove(t *testing.T, e env) {
	e.put(t, "d/../f", "F")
	ok(t, e.MkdirAll(e.path("d", "e")))
	is(t, e.Remove(e.path("none")), fs.ErrNotExist)
	is(t, e.Remove(e.path("f", "x")), syscall.ENOTDIR)
	is(t, e.Remove(e.path("d")), syscall.ENOTEMPTY)
	ok(t, e.Remove(e.path("f")))
	is(t, e.Remove(e.path("f")), fs.ErrNotExist)
	ok(t, e.Remove(e.path("d", "e")))
	ok(t, e.Remove(e.path("d")))
	if got := e.names(t); len(got) != 0 {
		t.Fatal(got)
	}
}

// testDirect passes where direct I/O is not granted, too: then it tests that nothing else is different.
func testDirect(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create|fsx.Direct)
	p := mem.AlignedBytes(2*fsx.BlockSize, fsx.BlockSize)
	for i := range p {
		p[i] = byte(i % 251)
	}
	write(t, f, p, fsx.BlockSize)
	ok(t, f.Sync())
	size(t, f, 3*fsx.BlockSize)
	got := mem.AlignedBytes(4*fsx.BlockSize, fsx.BlockSize)
	n, err := f.ReadAt(got, 0)
	if n != 3*fsx.BlockSize || err != io.EOF || !bytes.Equal(got[fsx.BlockSize:n], p) {
		t.Fatalf("read %d, %v", n, err)
	}
	ok(t, f.Truncate(fsx.BlockSize+100))
	n, err = f.ReadAt(got, 0)
	if n != fsx.BlockSize+100 || err != io.EOF || !bytes.Equal(got[fsx.BlockSize:n], p[:100]) {
		t.Fatalf("across an end that is not aligned: read %d, %v", n, err)
	}
	ok(t, f.Allocate(0, 5000))
	ok(t, f.Truncate(3*fsx.BlockSize))
	for _, c := range []struct {
		p   []byte
		off int64
	}{{p[:100], 0}, {p[:fsx.BlockSize], 512}, {p[8 : 8+fsx.BlockSize], 0}} {
		_, rerr := f.ReadAt(bytes.Clone(c.p[:0:0]), c.off) // nothing is read, so only the offset matters
		if want := f.Direct() && c.off%fsx.BlockSize != 0; want != errors.Is(rerr, syscall.EINVAL) {
			t.Fatalf("empty read at %d: %v", c.off, rerr)
		}
		_, werr := f.WriteAt(c.p, c.off)
		if !f.Direct() {
			ok(t, werr)
			continue
		}
		is(t, werr, syscall.EINVAL)
		_, err := f.ReadAt(c.p, c.off)
		is(t, err, syscall.EINVAL)
	}
	if e.must(t, "f", fsx.Read).Direct() {
		t.Fatal("direct without being asked")
	}
}

func testLock(t *testing.T, e env) {
	release, err := e.Lock(e.dir, false)
	ok(t, err)
	if got := e.names(t); !slices.Equal(got, []string{fsx.LockName}) {
		t.Fatal(got)
	}
	for _, shared := range []bool{false, true} {
		_, err := e.Lock(e.path("."), shared)
		is(t, err, fsx.ErrLocked)
	}
	ok(t, release())
	ok(t, release())
	again, err := e.Lock(e.dir, false)
	ok(t, err)
	ok(t, release()) // a third time, while another owner holds it
	_, err = e.Lock(e.dir, false)
	is(t, err, fsx.ErrLocked)
	ok(t, e.MkdirAll(e.path("other")))
	other, err := e.Lock(e.path("other"), false)
	ok(t, err)
	ok(t, other())
	ok(t, again())
}

func testLockShared(t *testing.T, e env) {
	one, err := e.Lock(e.dir, true)
	ok(t, err)
	two, err := e.Lock(e.dir, true)
	ok(t, err)
	if got := e.names(t); len(got) != 0 {
		t.Fatal("a shared lock made", got)
	}
	_, err = e.Lock(e.dir, false)
	is(t, err, fsx.ErrLocked)
	ok(t, one())
	_, err = e.Lock(e.dir, false)
	is(t, err, fsx.ErrLocked)
	ok(t, two())
	if got := e.names(t); len(got) != 0 {
		t.Fatal("a refused lock made", got)
	}
	writer, err := e.Lock(e.dir, false)
	ok(t, err)
	ok(t, writer())
	one, err = e.Lock(e.dir, true) // now there is a file to lock
	ok(t, err)
	_, err = e.Lock(e.dir, false)
	is(t, err, fsx.ErrLocked)
	ok(t, one())
}

func testLockErrors(t *testing.T, e env) {
	e.put(t, "f", "x")
	for _, shared := range []bool{false, true} {
		_, err := e.Lock(e.path("none"), shared)
		is(t, err, fs.ErrNotExist)
		_, err = e.Lock(e.path("f"), shared)
		is(t, err, syscall.ENOTDIR)
	}
	if got := e.names(t); !slices.Equal(got, []string{"f"}) {
		t.Fatal(got)
	}
}

func testReadFile(t *testing.T, e env) {
	e.put(t, "f", "0123456789")
	e.put(t, "empty", "")
	for _, limit := range []int64{10, 11, 1 << 50} {
		data, err := fsx.ReadFile(e, e.path("f"), limit)
		ok(t, err)
		if string(data) != "0123456789" {
			t.Fatalf("%q", data)
		}
	}
	_, err := fsx.ReadFile(e, e.path("f"), 9)
	is(t, err, fsx.ErrTooLong)
	data, err := fsx.ReadFile(e, e.path("empty"), 0)
	ok(t, err)
	if len(data) != 0 {
		t.Fatalf("%q", data)
	}
	_, err = fsx.ReadFile(e, e.path("none"), 9)
	is(t, err, fs.ErrNotExist)
}

func testWriteFileAtomic(t *testing.T, e env) {
	ok(t, fsx.WriteFileAtomic(e, e.path("f"), []byte("first")))
	if got := e.get(t, "f"); got != "first" {
		t.Fatal(got)
	}
	e.put(t, "f"+fsx.TempSuffix, "left behind by a crash, and longer than the new one")
	ok(t, fsx.WriteFileAtomic(e, e.path("f"), []byte("2nd")))
	if got := e.get(t, "f"); got != "2nd" || !slices.Equal(e.names(t), []string{"f"}) {
		t.Fatal(got, e.names(t))
	}
	ok(t, e.MkdirAll(e.path("d")))
	is(t, fsx.WriteFileAtomic(e, e.path("d"), []byte("x")), fs.ErrExist)
	is(t, fsx.WriteFileAtomic(e, e.path("none", "f"), []byte("x")), fs.ErrNotExist)
	if got := e.names(t); !slices.Equal(got, []string{"d", "f"}) {
		t.Fatal("a failed call left", got)
	}
}

// testConcurrent has goroutines write, read and sync neighbouring ranges of one file.
func testConcurrent(t *testing.T, e env) {
	const workers, rounds, span = 4, 50, 3000
	f := e.must(t, "f", fsx.Write|fsx.Create)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p, got := make([]byte, span), make([]byte, span)
			for r := range rounds {
				for i := range p {
					p[i] = byte(w*rounds + r)
				}
				if _, err := f.WriteAt(p, int64(w*span)); err != nil {
					t.Error(err)
				}
				if r%10 == 0 {
					if err := f.Sync(); err != nil {
						t.Error(err)
					}
				}
				if n, err := f.ReadAt(got, int64(w*span)); n != span || err != nil && err != io.EOF || !bytes.Equal(got, p) {
					t.Errorf("worker %d round %d: read %d, %v", w, r, n, err)
				}
			}
		}()
	}
	wg.Wait()
	size(t, f, workers*span)
}

// testCloseUnderReaders closes a file under calls: each succeeds or is told that the file is closed.
func testCloseUnderReaders(t *testing.T, e env) {
	f := e.must(t, "f", fsx.Write|fsx.Create)
	write(t, f, []byte("0123456789"), 0)
	var started, wg sync.WaitGroup
	for range 4 {
		started.Add(1)
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := make([]byte, 10)
			for first := true; ; first = false {
				n, err := f.ReadAt(p, 0)
				if first {
					started.Done()
				}
				if errors.Is(err, fs.ErrClosed) {
					return
				}
				if n != 10 || err != nil || string(p) != "0123456789" {
					t.Errorf("read %d, %v", n, err)
					return
				}
			}
		}()
	}
	started.Wait()
	ok(t, f.Close())
	wg.Wait()
}
