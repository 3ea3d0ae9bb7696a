package fsx

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// largeFile is from which size on, in bytes, a file's blocks take long to give back: some 0.2 ms per MiB on ext4.
const largeFile = 1 << 20

// remove removes a name, and of a large file does not wait until its blocks are free. That is done when the last
// reference to the file goes, within unlink or close, and would keep the caller's processor from others, for milliseconds
// of waiting: see leaving.
func (p place) remove() error {
	fd, err := p.descriptor(unix.O_RDONLY|unix.O_DIRECT|unix.O_NOFOLLOW|unix.O_NONBLOCK, forDirectory)
	if err != nil {
		return p.unlink()
	}
	var st unix.Stat_t
	large := unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size >= largeFile
	if !large { // and with a reference gone before, so that it is as if it had never been opened
		unix.Close(fd)
		return p.unlink()
	}
	err = p.unlink()
	if err == nil {
		left.read(fd)
	}
	unix.Close(fd)
	return err
}

// leaving reads the first block of files whose last descriptor is about to be closed, for no other purpose than that a
// read holds a reference to its file: when it ends, after the close, the reference goes in an interrupt, and the kernel
// leaves what is to be done then to a thread of its own. Should the read end before the close, or should the kernel
// have no queue for it, the close does that work.
type leaving struct {
	mu     sync.Mutex
	kernel *kernelQueue // of mu: borrowed for good
	block  []byte       // nobody looks at it
}

// leavingDepth is how many such reads are under way at most.
const leavingDepth = 16

// left is for the whole process.
var left leaving

// read begins a read of the first block.
func (l *leaving) read(fd int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ready() {
		return
	}
	for i := range l.kernel.wait(0) {
		l.kernel.event(i)
	}
	r := &Request{P: l.block, os: &osFile{fd: uintptr(fd)}}
	if l.kernel.prepare([]*Request{r}, leavingDepth) == 1 && l.kernel.submit() == 0 {
		l.kernel.takeBack()
	}
}

// ready borrows a context unless there is one, and reports whether there is. The caller holds mu.
func (l *leaving) ready() bool {
	if l.kernel == nil {
		l.block = mem.AlignedBytes(BlockSize, BlockSize)
		l.kernel = sharedAIO().borrow()
	}
	return l.kernel != nil
}
