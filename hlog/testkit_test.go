package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

func TestMain(m *testing.M) {
	testkit.LetGarbageGrow()
	os.Exit(m.Run())
}

// tiny returns the smallest store there is, in a file system in memory: it spills after some thousand records.
func tiny() *Options {
	return &Options{
		MemoryBytes: MinMemoryBytes, PageBytes: MinPageBytes, SegmentBytes: 256 << 10,
		FS: fsx.NewCrash(fsx.CrashOptions{Direct: true}),
	}
}

// mustOpen opens a store that is closed with the test.
func mustOpen(t testing.TB, dir string, o *Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && err != ErrClosed {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// key8 returns the i-th key of 8 bytes.
func key8(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }

// spilled counts the keys of spill, of which no two are the same.
var spilled atomic.Uint64

// spill writes that many bytes of log under keys of its own.
func spill(t testing.TB, x *Session, bytes int) {
	t.Helper()
	v := make([]byte, MinPageBytes/4-100)
	for ; bytes > 0; bytes -= MinPageBytes / 4 {
		must(t, x.Set(fmt.Appendf(nil, "spilled %d", spilled.Add(1)), v[:min(bytes, len(v))]))
	}
}

// evict writes until nothing that was written before is in memory.
func evict(t testing.TB, s *Store) {
	t.Helper()
	x := s.NewSession()
	defer x.Close()
	for tail := s.log.Tail(); s.log.Head() < tail; {
		spill(t, x, MinPageBytes)
	}
}

// commit makes a version.
func commit(t testing.TB, s *Store, opts ...CheckpointOption) checkpoint.Version {
	t.Helper()
	info, err := s.Checkpoint(context.Background(), opts...)
	must(t, err)
	return info.Version
}

// colliding returns groups of n keys of 8 bytes that share one entry of an index as small as it begins: they agree in
// the bits that name the bucket and in all bits of the tag.
func colliding(t testing.TB, s *Store, groups, n int) [][][]byte {
	t.Helper()
	const bits = 6 + 17
	entry := func(i int) uint64 { return s.hash(key8(1<<30+i)) & (1<<bits - 1) }
	count := make([]uint8, 1<<bits)
	var full []uint64 // entries with n keys, in the order in which they got so many
	last := 0
	for ; len(full) < groups; last++ {
		e := entry(last)
		if count[e]++; int(count[e]) == n {
			full = append(full, e)
		}
		if last == 1<<24 {
			t.Fatalf("only %d groups of %d keys", len(full), n)
		}
	}
	found := make([][][]byte, groups)
	for i := range last {
		if g := slices.Index(full, entry(i)); g >= 0 && len(found[g]) < n {
			found[g] = append(found[g], key8(1<<30+i))
		}
	}
	return found
}

// within fails the test with the message if f has not returned after a minute: a limit on hanging, not on speed.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	testkit.Within(t, what, f)
}

// eventually returns when ok returns true, and fails the test with the message if it has not after a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, what, ok)
}

// readHookFS calls a hook before each read of a file, once it is set.
type readHookFS struct {
	fsx.FS
	hook atomic.Pointer[func(name string)]
}

func (h *readHookFS) Open(name string, f fsx.Flag) (fsx.File, error) { return h.open(h.FS, name, f) }

func (h *readHookFS) OpenRoot(dir string) (fsx.Root, error) {
	return fsx.OpenRootBy(h.FS, dir, h.open)
}

func (h *readHookFS) open(in fsx.FS, name string, f fsx.Flag) (fsx.File, error) {
	file, err := in.Open(name, f)
	if err != nil {
		return nil, err
	}
	return &readHookFile{File: file, fs: h, name: name}, nil
}

// set replaces the hook; nil is none.
func (h *readHookFS) set(f func(name string)) {
	if f == nil {
		h.hook.Store(nil)
		return
	}
	h.hook.Store(&f)
}

type readHookFile struct {
	fsx.File
	fs   *readHookFS
	name string
}

func (f *readHookFile) ReadAt(p []byte, off int64) (int, error) {
	if hook := f.fs.hook.Load(); hook != nil {
		(*hook)(f.name)
	}
	return f.File.ReadAt(p, off)
}

// openHookFS calls a hook before a file is opened, once.
type openHookFS struct {
	fsx.FS
	hook atomic.Pointer[func(name string)]
}

func (h *openHookFS) Open(name string, f fsx.Flag) (fsx.File, error) { return h.open(h.FS, name, f) }

func (h *openHookFS) OpenRoot(dir string) (fsx.Root, error) {
	return fsx.OpenRootBy(h.FS, dir, h.open)
}

func (h *openHookFS) open(in fsx.FS, name string, f fsx.Flag) (fsx.File, error) {
	if hook := h.hook.Load(); hook != nil {
		(*hook)(name)
	}
	return in.Open(name, f)
}

// fillKeys writes n keys and returns what checks that they are there.
func fillKeys(t *testing.T, s *Store, n int) (check func(get func(dst, key []byte) ([]byte, error))) {
	t.Helper()
	for k := range n {
		must(t, s.Set(key8(k), fmt.Appendf(nil, "value %d", k)))
	}
	return func(get func(dst, key []byte) ([]byte, error)) {
		t.Helper()
		for k := range n {
			if v, err := get(nil, key8(k)); err != nil || string(v) != fmt.Sprintf("value %d", k) {
				t.Fatalf("key %d: %q, %v", k, v, err)
			}
		}
	}
}

// standing returns the shares that the next version would name.
func standing(s *Store) index.Shares {
	shares, _ := s.disk.Disk.Name(math.MaxUint64, word.MaxAddress)
	return shares
}

// mergeDue reports whether a merge is under way, or is to be done and may be.
func mergeDue(s *Store) bool {
	m, ok := s.disk.TakeMerge()
	if ok {
		s.disk.FinishMerge(m, nil, errors.New("it was only looked at"))
		s.background.merges.Wake()
	}
	return ok || s.disk.Merging()
}

// withoutRuns keeps the background from writing runs, and from merging them.
func withoutRuns(s *Store) {
	s.background.runs.Stop()
	s.background.merges.Stop()
}

// mergeCold does all merges of cold files that are worth while.
func (s *Store) mergeCold() {
	for damaged, more := map[uint64]bool{}, true; more && s.check() == nil; {
		more, _ = s.mergeColdOnce(damaged, true)
	}
}
