package fuzz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// openFiles counts the files of a file system that are open, and the locks that are held.
type openFiles struct {
	fsx.FS
	files, locks atomic.Int64
}

type countedFile struct {
	fsx.File
	n *atomic.Int64
}

func (c *openFiles) Open(name string, f fsx.Flag) (fsx.File, error) { return c.open(c.FS, name, f) }

func (c *openFiles) open(in fsx.FS, name string, f fsx.Flag) (fsx.File, error) {
	file, err := in.Open(name, f)
	if err != nil {
		return nil, err
	}
	c.files.Add(1)
	return &countedFile{file, &c.files}, nil
}

func (f *countedFile) Close() error {
	err := f.File.Close()
	if !errors.Is(err, os.ErrClosed) {
		f.n.Add(-1)
	}
	return err
}

func (c *openFiles) OpenRoot(dir string) (fsx.Root, error) {
	root, err := fsx.OpenRootBy(c.FS, dir, c.open)
	if err != nil {
		return nil, err
	}
	c.files.Add(1)
	return &countedRoot{root, c}, nil
}

// countedRoot counts what is held of a directory.
type countedRoot struct {
	fsx.Root
	c *openFiles
}

func (r *countedRoot) Close() error {
	err := r.Root.Close()
	if !errors.Is(err, os.ErrClosed) {
		r.c.files.Add(-1)
	}
	return err
}

func (r *countedRoot) Lock(dir string, shared bool) (func() error, error) {
	release, err := r.Root.Lock(dir, shared)
	if err != nil {
		return nil, err
	}
	r.c.locks.Add(1)
	var once atomic.Bool
	return func() error {
		if !once.Swap(true) {
			r.c.locks.Add(-1)
		}
		return release()
	}, nil
}

// held is what the process holds beyond memory.
type held struct {
	goroutines, descriptors, mappings, threads int
	runtime                                    uint64 // bytes that the runtime has beside the heap, in mappings of its own
	maps                                       string // the mappings
}

// heapBits are the bits of an address within the terabyte that the runtime's heap lies in.
const heapBits = 40

func (h held) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d mappings, %d threads", h.goroutines, h.descriptors, h.mappings, h.threads)
}

// mappingsAllowed returns how many mappings are no leak since before. A thread, which the runtime starts and keeps as it
// likes, has one for its stack and one that the C library allocates from; and the runtime keeps what it needs for a heap that
// has grown.
func (h held) mappingsAllowed(before held) int {
	return before.mappings + 2 + 2*max(h.threads-before.threads, 0) + int(h.runtime-min(h.runtime, before.runtime))/leastMapping
}

// leastMapping is the size from which on mappings are counted.
const leastMapping = 4 << 20

// holding counts it. Descriptors and mappings are 0 where the system does not tell.
func holding() held {
	h := held{goroutines: runtime.NumGoroutine()}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.runtime = m.Sys - m.HeapSys
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		h.descriptors = len(entries)
	}
	if tasks, err := os.ReadDir("/proc/self/task"); err == nil {
		h.threads = len(tasks)
	}
	var heap uint64
	fmt.Sscanf(fmt.Sprintf("%p", new(int)), "0x%x", &heap)
	if maps, err := os.ReadFile("/proc/self/maps"); err == nil {
		for line := range strings.Lines(string(maps)) {
			// The heap and the threads of the runtime come and go; a store's regions are shared with no file either,
			// but large. The runtime puts all of its heap where the kernel puts nothing by itself, and it is in many parts.
			var from, to uint64
			if n, _ := fmt.Sscanf(line, "%x-%x", &from, &to); n == 2 && to-from >= leastMapping && from>>heapBits != heap>>heapBits {
				h.mappings++
				h.maps += line
			}
		}
	}
	return h
}

// atRest returns what is held when it is no more than before, or what is held too long: goroutines that have nothing
// left to do take their time to end.
func atRest(before held) (now held) {
	testkit.Soon(func() bool {
		now = holding()
		return now.goroutines <= before.goroutines && now.descriptors <= before.descriptors && now.mappings <= now.mappingsAllowed(before)
	})
	return now
}

// steady returns what is held when it has stopped changing.
func steady(t *testing.T) (last held) {
	const looks = 200 // some tenths of a second
	same := 0
	testkit.Eventually(t, "what is held to stop changing", func() bool {
		now := holding()
		if now.maps, now.runtime = last.maps, last.runtime; now == last { // how many there are is what counts
			same++
		} else {
			same, last = 0, holding()
		}
		return same == looks
	})
	return last
}

