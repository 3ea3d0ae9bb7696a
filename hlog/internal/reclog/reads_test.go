package reclog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// stored is a record that a test has written.
type stored struct {
	at         word.Address
	key, value []byte
}

// writeAll writes records of every size that a page takes, in all so many bytes.
func (k *kit) writeAll(bytes int) (all []stored) {
	k.t.Helper()
	rnd := rand.New(rand.NewPCG(7, 8))
	for end := k.Tail() + uint64(bytes); k.Tail() < end; {
		key := fmt.Appendf(nil, "key %d %s", len(all), make([]byte, rnd.IntN(300)))
		n := rnd.IntN(200)
		if rnd.IntN(10) == 0 {
			n = rnd.IntN(kitPage - 700)
		}
		value := make([]byte, n)
		for i := range value {
			value[i] = byte(rnd.Uint32())
		}
		all = append(all, stored{k.put(key, value), key, value})
	}
	return all
}

// put writes a record.
func (k *kit) put(key, value []byte) (a word.Address) {
	k.t.Helper()
	sh := record.ShapeFor(len(key), len(value), 0)
	for range 100 {
		k.guard.Enter()
		a, ok := k.Allocate(sh.Size)
		if ok {
			record.Write(k.At(a), sh, k.chain, word.MakeRecordVersion(1), 0, key, value, false)
			k.chain = a
		}
		k.guard.Exit()
		if ok {
			return a
		}
		must(k.t, k.turn())
	}
	k.t.Fatalf("no room for %d bytes", sh.Size)
	return 0
}

// is reports whether a record that came back is the one that was written.
func (s stored) is(rec record.Bytes, sh record.Shape) bool {
	return bytes.Equal(rec.Key(sh), s.key) && bytes.Equal(rec.Value(sh), s.value)
}

// onDisk returns how many of all records, which ascend, are on disk only.
func (k *kit) onDisk(all []stored) int {
	return slices.IndexFunc(all, func(s stored) bool { return uint64(s.at) >= k.Head() })
}

// Whatever reads the log finds the records that were written, where they were written.
func TestReads_AllAgree(t *testing.T) {
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			fsys, dir := d.open(t)
			k := newKitOn(t, 64, fsys, dir)
			all := k.writeAll(8 * kitSegment)
			below := k.onDisk(all)
			if below < len(all)/2 || below == len(all) {
				t.Fatalf("%d of %d records are on disk", below, len(all))
			}
			r := k.NewReader()
			for _, s := range all[:below] {
				if rec, sh, err := r.Read(s.at); err != nil || !s.is(rec, sh) {
					t.Fatalf("read of %#x: %v", s.at, err)
				}
			}
			k.fetchAll(t, all[:below])
			k.walkAll(t, all)
			k.guard.Enter()
			defer k.guard.Exit()
			for i := below; i < len(all); i++ {
				at, p, ok := k.Find(k.chain, all[i].key, k.Head())
				if !ok || at != all[i].at || p != k.At(at) {
					t.Fatalf("find of %#x: %#x, %v", all[i].at, at, ok)
				}
			}
			if at, _, ok := k.Find(k.chain, []byte("absent"), k.Head()); ok || uint64(at) >= k.Head() || at != all[below-1].at {
				t.Fatalf("find of what is absent: %#x, %v; the chain leaves memory at %#x", at, ok, all[below-1].at)
			}
		})
	}
}

// fetching is a taker that looks for records in the order of a permutation.
type fetching struct {
	t     *testing.T
	all   []stored
	taken []bool
}

func (f *fetching) Fetched(a word.Address, tag int, rec record.Bytes, sh record.Shape, err error) {
	if s := f.all[tag]; err != nil || a != s.at || !s.is(rec, sh) || f.taken[tag] {
		f.t.Errorf("fetched %#x for %#x, taken before %v: %v", a, s.at, f.taken[tag], err)
	}
	f.taken[tag] = true
}

func (k *kit) fetchAll(t *testing.T, all []stored) {
	t.Helper()
	f := k.NewFetcher(16)
	defer func() { must(t, f.Rest()) }()
	must(t, f.Open())
	for range 2 { // the second time after Rest
		take := &fetching{t, all, make([]bool, len(all))}
		for n, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(all)) {
			f.Want(all[i].at, i)
			if n%50 == 0 {
				f.Wait(take, 1)
			}
		}
		for f.Waiting() {
			f.Wait(take, 1)
		}
		if i := slices.Index(take.taken, false); i >= 0 || !f.Idle() {
			t.Errorf("record %d was not fetched, idle: %v", i, f.Idle())
		}
		// Half of it is dropped on the way (D1).
		for i := range all[:len(all)/2] {
			f.Want(all[i].at, i)
		}
		f.Flush(take)
		must(t, f.Rest())
		if !f.Idle() {
			t.Error("a fetcher that rests is not idle")
		}
		must(t, f.Open())
	}
}

