package fsx

import (
	"errors"
	"io"
	"syscall"
	"testing"

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
	q := NewQueue(4)
	readAll(t, q, f, data)
	if !q.kernel.ready() {
		t.Skip("this kernel has no AIO, or may not be asked")
	}
	if q.workers != 0 {
		t.Errorf("%d goroutines read direct files", q.workers)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if q.kernel.region != nil || q.Close() != nil {
		t.Error("closing again")
	}
}

func TestQueue_KernelHasNone(t *testing.T) {
	f, data := direct(t, 64)
	q := NewQueue(4)
	defer q.Close()
	q.noKernel = true
	readAll(t, q, f, data)
	if q.kernel.ready() {
		t.Error("it was asked again")
	}
	// More events than the kernel gives anybody is EINVAL or EAGAIN.
	q = NewQueue(1 << 30 / iocbBytes)
	readAll(t, q, f, data)
	if !q.noKernel || q.kernel.ready() {
		t.Error("a queue without limit was made")
	}
}

// The kernel takes none of a batch, or its first half.
func TestQueue_KernelRefusesReads(t *testing.T) {
	f, data := direct(t, 16)
	q := NewQueue(8)
	readAll(t, q, f, data)
	if !q.kernel.ready() {
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
	if len(q.kernel.free) != 8 {
		t.Errorf("%d slots are free", len(q.kernel.free))
	}
	// A context that is gone.
	if err := aio(unix.SYS_IO_DESTROY, q.kernel.context, 0); err != nil {
		t.Fatal(err)
	}
	readAll(t, q, f, data)
	if err := q.Close(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("closing: %v", err)
	}
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
		r.settle()
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
		if r.settle(); r.N != 0 || !errors.Is(r.Err, want) || (want == nil) != (r.Err == nil) {
			t.Errorf("errno %v: %d, %v, want %v", errno, r.N, r.Err, want)
		}
	}
}