// TestLeak_OpenAndClose opens and closes stores in every way there is, on the file system of the machine.
func TestLeak_OpenAndClose(t *testing.T) {
	dir := t.TempDir()
	opts := writerOptions
	files := &openFiles{FS: fsx.OS()}
	opts.FS = files
	round := func(i int) {
		s, err := hlog.Open(dir, &opts)
		if err != nil {
			t.Fatal(err)
		}
		x := s.NewSession() // never closed
		for k := range 40 {
			if err := x.Set(Key(k), Value(uint64(i*100+k), 900)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
		infos, err := s.Versions()
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.OpenVersion(context.Background(), infos[0].Version)
		if err == nil && i%2 == 0 {
			err = w.Close() // else the store closes it
		}
		if err != nil && !errors.Is(err, hlog.ErrVersionNotFound) {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if _, err := s.Restore(context.Background(), infos[len(infos)/2].Version); err != nil && !errors.Is(err, hlog.ErrVersionNotFound) {
				t.Fatal(err)
			}
		}
		if _, err := hlog.Open(dir, &opts); !errors.Is(err, hlog.ErrLocked) {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if f, l := files.files.Load(), files.locks.Load(); f != 0 || l != 0 {
			t.Fatalf("round %d: %d files are open and %d locks held after closing", i, f, l)
		}
	}
	for i := range 5 {
		round(i)
	}
	before := steady(t)
	rounds := scaled(20, 60, 200, 1000)
	for i := range rounds {
		round(int(i))
	}
	testkit.Counted(t, "%d stores opened, used in every way and closed", rounds)
	if after := atRest(before); after.goroutines > before.goroutines || after.descriptors > before.descriptors || after.mappings > after.mappingsAllowed(before) {
		t.Errorf("after %d rounds: %v, before: %v\n%s\nmappings before:\n%safter:\n%s", rounds, after, before, stacks(), before.maps, after.maps)
	}
}

func stacks() string {
	b := make([]byte, 1<<16)
	return string(b[:runtime.Stack(b, true)])
}

// TestLeak_FailedCalls: calls that fail half-way give back what they have taken.
func TestLeak_FailedCalls(t *testing.T) {
	tape := Tape{{OpFill, 0, 60, 14}, {OpCheckpoint, 1, 0, 0}, {OpSet, 3, 5, 0}, {OpCheckpoint, 1, 0, 0}, {OpReopen, 0, 0, 0},
		{OpView, 0, 0, 0}, {OpRestore, 0, 0, 0}, {OpSet, 4, 5, 0}, {OpCheckpoint, 1, 0, 0}, {OpRestore, 1, 0, 0},
		{OpReopen, 0, 0, 0}, {OpCompact, 0, 0, 0}}
	before := steady(t)
	runs := 0
	for _, class := range []fsx.Class{fsx.ClassRead, fsx.ClassOpen, fsx.ClassSync, fsx.ClassSyncDir, fsx.ClassList, fsx.ClassSize, fsx.ClassRename, fsx.ClassTruncate} {
		for nth := int64(1); ; nth += int64(sparse(testkit.Scaled(9, 5, 3, 1))) {
			files := &openFiles{FS: fsx.NewCrash(fsx.CrashOptions{})}
			failing := fsx.NewErr(files)
			fault := failing.Inject(fsx.Fault{Class: class, Nth: nth})
			r := &Runner{FS: failing, Options: []hlog.Options{small}, Faults: true}
			if err := within(func() error { return r.Play(tape) }); err != nil {
				t.Fatalf("%v %d: %v", class, nth, err)
			}
			runs++
			if f, l := files.files.Load(), files.locks.Load(); f != 0 || l != 0 {
				t.Fatalf("%v %d: %d files are open and %d locks held at the end", class, nth, f, l)
			}
			if fault.Fired() == 0 {
				break
			}
		}
	}
	testkit.Counted(t, "%d runs with a call that fails", runs)
	if after := atRest(before); after.goroutines > before.goroutines || after.mappings > after.mappingsAllowed(before) {
		t.Errorf("after %d runs: %v, before: %v\n%s\nmappings before:\n%safter:\n%s", runs, after, before, stacks(), before.maps, after.maps)
	}
}
