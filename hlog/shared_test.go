package hlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// loadBytes writes about n bytes of records with distinct keys from first on.
func loadBytes(t *testing.T, s *Store, first, n int) (next int) {
	t.Helper()
	value := make([]byte, 1000)
	for ; n > 0; n -= len(value) {
		if err := s.Set(fmt.Appendf(nil, "key%08d", first), value); err != nil {
			t.Fatal(err)
		}
		first++
	}
	return first
}

// frameBytes waits until the memory of the stores' logs stands still, and returns it.
func frameBytes(t *testing.T, stores ...*Store) []int64 {
	t.Helper()
	var last []int64
	testkit.Eventually(t, "memory comes to rest", func() bool {
		testkit.Pause(10 * time.Millisecond)
		before := last
		last = nil
		for _, s := range stores {
			last = append(last, s.log.FrameBytes())
		}
		return slices.Equal(before, last)
	})
	return last
}

// usedOf returns what a store uses of its shared budget.
func usedOf(s *Store) int64 {
	b := s.opts.Shared
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.memory.member.used
}

func TestBudget_SharedByUse(t *testing.T) {
	const total = 12 << 20
	b, err := NewBudget(total)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var stores []*Store
	for i := range 6 {
		s, err := Open(filepath.Join(dir, fmt.Sprint(i)), &Options{Shared: b})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := s.Metrics().MemoryBytes; got != total {
			t.Fatalf("MemoryBytes %d, want that of the budget, %d", got, total)
		}
		stores = append(stores, s)
	}
	busy, other := stores[0], stores[1]

	n := loadBytes(t, busy, 0, 2*total)
	alone := frameBytes(t, busy)[0]
	if alone < total/10*7 {
		t.Errorf("the only busy store has %d KiB of frames of a budget of %d KiB", alone>>10, total>>10)
	}
	m := loadBytes(t, other, 0, 2*total)
	loadBytes(t, busy, n, 1<<20)
	loadBytes(t, other, m, 1<<20)
	frameBytes(t, busy, other)
	for i, s := range []*Store{busy, other} {
		if got := usedOf(s); got < total/10*4 || got > total/10*6 {
			t.Errorf("store %d of two busy ones has %d KiB of a budget of %d KiB", i, got>>10, total>>10)
		}
	}
	if used := b.Used(); used > total/100*105 {
		t.Errorf("%d KiB are used of a budget of %d KiB", used>>10, total>>10)
	}
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}
	loadBytes(t, other, m, 2*total)
	if again := frameBytes(t, other)[0]; again < total/10*7 {
		t.Errorf("after the other has closed, the busy store has %d KiB of %d KiB", again>>10, total>>10)
	}
	for i := range n {
		if i%97 != 0 {
			continue
		}
		if _, err := other.Get(nil, fmt.Appendf(nil, "key%08d", i)); err != nil {
			t.Fatalf("key %d: %v", i, err)
		}
	}
}

func TestBudget_LevelIsFair(t *testing.T) {
	const kib = 1 << 10
	for _, c := range []struct {
		bytes  int64
		wanted []int64
		level  int64
	}{
		{5000 * kib, []int64{1000 * kib, 2000 * kib}, 5000 * kib}, // enough for all
		{6000 * kib, []int64{5000 * kib, 5000 * kib}, 3000 * kib},
		{6000 * kib, []int64{1000 * kib, 9000 * kib, 9000 * kib}, 2500 * kib},
		{6000 * kib, []int64{100 * kib, 100 * kib, 2500 * kib, 9000 * kib}, 3300 * kib},
	} {
		b, err := NewBudget(c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range c.wanted {
			m := &member{most: 1 << 40}
			must(t, b.join(m))
			b.grant(m, 0, w)
		}
		b.mu.Lock()
		b.findLevel()
		got := b.level.Load()
		b.mu.Unlock()
		if got != c.level {
			t.Errorf("%d for %v: level %d, want %d", c.bytes, c.wanted, got, c.level)
		}
	}
}

func TestNewBudget_TooSmall(t *testing.T) {
	if _, err := NewBudget(MinMemoryBytes - 1); !errors.Is(err, ErrOptions) {
		t.Fatal(err)
	}
}

// Many stores that are all busy stay together within the budget that they share: what each cannot do without follows from its
// part of the budget, and not from all of it.
func TestBudget_ManyBusyStores(t *testing.T) {
	for _, size := range []int{8, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const count, total = 6, 6 * 2 << 20
			bytes := int64(3 << 20) // of records, in each
			switch {
			case testkit.Race || invariant.Enabled:
				bytes /= 3
			case testkit.SizeOf() >= testkit.CI:
				bytes *= 2
			}
			b, err := NewBudget(total)
			must(t, err)
			dir := t.TempDir()
			var stores []*Store
			for i := range count {
				s, err := Open(filepath.Join(dir, fmt.Sprint(i)), &Options{Shared: b})
				must(t, err)
				defer s.Close()
				stores = append(stores, s)
			}
			value, most := make([]byte, size), int64(0)
			for i := range bytes / int64(size+24) {
				for _, s := range stores {
					must(t, s.Set(binary.BigEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15), value))
				}
				if i%16 == 0 {
					most = max(most, b.Used())
				}
			}
			t.Logf("at most %d KiB of %d KiB were used", most>>10, total>>10)
			if most > total/100*125 {
				t.Errorf("%d KiB were used of a budget of %d KiB", most>>10, total>>10)
			}
			if most < total/2 {
				t.Errorf("only %d KiB were used of a budget of %d KiB: it was not short", most>>10, total>>10)
			}
		})
	}
}

