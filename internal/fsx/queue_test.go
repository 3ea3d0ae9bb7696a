package fsx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// queueFile makes a file of so many blocks and some bytes, and returns it and what it holds.
func queueFile(t testing.TB, fsys FS, dir string, flag Flag, blocks, more int) (File, []byte) {
	t.Helper()
	f, err := fsys.Open(filepath.Join(dir, fmt.Sprintf("file%d", rand.Uint64())), Write|Create|flag)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	data := mem.AlignedBytes((blocks+1)*BlockSize, BlockSize)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(blocks*BlockSize + more)); err != nil {
		t.Fatal(err)
	}
	return f, data[:blocks*BlockSize+more]
}

// request is a read of n blocks from block at on.
func request(f File, at, n, tag int) *Request {
	return &Request{File: f, P: mem.AlignedBytes(n*BlockSize, BlockSize), Off: int64(at * BlockSize), Tag: tag}
}

// checkRead compares a result with what ReadAt promises of a file that holds data.
func checkRead(t *testing.T, r *Request, data []byte) {
	t.Helper()
	off := min(int(r.Off), len(data))
	n := min(len(r.P), len(data)-off)
	var want error
	if n < len(r.P) {
		want = io.EOF
	}
	if r.N != n || r.Err != want || !bytes.Equal(r.P[:n], data[off:off+n]) {
		t.Errorf("read of %d bytes at %d of %d: %d, %v, want %d, %v, or other bytes", len(r.P), r.Off, len(data), r.N, r.Err, n, want)
	}
}

// kinds are files that a queue reads in different ways.
var kinds = []struct {
	name string
	open func(t *testing.T) (FS, string, Flag)
}{
	{"direct", func(t *testing.T) (FS, string, Flag) { return OS(), t.TempDir(), Direct }},
	{"buffered", func(t *testing.T) (FS, string, Flag) { return OS(), t.TempDir(), Read }},
	{"double", func(t *testing.T) (FS, string, Flag) { return NewCrash(CrashOptions{Direct: true}), "/", Direct }},
}

func TestQueue_ReadsWhatReadAtReads(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			fsys, dir, flag := k.open(t)
			const blocks, depth = 64, 16
			f, data := queueFile(t, fsys, dir, flag, blocks, 100)
			q := NewQueue(depth)
			defer q.Close()
			left := 0
			var done []*Request
			seen := map[int]bool{}
			take := func(atLeast int) {
				for _, r := range done {
					if seen[r.Tag] {
						t.Errorf("read %d ended twice", r.Tag)
					}
					seen[r.Tag] = true
					checkRead(t, r, data)
				}
				if left -= len(done); len(done) < min(atLeast, left+len(done)) {
					t.Errorf("waited for %d reads and got %d", atLeast, len(done))
				}
			}
			const rounds = 100
			total := 0
			for range rounds {
				var batch []*Request
				for range rand.IntN(3 * depth) { // more than the kernel takes at a time
					batch = append(batch, request(f, rand.IntN(blocks+3), 1+rand.IntN(3), total))
					total++
				}
				q.Submit(batch)
				left += len(batch)
				atLeast := rand.IntN(depth)
				done = q.Wait(done[:0], atLeast)
				take(atLeast)
			}
			done = q.Wait(done[:0], total)
			take(total)
			if left != 0 || len(seen) != total || !q.Idle() {
				t.Errorf("%d reads of %d never ended", left, total)
			}
			if done = q.Wait(done[:0], 1); len(done) != 0 {
				t.Errorf("%d reads ended that nobody had asked for", len(done))
			}
		})
	}
}

func TestQueue_ErrorsBelongToOneRead(t *testing.T) {
	inner := NewCrash(CrashOptions{})
	fsys := NewErr(inner)
	f, data := queueFile(t, fsys, "/", Read, 8, 0)
	q := NewQueue(4)
	defer q.Close()
	fault := fsys.Inject(Fault{Class: ClassRead, Nth: 3})
	before := fsys.Count(ClassRead)
	var batch []*Request
	for i := range 6 {
		batch = append(batch, request(f, i, 1, i))
	}
	q.Submit(batch)
	if n := fsys.Count(ClassRead) - before; n != 6 || fault.Fired() != 1 {
		t.Errorf("6 reads were %d calls, of which %d failed", n, fault.Fired())
	}
	for i, r := range q.Wait(nil, 6) {
		if r.Tag != i {
			t.Errorf("read %d of a double came as number %d", r.Tag, i)
		}
		if i == 2 {
			if !errors.Is(r.Err, syscall.EIO) {
				t.Errorf("the read that failed says %v", r.Err)
			}
			continue
		}
		checkRead(t, r, data)
	}
}

