package fsx

import (
	"errors"
	"io/fs"
	"math/bits"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// kernelQueue is a context of Linux AIO (io_setup(2)) with the memory that it shares with the kernel, off the heap:
//
//	+-----------------+------------------+-----------------+
//	| iocb, 64 bytes  | pointer to iocb  | event, 32 bytes |
//	| each, one per   | each, those of   | each, those of  |
//	| slot            | the next call    | the last wait   |
//	+-----------------+------------------+-----------------+
//
// prepare, submit and takeBack are for one goroutine at a time, wait and event for another one; what both touch is
// under the queue's lock, where prepare, takeBack and event are called.
type kernelQueue struct {
	context uintptr
	depth   int
	region  *mem.Region
	slots   []*Request // by slot; nil is free
	free    []int      // slots
	batch   []int      // slots prepared, not yet submitted
	at      int        // of batch: the first that is not
}

const (
	iocbBytes    = 64
	pointerBytes = 8
	eventBytes   = 32

	// Within struct iocb.
	iocbData   = 0
	iocbOpcode = 16 // u16 opcode, s16 priority, u32 descriptor
	iocbBuf    = 24
	iocbLength = 32
	iocbOffset = 40

	// IOCB_CMD_PREAD, IOCB_CMD_PWRITE and, which the kernel takes since 4.18, IOCB_CMD_FDSYNC.
	iocbRead  = 0
	iocbWrite = 1
	iocbSync  = 3

	// Within struct io_event.
	eventData   = 0
	eventResult = 16
)

// kernelQueues says whether there may be contexts: pointers are of another size on 32 bits.
const kernelQueues = bits.UintSize == 64

// idle reports whether every slot is free.
func (k *kernelQueue) idle() bool { return len(k.free) == k.depth }

// open makes the context. It fails where the kernel has none (ENOSYS), may not (EPERM), or has given out all that the
// system wide limit allows (EAGAIN, see /proc/sys/fs/aio-max-nr).
func (k *kernelQueue) open(depth int) error {
	region, err := mem.Map(depth * (iocbBytes + pointerBytes + eventBytes))
	if err != nil {
		return err
	}
	k.depth, k.region = depth, region
	if err := k.setup(); err != nil {
		k.region = nil
		return join(err, region.Unmap())
	}
	k.slots, k.free, k.batch = make([]*Request, depth), make([]int, depth), make([]int, 0, depth)
	for i := range k.free {
		k.free[i] = depth - 1 - i
	}
	return nil
}

// setup makes a context and tries whether its events may be asked for.
func (k *kernelQueue) setup() error {
	k.word(k.eventAt(0), 0) // where the call puts the context
	addr := mem.Address(k.region.At(k.eventAt(0)))
	if err := aio(unix.SYS_IO_SETUP, uintptr(k.depth), addr); err != nil {
		return err
	}
	k.context = uintptr(mem.Load(k.region.At(k.eventAt(0))))
	_, err := k.events(0)
	if err != nil {
		err = join(err, aio(unix.SYS_IO_DESTROY, k.context, 0))
	}
	return err
}

func aio(call, a, b uintptr) error {
	if _, _, errno := unix.Syscall(call, a, b, 0); errno != 0 {
		return errno
	}
	return nil
}

func (k *kernelQueue) iocbAt(slot int) uintptr { return uintptr(slot * iocbBytes) }
func (k *kernelQueue) pointerAt(i int) uintptr { return uintptr(k.depth*iocbBytes + i*pointerBytes) }
func (k *kernelQueue) eventAt(i int) uintptr {
	return uintptr(k.depth*(iocbBytes+pointerBytes) + i*eventBytes)
}

func (k *kernelQueue) word(off uintptr, v uint64) { mem.StorePlain(k.region.At(off), v) }

// prepare fills iocbs for as many of requests as there are slots, of which at most most are used, and returns how many.
func (k *kernelQueue) prepare(requests []*Request, most int) int {
	n := min(len(requests), most-(k.depth-len(k.free)))
	k.batch, k.at = k.batch[:0], 0
	for i, r := range requests[:n] {
		slot := k.free[len(k.free)-1]
		k.free = k.free[:len(k.free)-1]
		k.slots[slot] = r
		k.batch = append(k.batch, slot)
		at := k.iocbAt(slot)
		k.word(at+iocbData, uint64(slot))
		opcode := uint64(iocbRead)
		switch {
		case r.Sync:
			opcode = iocbSync
		case r.Write:
			opcode = iocbWrite
		}
		k.word(at+iocbOpcode, uint64(r.os.fd)<<32|opcode)
		k.word(at+iocbBuf, uint64(address(r.P)))
		k.word(at+iocbLength, uint64(len(r.P)))
		k.word(at+iocbOffset, uint64(r.Off))
		k.word(k.pointerAt(i), uint64(mem.Address(k.region.At(at))))
	}
	return n
}

// submit gives the kernel what prepare has prepared, and returns how many it took: 0 when it refuses the first.
func (k *kernelQueue) submit() int {
	for {
		pointers := mem.Address(k.region.At(k.pointerAt(k.at)))
		n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, k.context, uintptr(len(k.batch)-k.at), pointers)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0
		}
		k.at += int(n)
		return int(n)
	}
}

