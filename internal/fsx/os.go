package fsx

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"reflect"
	"sync/atomic"
	"syscall"
)

const (
	filePerm = 0o644
	dirPerm  = 0o755
)

// OS returns the file system of the operating system. All values it returns are the same one.
//
// On Linux, Direct is O_DIRECT where the file system takes it, Sync is fdatasync, Allocate is fallocate. Elsewhere
// Direct is never granted, Sync is what [os.File.Sync] does (F_FULLFSYNC on darwin, FlushFileBuffers on windows), Allocate
// only sets the size, and on windows SyncDir does nothing.
func OS() FS { return osFS{} }

// osFS is the file system of the process when root is nil, else that of one open directory.
type osFS struct{ root *osDir }

// osDir is a directory that is open.
type osDir struct {
	f    *os.File
	raw  syscall.RawConn
	path string // that it was opened by
}

// place is a name and the directory that it is looked up in.
type place struct {
	dir  *osDir // nil: base is a path, as package os takes it
	base string // relative to dir; "" means that the name is outside
	name string // as the caller knows it
}

func (s osFS) place(name string) place {
	if s.root == nil {
		return place{nil, name, name}
	}
	base, err := within(s.root.path, name)
	if err != nil || base == ".." {
		return place{s.root, "", name}
	}
	return place{s.root, base, name}
}

// error returns err, unless it is nil, as the error of a call that names p.
func (p place) error(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: p.name, Err: err}
}

// osFile leaves interruption, closing under concurrent calls and long transfers to os.File.
type osFile struct {
	at  place
	f   *os.File
	raw syscall.RawConn
	io  interface { // f; in tests, a device with manners that this machine's have not
		io.ReaderAt
		io.WriterAt
	}
	direct atomic.Bool
	fd     uintptr      // for those who hold a use
	uses   atomic.Int64 // reads of queues that are under way, plus closedUses once it is closed
}

// closedUses marks a file as closed. It is far from any number of uses.
const closedUses = 1 << 40

func (s osFS) Open(name string, f Flag) (File, error) {
	if !f.Valid() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EINVAL}
	}
	mode := os.O_RDONLY
	if f&Write != 0 {
		mode = os.O_RDWR
	}
	if f&Create != 0 {
		mode |= os.O_CREATE
	}
	if f&Exclusive != 0 {
		mode |= os.O_EXCL
	}
	p := s.place(name)
	file, direct, err := openDirect(p.open, mode, f&Direct != 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	var raw syscall.RawConn
	if err == nil {
		raw, err = file.SyscallConn()
	}
	if err != nil {
		return nil, join(err, file.Close())
	}
	o := &osFile{at: p, f: file, raw: raw, io: file}
	o.direct.Store(direct)
	if err := raw.Control(func(fd uintptr) { o.fd = fd }); err != nil {
		return nil, join(err, file.Close())
	}
	return o, nil
}

func (s osFS) MkdirAll(dir string) error { return s.place(dir).mkdirAll() }

// Remove gives the blocks of a large file back a moment later, where the kernel does that by itself.
func (s osFS) Remove(name string) error { return s.place(name).remove() }

func (s osFS) Rename(oldName, newName string) error { return s.place(oldName).rename(s.place(newName)) }

func (s osFS) List(dir string) ([]Entry, error) { return s.place(dir).list() }

func (s osFS) SyncDir(dir string) error {
	p := s.place(dir)
	if p.dir != nil && p.base == "" {
		if base, err := within(p.dir.path, dir); err == nil {
			p.base = base // the directory above
		}
	}
	return p.syncDir()
}

func (s osFS) OpenRoot(dir string) (Root, error) {
	f, err := s.place(dir).openDir()
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, join(err, f.Close())
	}
	return osRoot{osFS{&osDir{f: f, raw: raw, path: dir}}}, nil
}

// osRoot is the file system of one directory, which can be closed.
type osRoot struct{ osFS }

func (r osRoot) Close() error { return r.root.f.Close() }

func (o *osFile) ReadAt(p []byte, off int64) (int, error) {
	if err := o.check("read", p, off); err != nil {
		return 0, err
	}
	return o.readAt(p, off)
}