// A budget refuses a store that it has no room for, before anything is made, and takes it when another one has closed. Stores that
// are idle are in nobody's way.
func TestBudget_RefusesOneTooMany(t *testing.T) {
	b, err := NewBudget(MinMemoryBytes)
	must(t, err)
	dir := t.TempDir()
	open := func(name string) (*Store, error) { return Open(filepath.Join(dir, name), &Options{Shared: b}) }
	for i := range 20 {
		s, err := open(fmt.Sprint("idle", i))
		must(t, err)
		defer s.Close()
	}
	var busy []*Store
	for len(busy) < 10 {
		s, err := open(fmt.Sprint("busy", len(busy)))
		if err != nil {
			break
		}
		defer s.Close()
		loadBytes(t, s, 0, 1<<20)
		frameBytes(t, s)
		busy = append(busy, s)
	}
	if len(busy) < 5 || len(busy) == 10 {
		t.Fatalf("%d busy stores fit into %d KiB", len(busy), b.Bytes()>>10)
	}
	if _, err := open("another"); !errors.Is(err, ErrBudgetFull) {
		t.Fatalf("opening one more: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "another")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the directory of a store that was refused: %v", err)
	}
	must(t, busy[0].Close())
	s, err := open("another")
	must(t, err)
	must(t, s.Close())
}

// A store that was closed while its directory was being filled is in the budget no more.
func TestBudget_ClosedWhileFilled(t *testing.T) {
	r := onRemote(t, 1, 100)
	must(t, r.store.Close())
	b, err := NewBudget(16 << 20)
	must(t, err)
	o := filledFrom(newGated(r.remote))
	o.MemoryBytes, o.Shared = 0, b
	s := mustOpen(t, "elsewhere", o)
	if s.fill == nil {
		t.Fatal("it is not being filled")
	}
	must(t, s.Close())
	if n := len(b.members); n != 0 {
		t.Errorf("%d stores are in the budget, and all are closed", n)
	}
}

// The least that a store needs follows its pages, which are larger than the budget asks for where there are large records.
func TestBudget_LeastFollowsPages(t *testing.T) {
	o := tiny()
	o.MemoryBytes, o.PageBytes, o.SegmentBytes = 8<<20, 512<<10, 1<<20
	s := mustOpen(t, "/store", o)
	must(t, s.Set([]byte("large"), make([]byte, 400<<10)))
	must(t, s.Close())
	b, err := NewBudget(8 << 20)
	must(t, err)
	s = mustOpen(t, "/store", &Options{Shared: b, FS: o.FS})
	if got, want := s.memory.member.least, leastMemory(int64(s.log.PageBytes())); got != want || s.log.PageBytes() != 512<<10 {
		t.Errorf("with pages of %d KiB it has joined with %d KiB, want %d", s.log.PageBytes()>>10, got>>10, want>>10)
	}
}

// Pieces of log lie in huge pages where these take a 64th of the memory at the most, and are counted as such.
func TestBudget_FlushBuffers(t *testing.T) {
	for _, x := range []struct {
		memory int64
		page   int
		want   int64
	}{
		{4 << 20, 4 << 10, 4 * 4 << 10}, {64 << 20, 32 << 10, 4 * 32 << 10}, {128<<20 - 1, 64 << 10, 4 * 64 << 10},
		{128 << 20, 64 << 10, reclog.HugeBuffer}, {1 << 30, 512 << 10, reclog.HugeBuffer}, {4 << 30, 2 << 20, 4 * reclog.HugeBuffer},
	} {
		b := newBudget(Options{MemoryBytes: x.memory, PageBytes: x.page})
		if got := b.fixed() - b.readers(); got != x.want {
			t.Errorf("%d bytes of memory, pages of %d: %d bytes of buffers, want %d", x.memory, x.page, got, x.want)
		}
	}
}