// takeBack returns the first request that the kernel has not taken, and frees its slot.
func (k *kernelQueue) takeBack() *Request {
	slot := k.batch[k.at]
	k.at++
	return k.freeSlot(slot)
}

func (k *kernelQueue) freeSlot(slot int) *Request {
	r := k.slots[slot]
	k.slots[slot] = nil
	k.free = append(k.free, slot)
	return r
}

// wait waits until atLeast requests have ended, and returns how many have.
func (k *kernelQueue) wait(atLeast int) int {
	n, err := k.events(atLeast)
	if err != nil {
		// The context is good, and so are the arguments: setup has tried. Reads that are under way must not be
		// given up, the kernel may still write to their buffers.
		panic("fsx: io_getevents: " + err.Error())
	}
	return n
}

func (k *kernelQueue) events(atLeast int) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, k.context, uintptr(atLeast), uintptr(k.depth),
			mem.Address(k.region.At(k.eventAt(0))), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

// event returns the request that the i-th event of the last wait is about, with its result in N: a negative one is an
// errno.
func (k *kernelQueue) event(i int) *Request {
	at := k.eventAt(i)
	r := k.freeSlot(int(mem.Load(k.region.At(at + eventData))))
	r.N = int(int64(mem.Load(k.region.At(at + eventResult))))
	return r
}

// conclude turns the kernel's result into that of ReadAt, WriteAt or Sync. What is not plainly a success or a failure of the
// device is asked for again in the plain way: the end of the file, what stopped half-way, a device that refuses direct
// I/O. A sync that the kernel has begun is not: a second one would not say what the first has found (F5).
func (r *Request) conclude() {
	errno := syscall.Errno(-r.N)
	if r.Write {
		r.os.changed()
	}
	switch {
	case r.N == len(r.P):
		if r.Sync {
			r.os.syncedUpTo(r.changes)
		}
	case r.Sync && (errno == unix.EINVAL || errno == unix.EOPNOTSUPP), !r.Sync && (r.N >= 0 || again(errno)):
		r.plainly()
	default:
		r.N, r.Err = 0, &fs.PathError{Op: r.op(), Path: r.os.at.name, Err: errno}
	}
}

func again(errno syscall.Errno) bool {
	for _, e := range [...]syscall.Errno{unix.EINVAL, unix.EAGAIN, unix.EINTR, unix.ENOMEM, unix.EOPNOTSUPP} {
		if errors.Is(errno, e) {
			return true
		}
	}
	return false
}
