package fsx

import (
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// direct returns a file that the kernel's queue takes, and what it holds.
func direct(t *testing.T, blocks int) (*osFile, []byte) {
	f, data := queueFile(t, OS(), t.TempDir(), Direct, blocks, 0)
	if !f.Direct() {
		t.Skip("the file system has no direct I/O")
	}
	return f.(*osFile), data
}

// readAll reads every block of f by q and compares.
func readAll(t *testing.T, q *Queue, f File, data []byte) {
	t.Helper()
	var batch []*Request
	for i := range len(data) / BlockSize {
		batch = append(batch, request(f, i, 1, i))
	}
	q.Submit(batch)
	done := q.Wait(nil, len(batch))
	if len(done) != len(batch) {
		t.Fatalf("%d reads of %d ended", len(done), len(batch))
	}
	for _, r := range done {
		checkRead(t, r, data)
	}
}

func TestQueue_TakesTheKernels(t *testing.T) {
	f, data := direct(t, 8)
	a := NewAIO(nil, time.Hour)
	q := Queues{AIO: a}.New(4)
	readAll(t, q, f, data)
	if a.made.Load() == 0 {
		t.Skip("this kernel has no AIO, or may not be asked")
	}
	if a.helpers != 0 || !q.Async() || !q.Takes() {
		t.Errorf("%d goroutines read direct files; async %v", a.helpers, q.Async())
	}
}

// says is a kernel that answers requests for a context with some errors, then well.
type says struct {
	answers []error
	asked   int
}

func (s *says) ask() (err error) {
	if s.asked < len(s.answers) {
		err = s.answers[s.asked]
	}
	s.asked++
	return err
}

// A refusal that may pass is followed by another try after a pause; each is told, and names the limit.
func TestQueue_RefusedForNow(t *testing.T) {
	if !kernelQueues {
		t.Skip("no kernel is asked on 32 bits")
	}
	f, data := direct(t, 64)
	kernel := &says{answers: []error{unix.EAGAIN, unix.EAGAIN}}
	const pause = time.Hour
	a := NewAIO(kernel.ask, pause)
	var told []error
	q := Queues{AIO: a, Refused: func(err error) { told = append(told, err) }}.New(4)
	defer q.Close()
	if !q.Async() || !q.Takes() || kernel.asked != 0 {
		t.Error("before the first request: refused, or asked")
	}
	for asked := 1; asked <= 2; asked++ {
		for range 3 { // in the pause it is not asked again
			readAll(t, q, f, data)
			if kernel.asked != asked || q.Async() || q.Takes() || q.kernel.Load() != nil {
				t.Fatalf("asked %d times, want %d; async %v, takes %v", kernel.asked, asked, q.Async(), q.Takes())
			}
		}
		passed := *a.refused.Load()
		passed.at = passed.at.Add(-pause)
		a.refused.Store(&passed)
		if !q.Takes() || q.Async() {
			t.Errorf("after the pause: takes %v, async %v", q.Takes(), q.Async())
		}
	}
	if len(told) == 0 || !errors.Is(told[0], unix.EAGAIN) || !strings.Contains(told[0].Error(), "fs.aio-max-nr") {
		t.Errorf("told: %v", told)
	}
	before := len(told)
	readAll(t, q, f, data)
	if a.made.Load() == 0 {
		t.Skip("this kernel has no AIO, or may not be asked")
	}
	if kernel.asked != 3 || !q.Async() || !q.Takes() || len(told) != before {
		t.Errorf("when it gives a context: asked %d times, async %v, told %v", kernel.asked, q.Async(), told)
	}
}

// A kernel without asynchronous I/O is asked once.
func TestQueue_RefusedForGood(t *testing.T) {
	if !kernelQueues {
		t.Skip("no kernel is asked on 32 bits")
	}
	for _, errno := range []error{unix.ENOSYS, unix.EPERM} {
		f, data := direct(t, 64)
		kernel := &says{answers: []error{errno}}
		a := NewAIO(kernel.ask, 0)
		told := 0
		q := Queues{AIO: a, Refused: func(err error) {
			if told++; !errors.Is(err, errno) {
				t.Errorf("told of %v", err)
			}
		}}.New(4)
		for range 3 {
			readAll(t, q, f, data)
		}
		if kernel.asked != 1 || q.Async() || q.Takes() || told == 0 {
			t.Errorf("%v: asked %d times, async %v, takes %v, told %d times", errno, kernel.asked, q.Async(), q.Takes(), told)
		}
	}
}

// Queues that are used in turn share one context; those that are used at the same time have one each, up to a bound, and
// then the helpers.
func TestQueue_BorrowsContexts(t *testing.T) {
	f, data := direct(t, 8)
	kernel := &says{}
	a := NewAIO(kernel.ask, time.Hour)
	owner := Queues{AIO: a}
	for range 100 {
		q := owner.New(8)
		readAll(t, q, f, data)
		if q.kernel.Load() != nil {
			t.Fatal("an idle queue has a context")
		}
	}
	if a.made.Load() == 0 {
		t.Skip("this kernel has no AIO, or may not be asked")
	}
	if kernel.asked != 1 || a.free.Load() != 1 {
		t.Errorf("%d contexts for queues in turn, %d are free", kernel.asked, a.free.Load())
	}
	var queues []*Queue
	reads := map[*Queue]*Request{}
	for range maxContexts + 5 {
		q := owner.New(8)
		queues = append(queues, q)
		reads[q] = request(f, len(queues)%8, 1, 0)
		q.Submit([]*Request{reads[q]})
	}
	if kernel.asked != maxContexts || a.free.Load() != 0 {
		t.Errorf("%d contexts for more queues at a time, %d are free", kernel.asked, a.free.Load())
	}
	for i, q := range queues {
		if (q.kernel.Load() != nil) != (i < maxContexts) || i < maxContexts && !q.Async() {
			t.Errorf("queue %d has a context: %v", i, q.kernel.Load() != nil)
		}
		done := q.Wait(nil, 1)
		if len(done) != 1 || done[0] != reads[q] {
			t.Fatalf("queue %d got %v", i, done)
		}
		checkRead(t, done[0], data)
	}
	if a.free.Load() != maxContexts {
		t.Errorf("%d of %d contexts are free in the end", a.free.Load(), maxContexts)
	}
}

// Many queues at the same time, each with several goroutines that submit, exchange a few contexts.
func TestQueue_ContextsChangeHands(t *testing.T) {
	f, data := direct(t, 64)
	a := NewAIO(nil, time.Hour)
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			q := Queues{AIO: a}.New(8)
			defer q.Close()
			const submitters, reads = 3, 40
			var wg sync.WaitGroup
			for range submitters {
				wg.Go(func() {
					for range reads {
						q.Submit([]*Request{request(f, rand.IntN(64), 1, 0), request(f, rand.IntN(64), 1, 0)})
						runtime.Gosched()
					}
				})
			}
			for ended := 0; ended < 2*submitters*reads; {
				for _, r := range q.Wait(nil, 1) {
					checkRead(t, r, data)
					ended++
				}
			}
			wg.Wait()
		})
	}
	all.Wait()
	if a.made.Load() != a.free.Load() {
		t.Errorf("%d contexts are free of %d", a.free.Load(), a.made.Load())
	}
	for _, k := range a.contexts {
		if !k.idle() {
			t.Errorf("a context has %d of %d slots free", len(k.free), k.depth)
		}
	}
}

