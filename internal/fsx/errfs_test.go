package fsx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// errOver returns an ErrFS around a CrashFS with the directory /d in it.
func errOver(t *testing.T) (*ErrFS, *CrashFS) {
	t.Helper()
	c := NewCrash(CrashOptions{})
	must(t, c.MkdirAll("/d"))
	return NewErr(c), c
}

// everyClass makes calls of every class, two of most, one after the other, and returns the errors of those that
// failed. It goes on after an error as far as it can.
func everyClass(e *ErrFS) (errs []error) {
	try := func(err error) bool {
		if err != nil {
			errs = append(errs, err)
		}
		return err == nil
	}
	try(e.MkdirAll("/d/e"))
	if release, err := e.Lock("/d", true); try(err) {
		try(release())
	}
	for _, name := range []string{"/d/a", "/d/b"} {
		f, err := e.Open(name, Write|Create)
		if !try(err) {
			continue
		}
		try(f.Allocate(0, 1000))
		_, err = f.WriteAt([]byte("hello"), 0)
		try(err)
		_, err = f.ReadAt(make([]byte, 5), 0)
		try(err)
		try(f.Sync())
		try(f.Truncate(500))
		_, err = f.Size()
		try(err)
		try(f.Close())
	}
	_, err := e.List("/d")
	try(err)
	try(e.Rename("/d/a", "/d/c"))
	try(e.SyncDir("/d"))
	try(e.Remove("/d/b"))
	return errs
}

// Error at every k, once and for ever, of every class.
func TestErr_EveryCallOfEveryClass(t *testing.T) {
	e, _ := errOver(t)
	if errs := everyClass(e); errs != nil {
		t.Fatal(errs)
	}
	injected := 0
	for class := range NumClasses {
		n := e.Count(class)
		if n == 0 {
			t.Fatalf("the script makes no call of class %v", class)
		}
		for k := int64(1); k <= n; k++ {
			for _, f := range []Fault{{}, {Sticky: true}, {After: true}, {Err: syscall.ENOSPC}} {
				f.Class, f.Nth = class, k
				e, c := errOver(t)
				i := e.Inject(f)
				errs := everyClass(e)
				want := f.Err
				if want == nil {
					want = syscall.EIO
				}
				hits := 0
				for _, err := range errs {
					var path *fs.PathError
					var link *os.LinkError
					if errors.Is(err, want) && (errors.As(err, &path) || errors.As(err, &link)) {
						hits++
					}
				}
				if fired := i.Fired(); hits == 0 || int64(hits) != fired || f.Sticky != (fired > 1) && e.Count(class) > k {
					t.Fatalf("%v %+v: fired %d, seen %d: %v", class, f, fired, hits, errs)
				}
				checkHandles(t, c)
				injected++
			}
		}
	}
	t.Logf("%d faults", injected)
}

// checkHandles demands that no file was left open.
func checkHandles(t *testing.T, c *CrashFS) {
	t.Helper()
	for _, n := range reach(c.root) {
		if n.opens != 0 {
			t.Fatalf("file #%d is open %d times", n.id, n.opens)
		}
	}
}

func TestErr_OnceAndSticky(t *testing.T) {
	e, _ := errOver(t)
	f := mustOpen(t, e, "/d/f", Write|Create)
	once := e.Inject(Fault{Class: ClassSync, Nth: 2})
	pattern := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(map[bool]string{true: "+", false: "-"}[f.Sync() == nil])
		}
		return b.String()
	}
	if got := pattern(4); got != "+-++" || once.Fired() != 1 {
		t.Fatal(got)
	}
	sticky := e.Inject(Fault{Class: ClassSync, Nth: 3, Sticky: true}) // counts from now
	if got := pattern(5); got != "++---" || sticky.Fired() != 3 {
		t.Fatal(got)
	}
	sticky.Clear()
	if got := pattern(2); got != "++" || e.Count(ClassSync) != 11 {
		t.Fatal(got, e.Count(ClassSync))
	}
}

func TestErr_ByName(t *testing.T) {
	e, _ := errOver(t)
	e.Inject(Fault{Class: ClassOpen, Match: "*.log", Sticky: true, Err: syscall.EMFILE})
	mustOpen(t, e, "/d/x.idx", Write|Create)
	if _, err := e.Open("/d/x.log", Write|Create); !errors.Is(err, syscall.EMFILE) {
		t.Fatal(err)
	}
	e.Inject(Fault{Class: ClassRename, Match: "/d/new", Sticky: true})
	must(t, e.Rename("/d/x.idx", "/d/y.idx"))
	if err := e.Rename("/d/y.idx", "/d/new"); !errors.Is(err, syscall.EIO) {
		t.Fatal("by its new name:", err)
	}
	defer func() {
		if recover() == nil {
			t.Fatal("a pattern that cannot match was taken")
		}
	}()
	e.Inject(Fault{Class: ClassOpen, Match: "[a"})
}