// walkAll walks over the log in every way.
func (k *kit) walkAll(t *testing.T, all []stored) {
	t.Helper()
	reads := k.NewReadAhead()
	defer reads.Stop()
	prepared := 0
	for _, c := range []struct {
		name    string
		chunk   int
		reads   *ReadAhead
		prepare func(group []Found) error
	}{
		{name: "plain"},
		{name: "small chunks", chunk: BlockBytes},
		{name: "ahead", reads: reads},
		{name: "groups", prepare: func(group []Found) error { prepared += len(group); return nil }},
	} {
		w := k.NewWalker()
		w.Chunk, w.Reads, w.Prepare = c.chunk, c.reads, c.prepare
		n, inMemory := 0, 0
		must(t, w.Walk(context.Background(), uint64(word.FirstAddress), k.Tail(), func(a word.Address, rec record.Bytes, sh record.Shape, memory bool) (bool, error) {
			if n == len(all) || a != all[n].at || !all[n].is(rec, sh) {
				t.Fatalf("%s: record %d is at %#x", c.name, n, a)
			}
			if memory {
				inMemory++
			}
			n++
			return true, nil
		}))
		w.Close()
		if c.reads != nil {
			c.reads.Stop()
		}
		if n != len(all) || inMemory == 0 || inMemory == n {
			t.Errorf("%s: %d of %d records, %d of them from memory", c.name, n, len(all), inMemory)
		}
	}
	if prepared != len(all) {
		t.Errorf("%d of %d visits were prepared", prepared, len(all))
	}
	w := k.NewWalker()
	defer w.Close()
	n := 0
	must(t, w.Walk(context.Background(), uint64(word.FirstAddress), k.Tail(), func(word.Address, record.Bytes, record.Shape, bool) (bool, error) {
		n++
		return n < 10, nil
	}))
	if n != 10 {
		t.Errorf("a walk that was to end after 10 records has visited %d", n)
	}
	k.life.Move(life.Closing)
	err := w.Walk(context.Background(), k.Head(), k.Tail(), func(word.Address, record.Bytes, record.Shape, bool) (bool, error) { return true, nil })
	if !errors.Is(err, ErrClosed) {
		t.Errorf("a walk over the frames of a log that closes: %v", err)
	}
}

// Damage is told by whatever comes upon it, with file and offset; the records before and behind it can be read.
func TestReads_DamageIsNamed(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{Direct: true})
	k := newKitOn(t, 16, disk, "/log")
	all := k.writeAll(3 * kitSegment)
	k.evict()
	i := slices.IndexFunc(all, func(s stored) bool { return s.at >= kitSegment+kitPage })
	bad := all[i]
	off := int64(bad.at % kitSegment)
	f, err := disk.Open(k.segments.path(1), fsx.Write)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, off+17)
	must(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 4}, off+17)
	must(t, errors.Join(err, f.Close()))

	named := func(what string, err error) {
		t.Helper()
		var c *fsx.CorruptionError
		if !errors.As(err, &c) || c.File != k.segments.path(1) || c.Offset != off {
			t.Errorf("%s: %v, want damage in %s at %d", what, err, k.segments.path(1), off)
		}
	}
	r := k.NewReader()
	_, _, err = r.Read(bad.at)
	named("read", err)
	for _, s := range []stored{all[i-1], all[i+1]} {
		if rec, sh, err := r.Read(s.at); err != nil || !s.is(rec, sh) {
			t.Errorf("its neighbour at %#x: %v", s.at, err)
		}
	}
	n := 0
	err = k.segments.NewWalker().Walk(context.Background(), uint64(word.FirstAddress), k.Head(), func(word.Address, record.Bytes, record.Shape, bool) (bool, error) {
		n++
		return true, nil
	})
	if named("walk", err); n != i {
		t.Errorf("a walk has visited %d records before the damage, not %d", n, i)
	}
	var told []error
	fetch := k.NewFetcher(4)
	defer func() { must(t, fetch.Rest()) }()
	must(t, fetch.Open())
	fetch.Want(bad.at, 0)
	take := takerFunc(func(err error) { told = append(told, err) })
	for fetch.Flush(take); fetch.Waiting(); {
		fetch.Wait(take, 1)
	}
	if len(told) != 1 {
		t.Fatalf("fetched %d times", len(told))
	}
	named("fetch", told[0])
}

