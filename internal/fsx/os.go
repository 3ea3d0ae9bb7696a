package fsx

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

const (
	filePerm = 0o600
	dirPerm  = 0o700
)

// OS returns the file system of the operating system. All values it returns are the same one.
//
// On Linux, Direct is O_DIRECT where the file system takes it, Sync is fdatasync, Allocate is fallocate. Elsewhere
// Direct is never granted, Sync is what [os.File.Sync] does (F_FULLFSYNC on darwin, FlushFileBuffers on windows), Allocate
// only sets the size, and on windows SyncDir does nothing.
//
// Files that nobody uses at the moment need no descriptor: the process keeps up to a quarter of its limit (RLIMIT_NOFILE),
// and gives back what it can when there are none left.
func OS() FS { return osFS{} }

// osFS is the file system of the process when root is nil, else that of one open directory.
type osFS struct{ root *osDir }

// osDir is a directory that is open.
type osDir struct {
	f      *os.File
	raw    syscall.RawConn
	path   string // that it was opened by
	closed atomic.Bool
	users  atomic.Int64 // open files, which may have to be opened again, and one for the Root until it is closed
}

func (d *osDir) release() error {
	if d.users.Add(-1) == 0 {
		return d.f.Close()
	}
	return nil
}

// place is a name and the directory that it is looked up in.
type place struct {
	dir  *osDir // nil: base is a path, as package os takes it
	base string // relative to dir
	name string // as the caller knows it
	bad  error  // why the name cannot be looked up; nil if it can
}

func (s osFS) place(name string) place {
	if s.root == nil {
		return place{base: name, name: name}
	}
	base, err := within(s.root.path, name)
	switch {
	case s.root.closed.Load():
		err = os.ErrClosed
	case base == "..":
		err = ErrOutside
	}
	return place{s.root, base, name, err}
}

// in returns the place of a name in the directory p.
func (p place) in(base string) place {
	return place{p.dir, filepath.Join(p.base, base), filepath.Join(p.name, base), p.bad}
}

// error returns err, unless it is nil, as the error of a call that names p.
func (p place) error(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: p.name, Err: err}
}

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
	return shared().openFile(s.place(name), mode, f&Direct != 0)
}

func (s osFS) MkdirAll(dir string) error { return s.place(dir).mkdirAll() }

// Remove gives the blocks of a large file back a moment later, where the kernel does that by itself.
func (s osFS) Remove(name string) error {
	p := s.place(name)
	left, err := shared().leaving(p)
	if err != nil {
		return err
	}
	defer left()
	return p.remove()
}

func (s osFS) Rename(oldName, newName string) error {
	from, to := s.place(oldName), s.place(newName)
	left, err := shared().leaving(from, to)
	if err != nil {
		return err
	}
	defer left()
	return from.rename(to)
}

func (s osFS) RenameNew(oldName, newName string) error {
	from, to := s.place(oldName), s.place(newName)
	left, err := shared().leaving(from)
	if err != nil {
		return err
	}
	defer left()
	return from.renameNew(to)
}

func (s osFS) List(dir string) ([]Entry, error) { return s.place(dir).list() }

func (s osFS) SyncDir(dir string) error {
	p := s.place(dir)
	if p.base == ".." && p.bad == ErrOutside {
		p.bad = nil // the directory above
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
	d := &osDir{f: f, raw: raw, path: dir}
	d.users.Store(1)
	return osRoot{osFS{d}}, nil
}

// osRoot is the file system of one directory, which can be closed.
type osRoot struct{ osFS }

func (r osRoot) Close() error {
	if r.root.closed.Swap(true) {
		return &fs.PathError{Op: "close", Path: r.root.path, Err: os.ErrClosed}
	}
	return r.root.release()
}