func TestErr_AfterEffect(t *testing.T) {
	e, c := errOver(t)
	must(t, WriteFileAtomic(e, "/d/f", []byte("x")))
	e.Inject(Fault{Class: ClassRename, After: true})
	if err := e.Rename("/d/f", "/d/g"); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if got := contentOf(t, c, "/d/g"); got != "x" {
		t.Fatal("the rename did not happen:", got)
	}
	f := mustOpen(t, e, "/d/g", Write)
	e.Inject(Fault{Class: ClassWrite, After: true})
	if n, err := f.WriteAt([]byte("yz"), 0); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Fatal(n, err)
	}
	if got := contentOf(t, c, "/d/g"); got != "yz" {
		t.Fatal(got)
	}
	e.Inject(Fault{Class: ClassRename, After: true, Err: syscall.ENOSPC})
	if err := e.Rename("/d/none", "/d/h"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("the error of the call itself comes first:", err)
	}
	e.Inject(Fault{Class: ClassOpen, After: true})
	if _, err := e.Open("/d/new", Write|Create); err == nil || contentOf(t, c, "/d/new") != "" {
		t.Fatal("the file must be there, and the caller told that it is not:", err)
	}
	must(t, f.Close())
	checkHandles(t, c)
}

func TestErr_ShortRead(t *testing.T) {
	e, _ := errOver(t)
	must(t, WriteFileAtomic(e, "/d/f", []byte("0123456789")))
	f := mustOpen(t, e, "/d/f", Read)
	p := []byte("..........")
	e.Inject(Fault{Class: ClassRead, Short: 4})
	if n, err := f.ReadAt(p, 0); n != 4 || err != io.EOF || string(p) != "0123\x00\x00\x00\x00\x00\x00" {
		t.Fatalf("%d, %v, %q", n, err, p)
	}
	e.Inject(Fault{Class: ClassRead, Short: 4, Err: syscall.EIO})
	if n, err := f.ReadAt(p, 0); n != 4 || !errors.Is(err, syscall.EIO) {
		t.Fatalf("%d, %v", n, err)
	}
	e.Inject(Fault{Class: ClassRead})
	if n, err := f.ReadAt(p, 0); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Fatalf("%d, %v", n, err)
	}
	e.Inject(Fault{Class: ClassRead, Short: 4})
	if _, err := ReadFile(e, "/d/f", 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("half a file is not the file: %v", err)
	}
	if n, err := f.ReadAt(p, 0); n != 10 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
}

func TestErr_ShortWrite(t *testing.T) {
	for _, direct := range []bool{false, true} {
		c := NewCrash(CrashOptions{Direct: direct})
		e := NewErr(c)
		f := mustOpen(t, e, "/f", Write|Create|Direct)
		block := func(b byte) []byte {
			p := mem.AlignedBytes(2*BlockSize, BlockSize)
			copy(p, bytes.Repeat([]byte{b}, len(p)))
			return p
		}
		mustWrite(t, f, block('a'), 0)
		e.Inject(Fault{Class: ClassWrite, Short: BlockSize + 700})
		if n, err := f.WriteAt(block('b'), 0); n != 0 || !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(n, err)
		}
		want := strings.Repeat("b", BlockSize+700) + strings.Repeat("a", BlockSize-700)
		if got := contentOf(t, c, "/f"); got != want {
			t.Fatalf("direct=%v: %d bytes, %d new", direct, len(got), strings.Count(got, "b"))
		}
		e.Inject(Fault{Class: ClassWrite, Short: BlockSize, Err: syscall.ENOSPC})
		if n, err := f.WriteAt(block('c'), 0); n != 0 || !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(n, err)
		}
		if got := contentOf(t, c, "/f"); strings.Count(got, "c") != BlockSize {
			t.Fatalf("direct=%v: %d new", direct, strings.Count(got, "c"))
		}
	}
}

// Package fsx retries interrupted calls inside, so a caller never sees one.
func TestErr_Interrupted(t *testing.T) {
	e, c := errOver(t)
	i := e.Inject(Fault{Class: ClassWrite, Err: syscall.EINTR, Sticky: true})
	f := mustOpen(t, e, "/d/f", Write|Create)
	mustWrite(t, f, []byte("abc"), 0)
	mustWrite(t, f, []byte("def"), 3)
	if contentOf(t, c, "/d/f") != "abcdef" || i.Fired() != 2 {
		t.Fatal(contentOf(t, c, "/d/f"), i.Fired())
	}
}

func TestErr_Budget(t *testing.T) {
	e, c := errOver(t)
	f := mustOpen(t, e, "/d/f", Write|Create)
	e.SetBudget(10)
	mustWrite(t, f, []byte("012345"), 0)
	mustWrite(t, f, []byte("ABCDEF"), 0) // overwriting is free
	mustWrite(t, f, []byte("gh"), 5)     // one old, one new
	if err := f.Allocate(0, 100); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if n, err := f.WriteAt([]byte("xyzuvw"), 6); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if got := contentOf(t, c, "/d/f"); got != "ABCDEgxyzu" {
		t.Fatalf("a write that does not fit writes what fits: %q", got)
	}
	if _, err := f.WriteAt([]byte("x"), 10); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	e.SetBudget(5) // space returns
	must(t, f.Allocate(8, 5))
	if err := f.Allocate(0, 20); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	must(t, f.Allocate(0, 15)) // the refused call took nothing
	e.SetBudget(-1)
	must(t, f.Allocate(0, 1<<30))
}

