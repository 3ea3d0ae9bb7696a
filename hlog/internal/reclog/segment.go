package reclog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// A segment file is allocated ahead of the written end, so that a full disk mostly shows in Allocate and not in the middle
// of a write (a file system that copies on write may refuse that all the same, which is an error like any other): by a quarter of what the log has come to, within these bounds, so that a small store takes little disk.
const (
	minAllocate = 16 << 10
	maxAllocate = 4 << 20
)

// allocateStep returns the unit in which the segments of a log that ends at end are allocated.
func allocateStep(end uint64) uint64 {
	return min(max(uint64(1)<<bits.Len64(end/8), minAllocate), maxAllocate)
}

// Segments are the files that hold the log on disk: segment n holds bytes [n*size, (n+1)*size). Safe for concurrent
// use.
type Segments struct {
	fs       fsx.FS
	dir      string
	path     func(n uint64) string
	size     uint64
	writable bool
	created  func(path string) // is told of files that were created; it must not wait
	life     *life.Life        // of the store

	mu   lock.RWMutex[lock.Segments]
	open map[uint64]*segment
}

// segment is one open file. It is closed when it was forgotten and its last user has returned it.
type segment struct {
	file fsx.File
	refs atomic.Int64  // users, plus one while it is in the table
	size atomic.Uint64 // allocated bytes
	gone atomic.Bool   // forgotten, because the file is to be removed
}

// SegmentsConfig says where segments are and how they are opened.
type SegmentsConfig struct {
	FS       fsx.FS
	Dir      string                // the directory that the files are in
	Path     func(n uint64) string // of segment n, in Dir
	Bytes    int64                 // of log in a segment, a power of two
	Writable bool                  // else files are opened for reading, and none is made
	Created  func(path string)     // is told of files that were created; it must not wait
	Life     *life.Life            // of the store that has the segments, and the log in them
}

// NewSegments returns the segments of a log. None is opened before it is used.
func NewSegments(c SegmentsConfig) *Segments {
	return &Segments{fs: c.FS, dir: c.Dir, path: c.Path, size: uint64(c.Bytes), writable: c.Writable, created: c.Created, life: c.Life, open: map[uint64]*segment{}}
}

// Bytes returns how many bytes of log a segment holds, a power of two.
func (s *Segments) Bytes() uint64 { return s.size }

// acquire returns segment n with a reference. If there is no such file it makes one, after having told making, unless
// that is nil.
func (s *Segments) acquire(n uint64, making func(path string)) (*segment, error) {
	s.mu.RLock()
	g := s.open[n]
	if g != nil {
		g.refs.Add(1)
	}
	s.mu.RUnlock()
	if g != nil {
		return g, nil
	}
	return s.openSegment(n, making)
}

func (s *Segments) openSegment(n uint64, making func(path string)) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Phase().Over() {
		return nil, ErrClosed // a read that has outlived the store
	}
	if g := s.open[n]; g != nil {
		g.refs.Add(1)
		return g, nil
	}
	name := s.path(n)
	flag := fsx.Direct
	if s.writable {
		flag |= fsx.Write
	}
	f, err := s.fs.Open(name, flag)
	if making != nil && errors.Is(err, fs.ErrNotExist) {
		making(name)
		if f, err = s.fs.Open(name, flag|fsx.Create|fsx.Exclusive); err == nil {
			s.created(name)
		} else if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: %w", fsx.ErrReplaced, err) // its directory is gone, or it came into being just now
		}
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, err
	}
	s.closeSome()
	g := &segment{file: f}
	g.size.Store(uint64(size))
	g.refs.Store(2)
	s.open[n] = g
	return g, nil
}

// maxOpen bounds how many segment files are kept open.
const maxOpen = 1024

// closeSome closes files that nobody is using when many are open; Durability uses those that were written, until their
// sync. The caller holds mu: nobody else takes a reference.
func (s *Segments) closeSome() {
	for n, g := range s.open {
		if len(s.open) < maxOpen {
			return
		}
		if g.refs.Load() == 1 {
			delete(s.open, n)
			g.release()
		}
	}
}

func (g *segment) release() {
	if g.refs.Add(-1) == 0 {
		g.file.Close()
	}
}

// forWrite returns the segment of n bytes at log offset a, which are about to be written, with a reference and with room
// for them; making is as for acquire.
func (s *Segments) forWrite(a, n uint64, making func(path string)) (*segment, error) {
	g, err := s.acquire(a/s.size, making)
	if err != nil {
		return nil, err
	}
	if err := s.grow(g, a, n); err != nil {
		g.release()
		return nil, err
	}
	return g, nil
}

// grow allocates g so that it has room for n bytes at log offset a, and a step further.
func (s *Segments) grow(g *segment, a, n uint64) error {
	end := a%s.size + n
	if end <= g.size.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	have := g.size.Load()
	if end <= have {
		return nil
	}
	step := allocateStep(a + n)
	want := min((end+step-1)/step*step, s.size)
	if err := g.file.Allocate(int64(have), int64(want-have)); err != nil {
		want = end // less may still fit
		if err := g.file.Allocate(int64(have), int64(want-have)); err != nil {
			return err
		}
	}
	g.size.Store(want)
	return nil
}

// readAt fills b from log offset a; both are multiples of BlockBytes and b is aligned in memory. It returns the
// number of bytes that the segment has, fewer than asked for at its end; the bytes lie in one segment.
func (s *Segments) readAt(b []byte, a uint64) (int, error) {
	g, err := s.forRead(a)
	if err != nil {
		return 0, err
	}
	defer g.release()
	return ofSegment(g.file.ReadAt(b, int64(a%s.size)))
}

// forRead returns the segment of log offset a, with a reference.
func (s *Segments) forRead(a uint64) (*segment, error) {
	g, err := s.acquire(a/s.size, nil)
	if errors.Is(err, fs.ErrNotExist) {
		err = &fsx.CorruptionError{File: s.path(a / s.size), Reason: "log segment is missing"}
	}
	return g, err
}

// ofSegment returns what a read of a segment says: its end is no error.
func ofSegment(n int, err error) (int, error) {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

// Kinds returns how many segment files are open with direct I/O, and how many without.
func (s *Segments) Kinds() (direct, buffered int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.open {
		if g.file.Direct() {
			direct++
		} else {
			buffered++
		}
	}
	return direct, buffered
}

// Forget closes segment n, whose file is about to be removed. Users that hold it go on reading.
func (s *Segments) Forget(n uint64) {
	s.mu.Lock()
	g := s.open[n]
	delete(s.open, n)
	s.mu.Unlock()
	if g != nil {
		g.gone.Store(true)
		g.release()
	}
}

// Close closes the files that nobody is using, and the others when they are returned. The life of the store is over, so that
// later uses are ErrClosed.
func (s *Segments) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, g := range s.open {
		delete(s.open, n)
		g.release()
	}
	return nil
}

// Corrupt returns the error for damage at address a: a *fsx.CorruptionError that names the file and the offset in it.
func (s *Segments) Corrupt(a uint64, format string, args ...any) error {
	return &fsx.CorruptionError{File: s.path(a / s.size), Offset: int64(a % s.size), Reason: fmt.Sprintf(format, args...)}
}