type takerFunc func(err error)

func (f takerFunc) Fetched(_ word.Address, _ int, _ record.Bytes, _ record.Shape, err error) { f(err) }

// Single reads of many goroutines are done together, and go on as plain calls when the queues are closed in between (D2).
func TestReader_ManyGoroutinesAndClose(t *testing.T) {
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			fsys, dir := d.open(t)
			k := newKitOn(t, 16, fsys, dir)
			all := k.writeAll(4 * kitSegment)
			k.evict()
			var reads atomic.Int64
			half := make(chan struct{})
			var wg sync.WaitGroup
			for g := range 16 {
				wg.Go(func() {
					r, rnd := k.NewReader(), rand.New(rand.NewPCG(uint64(g), 2))
					for range 200 {
						s := all[rnd.IntN(len(all))]
						if rec, sh, err := r.Read(s.at); err != nil || !s.is(rec, sh) {
							t.Errorf("read of %#x: %v", s.at, err)
						}
						if reads.Add(1) == 1600 {
							close(half)
						}
					}
				})
			}
			<-half
			k.life.Move(life.Closing)
			k.life.Move(life.Closed)
			k.CloseQueues()
			if g := k.singles; g.waiting != 0 || g.reaping || len(g.queued) != 0 {
				t.Errorf("closed with %d reads waiting, %d queued, reaping: %v", g.waiting, len(g.queued), g.reaping)
			}
			wg.Wait()
			if n := k.SingleReads(); n != 0 {
				t.Errorf("%d reads are under way", n)
			}
		})
	}
}

// withoutAIO is a file system of a machine whose kernel has no asynchronous I/O.
type withoutAIO struct {
	fsx.FS
	aio *fsx.AIO
}

func (w withoutAIO) AIO() *fsx.AIO { return w.aio }

// Where the kernel takes nothing, a single read is a plain call beside others, too: no goroutine stands in between.
func TestReader_WithoutAQueue(t *testing.T) {
	asked := 0
	aio := fsx.NewAIO(func() error { asked++; return syscall.ENOSYS }, 0)
	k := newKitOn(t, 16, withoutAIO{fsx.OS(), aio}, filepath.Join(t.TempDir(), "log"))
	all := k.writeAll(4 * kitSegment)
	k.evict()
	k.fetchAll(t, all) // many at a time, by helpers
	if direct, _ := k.segments.Kinds(); direct == 0 {
		t.Skip("the file system has no direct I/O")
	}
	if k.AsyncReads() || asked > 1 {
		t.Errorf("asynchronous: %v, the kernel was asked %d times", k.AsyncReads(), asked)
	}
	k.singles.reading.Add(2) // no read is alone
	defer k.singles.reading.Add(-2)
	r := k.NewReader()
	for _, s := range all {
		if rec, sh, err := r.Read(s.at); err != nil || !s.is(rec, sh) {
			t.Fatalf("read of %#x: %v", s.at, err)
		}
	}
	if r.ended != nil {
		t.Error("single reads were queued")
	}
}

// A read that is alone, or beside one other, is a plain call; the one after it is queued.
func TestReader_QueuesTheThirdRead(t *testing.T) {
	k := newKitOn(t, 16, fsx.OS(), filepath.Join(t.TempDir(), "log"))
	all := k.writeAll(4 * kitSegment)
	k.evict()
	k.fetchAll(t, all)
	if direct, _ := k.segments.Kinds(); direct == 0 || !k.AsyncReads() {
		t.Skip("no direct I/O, or a kernel that takes no queue")
	}
	for others := range int64(4) {
		k.singles.reading.Add(others)
		r := k.NewReader()
		if rec, sh, err := r.Read(all[0].at); err != nil || !all[0].is(rec, sh) {
			t.Errorf("read of %#x: %v", all[0].at, err)
		}
		if queued := r.ended != nil; queued != (others >= 2) {
			t.Errorf("beside %d others a read was queued: %v", others, queued)
		}
		k.singles.reading.Add(-others)
	}
}