// patience returns a context that ends when a test that should have gone on hangs instead.
func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestErr_GateHoldsAndLets(t *testing.T) {
	ctx := patience(t)
	e, c := errOver(t)
	g := e.Hold(ClassWrite, "f")
	e.Inject(Fault{Class: ClassWrite, Match: "f", Nth: 3})
	f := mustOpen(t, e, "/d/f", Write|Create)
	mustWrite(t, mustOpen(t, e, "/d/other", Write|Create), []byte("x"), 0) // not held

	results := make(chan error, 3)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := f.WriteAt([]byte{byte('a' + i)}, int64(i))
			results <- err
		}()
	}
	must(t, g.Await(ctx, 3))
	if got := contentOf(t, c, "/d/f"); got != "" || len(results) != 0 {
		t.Fatalf("held calls had an effect: %q", got)
	}
	g.Let(1)
	must(t, <-results)
	if n := len(strings.ReplaceAll(contentOf(t, c, "/d/f"), "\x00", "")); n != 1 {
		t.Fatalf("%d calls passed, not one", n)
	}
	must(t, g.Await(ctx, 2))
	if g.Waiting() != 2 {
		t.Fatal(g.Waiting())
	}
	g.Open()
	wg.Wait()
	errs := []error{<-results, <-results}
	failed := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if failed < 0 || !errors.Is(errs[failed], syscall.EIO) || errs[1-failed] != nil {
		t.Fatalf("the fault comes behind the gate, to the third call that passes: %v", errs)
	}
	mustWrite(t, f, []byte("x"), 9) // the gate is gone
}

func TestErr_GateLetsAhead(t *testing.T) {
	e, _ := errOver(t)
	g := e.Hold(ClassSync, "")
	f := mustOpen(t, e, "/d/f", Write|Create)
	g.Let(2)
	must(t, f.Sync())
	must(t, f.Sync())
	if g.Waiting() != 0 {
		t.Fatal(g.Waiting())
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Await(done, 1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	third := make(chan error, 1)
	go func() { third <- f.Sync() }()
	must(t, g.Await(patience(t), 1))
	g.Open()
	must(t, <-third)
}

// Whatever call fails, the file holds the old or the new version, and a call that returned nil means the new one, also
// after a crash; and the next call works.
func TestWriteFileAtomic_ErrorAtEveryCall(t *testing.T) {
	run := func(f Fault) (fired int64) {
		e, c := errOver(t)
		must(t, c.SyncDir("/"))
		must(t, WriteFileAtomic(e, "/d/f", []byte("old")))
		i := e.Inject(f)
		err := WriteFileAtomic(e, "/d/f", []byte("new"))
		if fired = i.Fired(); (err == nil) != (fired == 0) && !errors.Is(f.Err, syscall.EINTR) {
			t.Fatalf("%+v: fired %d, %v", f, fired, err)
		}
		i.Clear()
		got := contentOf(t, c, "/d/f")
		if got != "old" && got != "new" || err == nil && contentOf(t, c.Clone(Crash{}), "/d/f") != "new" {
			t.Fatalf("%+v: %v, holds %q", f, err, got)
		}
		must(t, WriteFileAtomic(e, "/d/f", []byte("next")))
		if names, _ := c.List("/d"); len(names) != 1 || contentOf(t, c.Clone(Crash{}), "/d/f") != "next" {
			t.Fatalf("%+v: afterwards there is %v", f, names)
		}
		checkHandles(t, c)
		return fired
	}
	faults := 0
	for _, class := range []Class{ClassOpen, ClassTruncate, ClassWrite, ClassSync, ClassRename, ClassSyncDir} {
		for _, f := range []Fault{{}, {Sticky: true}, {After: true}, {Err: syscall.ENOSPC, Short: 1}, {Err: syscall.EINTR}} {
			f.Class = class
			if run(f) == 0 {
				t.Errorf("%+v never fired", f)
			}
			faults++
		}
	}
	t.Logf("%d faults", faults)
}

// Calls and faults from many goroutines: every call is counted once and every fault fires as often as it says.
func TestErr_Concurrent(t *testing.T) {
	const workers, rounds = 4, 200
	e, _ := errOver(t)
	i := e.Inject(Fault{Class: ClassWrite, Nth: 100, Sticky: true})
	var wg sync.WaitGroup
	failed := make([]int64, workers)
	for w := range workers {
		f := mustOpen(t, e, fmt.Sprintf("/d/%d", w), Write|Create)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range rounds {
				if _, err := f.WriteAt([]byte("x"), 0); err != nil {
					failed[w]++
				}
			}
		}()
	}
	wg.Wait()
	sum := failed[0] + failed[1] + failed[2] + failed[3]
	if want := int64(workers*rounds - 99); sum != want || i.Fired() != want || e.Count(ClassWrite) != workers*rounds {
		t.Fatalf("%d failed, fired %d, counted %d; want %d", sum, i.Fired(), e.Count(ClassWrite), want)
	}
}
