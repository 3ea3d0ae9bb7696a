package fsx

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a file, with O_DIRECT if it is wanted and the file system takes it, and reports whether it did.
func openDirect(open opener, mode int, want bool) (f *os.File, direct bool, err error) {
	if !want {
		f, err = open(mode)
		return f, false, err
	}
	f, err = open(mode | unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) {
		// The refusal comes after the file was made: it is ours, though it is there.
		f, err = open(mode &^ os.O_EXCL)
		return f, false, err
	}
	if err != nil {
		return nil, false, err
	}
	o := &osFile{f: f, fd: f.Fd()}
	direct = o.blocksFit() || !o.setBuffered()
	return f, direct, nil
}

// blocksFit reports whether blocks of BlockSize are enough for direct I/O on the file, as far as the kernel says
// (since 6.1); what it does not say shows at the first I/O.
func (o *osFile) blocksFit() bool {
	var st unix.Statx_t
	err := o.control("stat", func(fd int) error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	})
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 {
		return true
	}
	fits := func(align uint32) bool { return align != 0 && align <= BlockSize }
	return fits(st.Dio_mem_align) && fits(st.Dio_offset_align)
}

// setBuffered turns O_DIRECT off and reports whether that worked.
func (o *osFile) setBuffered() bool {
	err := o.control("fcntl", func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&^unix.O_DIRECT)
		return err
	})
	return err == nil
}

func (o *osFile) sync() error { return o.control("fdatasync", unix.Fdatasync) }

// minAllocate is the least that allocate asks for at once, in bytes.
const minAllocate = 4 << 20

// allocate reserves [off, off+n).
func (o *osFile) allocate(off, n int64) error {
	return o.allocateBy(off, n, func(off, n int64) error {
		return o.control("fallocate", func(fd int) error { return unix.Fallocate(fd, 0, off, n) })
	})
}

// unsupported are what fallocate says where it is not to be had: on a file system without it, or because somebody forbids
// the call.
var unsupported = [...]error{unix.EOPNOTSUPP, unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.ENODEV}

// allocateBy is allocate by a given call; where that is not to be had, the file only grows.
//
// A call that fails for lack of space keeps what it got: ext4 takes every free block, and the file grows; xfs can keep
// gigabytes behind a size that stays the same. Both give back what lies behind the size when it is set, also to what it
// is.
func (o *osFile) allocateBy(off, n int64, reserve func(off, n int64) error) error {
	before, err := o.size()
	if err != nil {
		return err
	}
	if err = inSteps(off, n, reserve); err == nil {
		return nil
	}
	for _, e := range unsupported {
		if errors.Is(err, e) {
			return o.grow(off + n)
		}
	}
	if errors.Is(err, unix.EBADF) { // open for reading only
		return err
	}
	return join(err, o.f.Truncate(before))
}

// inSteps calls reserve for [off, off+n), all at once if nothing interrupts it. A file system may undo a whole call
// that a signal interrupts (tmpfs does), so a process that gets signals at a steady rate could try for ever: every
// interruption halves what is asked for at once.
func inSteps(off, n int64, reserve func(off, n int64) error) error {
	end, step := off+n, n
	for off < end {
		step = min(step, end-off)
		switch err := reserve(off, step); {
		case err == nil:
			off += step
		case errors.Is(err, unix.EINTR):
			step = max(step/2, minAllocate)
		default:
			return err
		}
	}
	return nil
}

// control runs a system call on the descriptor, for who has a use. Interrupted calls are retried, but for fallocate, which
// has its own way.
func (o *osFile) control(op string, call func(fd int) error) error {
	for {
		switch errno := call(int(o.fd)); {
		case errno == unix.EINTR && op != "fallocate":
		case errno != nil:
			return o.fail(op, errno)
		default:
			return nil
		}
	}
}
