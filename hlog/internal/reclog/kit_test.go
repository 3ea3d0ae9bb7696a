package reclog

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	kitPage    = 16 << 10
	kitSegment = 256 << 10
)

// kit is a log whose pager works in the goroutine of the test.
type kit struct {
	*Log
	t      testing.TB
	guard  *epoch.Guard
	frames int64  // that may be resident, in bytes
	n      uint64 // records written
	chain  word.Address
}

// disks are what a log may stand on: reads go one by one, or to the kernel together.
var disks = []struct {
	name string
	open func(t testing.TB) (fsx.FS, string)
}{
	{"double", func(testing.TB) (fsx.FS, string) { return fsx.NewCrash(fsx.CrashOptions{Direct: true}), "/log" }},
	{"system", func(t testing.TB) (fsx.FS, string) { return fsx.OS(), filepath.Join(t.TempDir(), "log") }},
}

// newKit returns an empty log with memory for so many pages, on the double of a file system. It is closed with the test.
func newKit(t testing.TB, pages int) *kit {
	fsys, dir := disks[0].open(t)
	return newKitOn(t, pages, fsys, dir)
}

func newKitOn(t testing.TB, pages int, fsys fsx.FS, dir string) *kit {
	return newKitTelling(t, pages, fsys, dir, nil)
}

func kitHash(key []byte) uint64 { return xxh3.Hash(key) }

func newKitTelling(t testing.TB, pages int, fsys fsx.FS, dir string, sink Sink) *kit {
	t.Helper()
	must(t, fsys.MkdirAll(dir))
	must(t, fsys.SyncDir(filepath.Dir(dir)))
	k := &kit{t: t, frames: int64(pages) * kitPage}
	epochs := epoch.New()
	segments := kitSegments(fsys, dir)
	var err error
	k.Log, err = New(Config{
		PageBytes: kitPage, RingBytes: k.frames, MutableFraction: 0.5, Begin: uint64(word.FirstAddress), Tail: uint64(word.FirstAddress),
		Segments: segments, Queues: fsx.Queues{AIO: fsx.AIOOf(fsys)}, Epochs: epochs,
		Sink: sink, Hash: kitHash,
		Hooks: Hooks{FrameBytes: func(int64, int64) int64 { return k.frames }, Spilled: func() {}, Stalled: func(time.Duration) {}, Grown: func() {}},
	})
	must(t, err)
	k.guard = epochs.Register()
	k.life.Move(life.Open)
	t.Cleanup(func() {
		k.life.Move(life.Closing)
		k.Interrupt()
		k.life.Move(life.Closed)
		k.guard.Release()
		k.CloseQueues()
		must(t, k.Free())
		must(t, segments.Close())
		epochs.Close()
	})
	return k
}

func kitSegments(fsys fsx.FS, dir string) *Segments {
	return NewSegments(SegmentsConfig{
		FS: fsys, Dir: dir, Bytes: kitSegment, Writable: true, Created: func(string) {}, Life: life.New(),
		Path: func(n uint64) string { return filepath.Join(dir, fmt.Sprintf("%d.seg", n)) },
	})
}

// try writes a record of n bytes of value, linked to the one before, if a page is open for it.
func (k *kit) try(n int) (a word.Address, ok bool) {
	key := binary.BigEndian.AppendUint64(nil, k.n)
	sh := record.ShapeFor(len(key), n, 0)
	k.guard.Enter()
	defer k.guard.Exit()
	if a, ok = k.Allocate(sh.Size); ok {
		record.Write(k.At(a), sh, k.chain, word.MakeRecordVersion(1), 0, key, make([]byte, n), false)
		k.chain = a
		k.n++
	}
	return a, ok
}

// write is try with turns of the pager until there is room.
func (k *kit) write(n int) word.Address {
	k.t.Helper()
	for range 100 {
		if a, ok := k.try(n); ok {
			return a
		}
		must(k.t, k.turn())
	}
	k.t.Fatalf("no room for %d bytes: tail %#x, limit %#x, head %#x", n, k.Tail(), k.limit.Load(), k.Head())
	return 0
}

// fill writes records until the log has grown by so many bytes.
func (k *kit) fill(bytes int) {
	k.t.Helper()
	k.fillWith(bytes, 1000)
}

// fillWith is fill with values of n bytes.
func (k *kit) fillWith(bytes, n int) {
	k.t.Helper()
	for end := k.Tail() + uint64(bytes); k.Tail() < end; {
		k.write(n)
	}
}

// cut ends the log on a block boundary, and returns where.
func (k *kit) cut() uint64 {
	target, _ := k.AlignTail(0)
	k.ShiftReadOnly(target)
	return target
}

// evict writes until nothing that was written before is in memory.
func (k *kit) evict() {
	k.t.Helper()
	for tail := k.Tail(); k.Head() < tail; {
		k.fill(kitPage)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