func TestQueue_BadArguments(t *testing.T) {
	f, data := queueFile(t, OS(), t.TempDir(), Direct, 4, 0)
	q := NewQueue(4)
	defer q.Close()
	negative, empty, good := request(f, 0, 1, 0), request(f, 0, 0, 1), request(f, 1, 1, 2)
	negative.Off = -BlockSize
	closed := request(f, 0, 1, 3)
	other, _ := queueFile(t, OS(), t.TempDir(), Direct, 1, 0)
	other.Close()
	closed.File = other
	batch := []*Request{negative, empty, good, closed}
	if f.Direct() {
		odd := request(f, 0, 1, 4)
		odd.Off = 1
		batch = append(batch, odd)
	}
	q.Submit(batch)
	for _, r := range q.Wait(nil, len(batch)) {
		switch r {
		case good:
			checkRead(t, r, data)
		case empty:
			if r.N != 0 || r.Err != nil {
				t.Errorf("a read of nothing: %d, %v", r.N, r.Err)
			}
		case closed:
			if !errors.Is(r.Err, fs.ErrClosed) {
				t.Errorf("a read of a closed file: %v", r.Err)
			}
		default:
			if !errors.Is(r.Err, syscall.EINVAL) {
				t.Errorf("read %d with bad arguments: %v", r.Tag, r.Err)
			}
		}
		var pe *fs.PathError
		if r.Err != nil && !errors.As(r.Err, &pe) {
			t.Errorf("the error names no file: %v", r.Err)
		}
	}
}

// A file is closed while it is read: what has begun ends well, what comes later is refused.
func TestQueue_FileClosedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	for range 50 {
		f, data := queueFile(t, OS(), dir, Direct, 32, 0)
		q := NewQueue(8)
		var batch []*Request
		for i := range 32 {
			batch = append(batch, request(f, i, 1, i))
		}
		q.Submit(batch)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("closing twice: %v", err)
		}
		if _, err := f.ReadAt(batch[0].P[:0], 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("reading after closing: %v", err)
		}
		late := request(f, 0, 1, 99)
		q.Submit([]*Request{late})
		for _, r := range q.Wait(nil, 33) {
			if r == late {
				if !errors.Is(r.Err, fs.ErrClosed) {
					t.Errorf("a read that began after closing: %v", r.Err)
				}
				continue
			}
			checkRead(t, r, data)
		}
		if n := f.(*osFile).uses.Load(); n != closedUses {
			t.Errorf("%d uses are left", n-closedUses)
		}
		q.Close()
	}
}

// Closing a queue waits for what is under way.
func TestQueue_CloseWithReadsUnderWay(t *testing.T) {
	for _, k := range kinds {
		fsys, dir, flag := k.open(t)
		f, _ := queueFile(t, fsys, dir, flag, 64, 0)
		for range 20 {
			q := NewQueue(16)
			var batch []*Request
			for i := range 64 {
				batch = append(batch, request(f, i, 1, i))
			}
			q.Submit(batch)
			q.Close()
			if !q.Idle() {
				t.Errorf("%s: reads are under way after closing", k.name)
			}
			for _, r := range batch {
				if r.os != nil {
					t.Fatalf("%s: a read still uses its file", k.name)
				}
			}
		}
	}
}

// One goroutine waits while many submit.
func TestQueue_SubmitWhileWaiting(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			fsys, dir, flag := k.open(t)
			f, data := queueFile(t, fsys, dir, flag, 64, 0)
			q := NewQueue(8)
			defer q.Close()
			const submitters, reads = 8, 100
			var wg sync.WaitGroup
			var submitted atomic.Int64
			for range submitters {
				wg.Go(func() {
					for i := 0; i < reads; i += 4 {
						var batch []*Request
						for range 4 {
							batch = append(batch, request(f, rand.IntN(64), 1, 0))
						}
						q.Submit(batch)
						submitted.Add(4)
					}
				})
			}
			ended := 0
			for ended < submitters*reads {
				for _, r := range q.Wait(nil, 1) {
					checkRead(t, r, data)
					ended++
				}
			}
			wg.Wait()
			if !q.Idle() {
				t.Error("reads are left")
			}
		})
	}
}