// readAt is ReadAt after the arguments have been checked, of a file that is not closed or has a use.
func (o *osFile) readAt(p []byte, off int64) (int, error) {
	n, err := o.io.ReadAt(p, off)
	if err == nil || err == io.EOF || !o.direct.Load() || !errors.Is(err, syscall.EINVAL) {
		return n, err
	}
	if o.refused(n, err) {
		return o.readAt(p, off)
	}
	// A read that got something and stopped is continued by os.File where it stopped, and the end of a file is seldom
	// aligned: that EINVAL is the end of the file, unless it is still further on.
	size, serr := o.Size()
	if serr != nil {
		return n, serr
	}
	if off+int64(n) >= size {
		return n, io.EOF
	}
	done := n &^ (BlockSize - 1)
	if done == 0 {
		return n, err
	}
	n, err = o.readAt(p[done:], off+int64(done))
	return done + n, err
}

func (o *osFile) WriteAt(p []byte, off int64) (int, error) {
	if err := o.check("write", p, off); err != nil {
		return 0, err
	}
	return o.writeAt(p, off)
}

// writeAt is WriteAt after the arguments have been checked, of a file that is not closed or has a use.
func (o *osFile) writeAt(p []byte, off int64) (int, error) {
	n, err := o.io.WriteAt(p, off)
	if err == nil {
		return n, nil
	}
	if o.refused(n, err) {
		return o.writeAt(p, off)
	}
	return 0, err
}

// check returns the error of a call with these arguments. Alignment is demanded also where the device would take
// less: what works here must work elsewhere.
func (o *osFile) check(op string, p []byte, off int64) error {
	var addr uintptr
	direct := o.direct.Load()
	if direct {
		addr = address(p)
	}
	if o.uses.Load() >= closedUses { // though a read of a queue may keep it open still
		return o.errClosed(op)
	}
	return checkRange(op, o.f.Name(), direct, off, len(p), addr)
}

// refused is called when the device refused an aligned direct call. It turns the file into a buffered one and reports
// whether the call is worth another try.
func (o *osFile) refused(n int, err error) bool {
	if n != 0 || !errors.Is(err, syscall.EINVAL) || !o.direct.Load() || !o.setBuffered() {
		return false
	}
	o.direct.Store(false)
	return true
}

// opener opens one file, with a mode as [os.OpenFile] takes it.
type opener func(mode int) (*os.File, error)

// address returns the address of the first byte of p, 0 if there is none. A pointer goes into reflect without being
// allocated, a slice would not.
func address(p []byte) uintptr {
	if len(p) == 0 {
		return 0
	}
	return reflect.ValueOf(&p[0]).Pointer()
}

func (o *osFile) Sync() error { return o.sync() }

func (o *osFile) Allocate(off, n int64) error {
	if off < 0 || n <= 0 || off+n < 0 {
		return o.fail("allocate", syscall.EINVAL)
	}
	return o.allocate(off, n)
}

// grow is Allocate without a reservation.
func (o *osFile) grow(end int64) error {
	size, err := o.Size()
	if err != nil || size >= end {
		return err
	}
	return o.Truncate(end)
}

func (o *osFile) Truncate(n int64) error { return o.f.Truncate(n) }

func (o *osFile) Size() (int64, error) {
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (o *osFile) Direct() bool { return o.direct.Load() }

func (o *osFile) InPlace() error {
	info, err := o.f.Stat()
	if err != nil {
		return err
	}
	now, err := o.at.stat()
	if err == nil && now != idOf(info) || errors.Is(err, fs.ErrNotExist) {
		return o.fail("look up", ErrReplaced)
	}
	return err
}

// Close closes the file; its descriptor is kept until no read of a queue uses it any more (F6).
func (o *osFile) Close() error {
	for {
		n := o.uses.Load()
		if n >= closedUses {
			return o.errClosed("close")
		}
		if o.uses.CompareAndSwap(n, n+closedUses) {
			if n > 0 {
				return nil
			}
			return o.f.Close()
		}
	}
}

// use keeps the descriptor open until unuse, unless the file is closed already.
func (o *osFile) use() bool {
	for {
		n := o.uses.Load()
		if n >= closedUses {
			return false
		}
		if o.uses.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (o *osFile) unuse() {
	if o.uses.Add(-1) == closedUses {
		o.f.Close()
	}
}

func (o *osFile) errClosed(op string) error { return o.fail(op, os.ErrClosed) }

func (o *osFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: o.f.Name(), Err: err}
}
