package fsx

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// A lock is held twice: by flock, against other processes, and in a registry, against this one. The registry is
// needed because not every platform and file system has a lock that refuses its own process (fcntl locks do not, and
// network file systems turn flock into those). It knows directories by device and inode, so that a link or a second
// mount is the same directory.
//
// flock is asked of dir/LOCK and of dir itself. The second is for the shared owner of a directory without LOCK, which
// may not create it: a writer that comes and creates it must still be refused.
var registry struct {
	mu   sync.Mutex
	held []*dirLock
}

type dirLock struct {
	info   fs.FileInfo // of the directory
	shared bool
	files  []*os.File // what carries the locks; the open directory also keeps its inode from being reused
}

func (s osFS) Lock(dir string, shared bool) (release func() error, err error) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	return s.lock(dir, shared, true)
}

// lockHere is [LockHere].
func (s osFS) lockHere(dir string, shared bool) (release func() error, err error) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	return s.lock(dir, shared, false)
}

// lock takes the lock, and has other processes see it if outside is set. The registry is locked.
func (s osFS) lock(dir string, shared, outside bool) (release func() error, err error) {
	l, err := lockDir(s.place(dir), shared, outside)
	if err != nil {
		return nil, err
	}
	registry.held = append(registry.held, l)
	return sync.OnceValue(l.release), nil
}

// LockHere is Lock against this process only, for a directory on a file system that has no flock. It creates no file. A
// double of a file system, which has no other process, is not locked at all.
func LockHere(fsys FS, dir string, shared bool) (release func() error, err error) {
	if s, ok := fsys.(interface {
		lockHere(dir string, shared bool) (func() error, error)
	}); ok {
		return s.lockHere(dir, shared)
	}
	return func() error { return nil }, nil
}

// lockDir takes the lock. The registry is locked.
func lockDir(p place, shared, outside bool) (_ *dirLock, err error) {
	d, err := p.openDir()
	if err != nil {
		return nil, err
	}
	l := &dirLock{shared: shared, files: []*os.File{d}}
	defer func() {
		if err != nil {
			err = join(err, l.close())
		}
	}()
	if l.info, err = d.Stat(); err != nil {
		return nil, err
	}
	for _, other := range registry.held {
		if os.SameFile(other.info, l.info) && !(shared && other.shared) {
			return nil, p.error("lock", ErrLocked)
		}
	}
	if !outside {
		return l, nil
	}
	mode := os.O_RDWR | os.O_CREATE
	if shared {
		mode = os.O_RDONLY
	}
	f, err := p.in(LockName).open(mode, forDirectory)
	switch {
	case err == nil:
		l.files = append(l.files, f)
		if err := lockFile(f, shared); err != nil {
			return nil, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	case !shared || !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if err := lockFile(d, shared); errors.Is(err, ErrLocked) {
		// Any other error is a file system that locks no directories; LOCK carries the lock then.
		return nil, p.error("lock", err)
	}
	return l, nil
}

// release gives the lock back: first to other processes, then to this one.
func (l *dirLock) release() error {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	err := l.close()
	registry.held = slices.DeleteFunc(registry.held, func(o *dirLock) bool { return o == l })
	return err
}

// close ends the locks and closes the files.
func (l *dirLock) close() error {
	var err error
	for _, f := range l.files {
		_ = unlockFile(f) // one that was not locked: closing it is what counts
		err = join(err, f.Close())
	}
	return err
}