func TestQueue_OnlyFilesOfTheSystemGain(t *testing.T) {
	f, _ := queueFile(t, OS(), t.TempDir(), Direct, 1, 0)
	d, _ := queueFile(t, NewCrash(CrashOptions{}), "/", Direct, 1, 0)
	if !Queued(f) || Queued(d) {
		t.Errorf("queued: %v for a file, %v for a double", Queued(f), Queued(d))
	}
}

// BenchmarkQueue is the rate of random reads of one block, by how many are under way.
func BenchmarkQueue(b *testing.B) {
	const blocks = 64 << 10
	f, _ := queueFile(b, OS(), b.TempDir(), Direct, blocks, 0)
	if !f.Direct() {
		b.Skip("no direct I/O here")
	}
	for _, depth := range []int{1, 16, 32, 64, 128, 256} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			q := NewQueue(depth)
			defer q.Close()
			var batch []*Request
			for range depth {
				batch = append(batch, request(f, 0, 1, 0))
			}
			done := slices.Clone(batch)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += len(done) {
				for _, r := range done {
					r.Off = int64(rand.IntN(blocks)) * BlockSize
				}
				q.Submit(done)
				done = q.Wait(done[:0], 1)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
		})
	}
}

// What a queue writes is in the file, beside what it reads at the same time; a write after the close fails as WriteAt
// does.
func TestQueue_Writes(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			fsys, dir, flag := k.open(t)
			const blocks, rounds, depth = 64, 20, 8
			f, data := queueFile(t, fsys, dir, flag, blocks, 0)
			q := NewQueue(depth)
			defer q.Close()
			for round := range rounds {
				var requests []*Request
				for b := 0; b < blocks; b += 2 { // one block is written, the next one read
					w := request(f, b, 1, b)
					w.Write = true
					for i := range w.P {
						w.P[i] = byte(round + b + i)
					}
					copy(data[b*BlockSize:], w.P)
					requests = append(requests, w, request(f, b+1, 1, b+1))
				}
				q.Submit(requests)
				done := q.Wait(nil, len(requests))
				if len(done) != len(requests) {
					t.Fatalf("%d of %d have ended", len(done), len(requests))
				}
				for _, r := range done {
					if r.Write && (r.N != BlockSize || r.Err != nil) {
						t.Errorf("write of block %d: %d, %v", r.Tag, r.N, r.Err)
					}
					if !r.Write {
						checkRead(t, r, data)
					}
				}
				all := request(f, 0, blocks, 0)
				q.Submit([]*Request{all})
				q.Wait(nil, 1)
				checkRead(t, all, data)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			w := request(f, 0, 1, 0)
			w.Write = true
			q.Submit([]*Request{w})
			q.Wait(nil, 1)
			if w.N != 0 || !errors.Is(w.Err, fs.ErrClosed) {
				t.Errorf("write of a closed file: %d, %v", w.N, w.Err)
			}
		})
	}
}

// A sync by a queue is one of the file: what was written before is durable, a failure comes once and as it is, and a
// closed file has none.
func TestQueue_Syncs(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			fsys, dir, flag := k.open(t)
			f, data := queueFile(t, fsys, dir, flag, 8, 0)
			q := NewQueue(4)
			defer q.Close()
			sync := func() error {
				r := &Request{File: f, Sync: true}
				q.Submit([]*Request{r})
				if done := q.Wait(nil, 1); len(done) != 1 || done[0] != r || r.N != 0 {
					t.Fatalf("ended: %v, N %d", done, r.N)
				}
				return r.Err
			}
			disk, double := fsys.(*CrashFS)
			if double {
				disk.FailSync(SyncFailOnce, "*")
				if err := sync(); !errors.Is(err, syscall.EIO) {
					t.Fatalf("a sync that fails: %v", err)
				}
				if _, err := f.WriteAt(data, 0); err != nil { // they are lost
					t.Fatal(err)
				}
			}
			if err := sync(); err != nil {
				t.Fatal(err)
			}
			if double {
				if err := disk.SyncDir(dir); err != nil {
					t.Fatal(err)
				}
				after := disk.Clone(Crash{Keep: KeepNone})
				entries, err := after.List(dir)
				if err != nil || len(entries) != 1 || entries[0].Size != int64(len(data)) {
					t.Fatalf("after a crash: %v, %v", entries, err)
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := sync(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("sync of a closed file: %v", err)
			}
		})
	}
}