// Warming fills free frames with the newest log below the head, and lowers the head over it.
func TestWarm_FramesAreAsOnDisk(t *testing.T) {
	k := newKit(t, 64)
	all := k.writeAll(3 * kitSegment)
	tail := k.cut()
	must(t, k.SyncTo(tail))
	k.place(tail) // as if it were opened
	must(t, k.Warm(context.Background(), uint64(word.FirstAddress), tail, tail, tail))
	if k.Head() >= tail || k.limit.Load()-k.pageStart(k.Head()) > 64*kitPage {
		t.Fatalf("head %#x of a log up to %#x, limit %#x", k.Head(), tail, k.limit.Load())
	}
	k.guard.Enter()
	defer k.guard.Exit()
	warm := 0
	for _, s := range all {
		if uint64(s.at) < k.Head() {
			continue
		}
		warm++
		p := k.At(s.at)
		l, st := record.LinkAt(p), record.StateAt(p)
		sh := record.ShapeAt(p, l, st)
		if value, _ := record.AppendValue(nil, s.at, p); !mem.Equal(mem.Add(p, uintptr(sh.KeyOff)), s.key) || !bytes.Equal(value, s.value) {
			t.Fatalf("the record at %#x is another one", s.at)
		}
	}
	if warm == 0 {
		t.Error("nothing was warmed")
	}
}

// A log that fits is warmed to its beginning, which lies within a page.
func TestWarm_AllThatFits(t *testing.T) {
	k := newKit(t, 64)
	k.writeAll(kitSegment)
	tail := k.cut()
	must(t, k.SyncTo(tail))
	k.place(tail)
	must(t, k.Warm(context.Background(), uint64(word.FirstAddress), tail, tail, tail))
	if k.Head() != uint64(word.FirstAddress) {
		t.Errorf("memory begins at %#x, the log at %#x", k.Head(), uint64(word.FirstAddress))
	}
}

// extents is a taker of extents, which asks for each a second time.
type extents struct {
	takerFunc
	f     *Fetcher
	want  func(tag int) Extent
	told  map[int]int // by tag
	check func(tag int, b []byte, err error)
}

func (e *extents) FetchedExtent(tag int, b []byte, err error) {
	e.check(tag, b, err)
	if e.told[tag]++; e.told[tag] == 1 {
		e.f.WantExtent(e.want(tag), tag)
	}
}

// Extents of other files are read among records, whatever their length; those for which there is no buffer, that are not
// there, or whose file fails, fail by themselves.
func TestFetcher_ReadsExtents(t *testing.T) {
	for _, d := range disks {
		fsys, dir := d.open(t)
		k := newKitOn(t, 8, fsys, dir)
		name := filepath.Join(dir, "other")
		const blocks = 2 * maxWide / BlockBytes
		content := make([]byte, blocks*BlockBytes)
		for i := range content {
			content[i] = byte(i / BlockBytes)
		}
		file, err := fsys.Open(name, fsx.Write|fsx.Create)
		must(t, err)
		_, err = file.WriteAt(content, 0)
		must(t, errors.Join(err, file.Sync(), file.Close()))
		file, err = fsys.Open(name, fsx.Read|fsx.Direct)
		must(t, err)
		f := k.NewFetcher(4)
		must(t, f.Open())
		lengths := []int{1, 2, 3, maxWide / BlockBytes, maxWide/BlockBytes + 1, 1, 2}
		take := &extents{f: f, told: map[int]int{}}
		take.want = func(tag int) Extent {
			off := tag
			if tag == len(lengths)-1 {
				off = blocks - 1 // goes beyond the end
			}
			return Extent{file, int64(off) * BlockBytes, lengths[tag] * BlockBytes}
		}
		take.check = func(tag int, b []byte, err error) {
			e := take.want(tag)
			switch {
			case tag == 4:
				if !errors.Is(err, ErrWide) {
					t.Errorf("%s: %d bytes: %v", d.name, e.N, err)
				}
			case tag == len(lengths)-1:
				if err == nil {
					t.Errorf("%s: an extent beyond the end has %d bytes", d.name, len(b))
				}
			case err != nil || !bytes.Equal(b, content[e.Off:][:e.N]):
				t.Errorf("%s: extent %d has %d bytes, %v", d.name, tag, len(b), err)
			}
		}
		for tag := range lengths {
			f.WantExtent(take.want(tag), tag)
		}
		for f.Flush(take); f.Waiting(); {
			f.Wait(take, 1)
		}
		for tag := range lengths {
			if take.told[tag] != 2 || !f.Idle() {
				t.Errorf("%s: extent %d was told %d times, idle: %v", d.name, tag, take.told[tag], f.Idle())
			}
		}
		f.WantExtent(take.want(0), 0)
		f.Flush(take)
		must(t, f.Rest()) // drops it
		if must(t, file.Close()); take.told[0] != 2 || !f.Idle() {
			t.Errorf("%s: what was dropped is told, idle: %v", d.name, f.Idle())
		}
	}
}