// The kernel takes none of a batch, or its first half.
func TestQueue_KernelRefusesReads(t *testing.T) {
	f, data := direct(t, 16)
	a := NewAIO(nil, time.Hour)
	q := Queues{AIO: a}.New(8)
	readAll(t, q, f, data)
	if a.made.Load() == 0 {
		t.Skip("this kernel has no AIO, or may not be asked")
	}
	var batch []*Request
	for i := range 16 {
		batch = append(batch, request(f, i, 1, i))
	}
	// A descriptor that is none, in the middle: the call ends before it, the next one refuses it.
	bad := &osFile{at: f.at, f: f.f, io: f.io, fd: 1 << 20}
	bad.direct.Store(true)
	batch[5].File, batch[11].File = bad, bad
	q.Submit(batch)
	done := q.Wait(nil, 16)
	if len(done) != 16 || !q.Idle() {
		t.Fatalf("%d reads ended", len(done))
	}
	for _, r := range done {
		checkRead(t, r, data)
	}
	if n := len(a.contexts[0].free); n != contextDepth {
		t.Errorf("%d slots are free", n)
	}
	// A context that is gone.
	if err := aio(unix.SYS_IO_DESTROY, a.contexts[0].context, 0); err != nil {
		t.Fatal(err)
	}
	readAll(t, q, f, data)
}

// cantRead is a device whose plain reads fail.
type cantRead struct{ err error }

func (c cantRead) ReadAt([]byte, int64) (int, error)  { return 0, c.err }
func (c cantRead) WriteAt([]byte, int64) (int, error) { return 0, c.err }

func TestQueue_ResultsOfTheKernel(t *testing.T) {
	f, data := direct(t, 2)
	result := func(n int) *Request {
		r := request(f, 0, 1, 0)
		r.os, r.N = f, n
		r.conclude()
		return r
	}
	for _, n := range []int{0, 512, -int(unix.EINVAL), -int(unix.EAGAIN), -int(unix.EINTR), -int(unix.ENOMEM)} {
		checkRead(t, result(n), data)
	}
	for _, errno := range []syscall.Errno{unix.EIO, unix.ENODATA, unix.EILSEQ} {
		if r := result(-int(errno)); r.N != 0 || !errors.Is(r.Err, errno) {
			t.Errorf("%v: %d, %v", errno, r.N, r.Err)
		}
	}
	f.io = cantRead{unix.EIO} // and when asked again it says so
	if r := result(512); !errors.Is(r.Err, unix.EIO) || errors.Is(r.Err, io.EOF) {
		t.Errorf("a read that stopped half-way: %v", r.Err)
	}
}

// What a sync that the kernel has begun ends with is its result: it is not tried again, which would hide it (F5). One
// that the kernel does not know is done by the plain call.
func TestQueue_ASyncThatFailed(t *testing.T) {
	f, _ := direct(t, 1)
	for errno, want := range map[syscall.Errno]error{
		unix.EIO: unix.EIO, unix.ENOSPC: unix.ENOSPC, unix.ENOMEM: unix.ENOMEM, unix.EAGAIN: unix.EAGAIN, unix.EINVAL: nil, unix.EOPNOTSUPP: nil,
	} {
		r := &Request{File: f, Sync: true, os: f, N: -int(errno)}
		if r.conclude(); r.N != 0 || !errors.Is(r.Err, want) || (want == nil) != (r.Err == nil) {
			t.Errorf("errno %v: %d, %v, want %v", errno, r.N, r.Err, want)
		}
	}
}
