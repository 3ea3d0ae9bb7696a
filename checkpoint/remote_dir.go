package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// dirRemote keeps objects as files below a directory: a mounted share, another disk. An object is written to a
// temporary file, synced, renamed and its directory synced. The name of a temporary file begins with '.', which no
// object's does.
//
// Several processes may use one directory, and one that is stopped in the middle of a put holds nobody up. Writers hold its
// lock shared; the removal of what crashed writers left, which is tried once when the remote is opened, holds it alone.
// PutIfAbsent gives the temporary file a name that nothing has, which only one can. Where the file system has no such call,
// it holds the lock alone instead: then a process that is stopped while it puts something does hold the others up.
type dirRemote struct {
	fs   fsx.FS
	root string
	temp atomic.Uint64 // counts temporary files
	id   int64         // tells those of one process from another's

	mu   lock.Mutex[lock.Leaf]
	made map[string]bool // directories that are there, durably
}

// NewDirRemote returns a Remote that keeps its objects in a directory, which is made if there is none.
func NewDirRemote(path string) (Remote, error) { return NewDirRemoteOn(fsx.OS(), path) }

// NewDirRemoteOn is NewDirRemote on a file system other than the operating system's: for tests.
func NewDirRemoteOn(fsys fsx.FS, path string) (Remote, error) {
	r := &dirRemote{fs: fsys, root: path, id: time.Now().UnixNano(), made: make(map[string]bool)}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("checkpoint: open remote %s: %w", path, err)
	}
	return r, nil
}

func (r *dirRemote) open() error {
	if err := r.makeDir("."); err != nil {
		return err
	}
	temps, err := r.leftovers(r.root)
	if err != nil {
		return err
	}
	if len(temps) == 0 {
		if f, err := r.fs.Open(filepath.Join(r.root, fsx.LockName), fsx.Read); err == nil {
			return f.Close() // nothing to remove, and a file to lock is there
		}
	}
	release, err := r.fs.Lock(r.root, false)
	if errors.Is(err, fsx.ErrLocked) {
		return nil // somebody is at work here, and what looks left over may be theirs
	}
	if readOnly(err) {
		return nil // it can be read
	}
	if err != nil {
		return err
	}
	// Nobody writes now: what was there before is nobody's, or has got its real name since.
	for _, name := range temps {
		if gone := r.fs.Remove(name); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return errors.Join(err, release())
}

// leftovers returns the temporary files in dir and below.
func (r *dirRemote) leftovers(dir string) (temps []string, err error) {
	entries, err := r.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != r.root {
		return nil, nil // removed meanwhile
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name)
		switch {
		case e.Dir:
			more, bad := r.leftovers(name)
			temps, err = append(temps, more...), errors.Join(err, bad)
		case isTemp(e.Name):
			temps = append(temps, name)
		}
	}
	return temps, err
}

// readOnly reports whether an error says that nothing may be written.
func readOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}

func isTemp(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, fsx.TempSuffix)
}

// locked calls f with the lock, waiting for it as long as ctx allows.
func (r *dirRemote) locked(ctx context.Context, shared bool, f func() error) error {
	for {
		release, err := r.fs.Lock(r.root, shared)
		if err == nil {
			return errors.Join(f(), release())
		}
		if !errors.Is(err, fsx.ErrLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// call wraps what a verb returns, after the checks that all of them begin with.
func (r *dirRemote) call(ctx context.Context, verb, name string, f func(file string) error) error {
	err := ctx.Err()
	if err == nil && !ValidName(name) {
		err = fs.ErrInvalid
	}
	if err == nil {
		err = f(filepath.Join(r.root, filepath.FromSlash(name)))
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EROFS): // final, like a lack of permission
		err = fmt.Errorf("%w: %w", fs.ErrPermission, err)
	}
	return fmt.Errorf("checkpoint: remote %s: %s %q: %w", r.root, verb, name, err)
}

func (r *dirRemote) Put(ctx context.Context, name string, data []byte) error {
	return r.call(ctx, "put", name, func(file string) error {
		return r.locked(ctx, true, func() error { return r.write(name, file, data, r.fs.Rename) })
	})
}

func (r *dirRemote) PutIfAbsent(ctx context.Context, name string, data []byte) (created bool, err error) {
	err = r.call(ctx, "put if absent", name, func(file string) error {
		err := r.locked(ctx, true, func() (err error) {
			created, err = r.writeAbsent(name, file, data, r.fs.RenameNew)
			return err
		})
		if errors.Is(err, errNoRenameNew) {
			err = r.locked(ctx, false, func() (err error) {
				created, err = r.writeAbsent(name, file, data, r.fs.Rename)
				return err
			})
		}
		return err
	})
	return created && err == nil, err
}

// errNoRenameNew says that the file system has no fsx.FS.RenameNew.
var errNoRenameNew = errors.New("no rename to a name that nothing has")

// writeAbsent is write unless the object is there. The caller holds the lock, alone if rename replaces what has the name.
func (r *dirRemote) writeAbsent(name, file string, data []byte, rename func(from, to string) error) (created bool, err error) {
	f, err := r.fs.Open(file, fsx.Read)
	taken := err == nil
	switch {
	case taken:
		err = f.Close()
	case errors.Is(err, fs.ErrNotExist):
		err = r.write(name, file, data, func(from, to string) error {
			err := rename(from, to)
			taken = errors.Is(err, fs.ErrExist)
			if errors.Is(err, errors.ErrUnsupported) {
				err = fmt.Errorf("%w: %w", errNoRenameNew, err)
			}
			return err
		})
		if taken {
			err = nil
		}
	}
	if taken && err == nil {
		err = r.fs.SyncDir(filepath.Dir(file)) // whoever has put it may not have come to that
	}
	return !taken && err == nil, err
}

// write makes the object durable. The caller holds the lock, shared or not. Directories that were there may have been
// removed by somebody who has emptied the remote: then they are made again.
func (r *dirRemote) write(name, file string, data []byte, rename func(from, to string) error) error {
	err := r.writeInto(name, file, data, rename)
	if errors.Is(err, fs.ErrNotExist) {
		r.mu.Lock()
		clear(r.made)
		r.mu.Unlock()
		err = r.writeInto(name, file, data, rename)
	}
	return err
}

func (r *dirRemote) writeInto(name, file string, data []byte, rename func(from, to string) error) error {
	if err := r.makeDir(path.Dir(name)); err != nil {
		return err
	}
	dir := filepath.Dir(file)
	temp := filepath.Join(dir, fmt.Sprintf(".%x-%x%s", r.id, r.temp.Add(1), fsx.TempSuffix))
	err := r.writeTemp(temp, data)
	if err == nil {
		err = rename(temp, file)
	}
	if err != nil {
		if gone := r.fs.Remove(temp); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return err
	}
	return r.fs.SyncDir(dir)
}

func (r *dirRemote) writeTemp(temp string, data []byte) (err error) {
	f, err := r.fs.Open(temp, fsx.Write|fsx.Create|fsx.Exclusive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}

// makeDir makes a directory below root, and every name that leads there durable, once. dir is slash-separated; "." is
// the root itself.
func (r *dirRemote) makeDir(dir string) error {
	r.mu.Lock()
	done := r.made[dir]
	r.mu.Unlock()
	if done {
		return nil
	}
	if dir != "." {
		if err := r.makeDir(path.Dir(dir)); err != nil {
			return err
		}
	}
	file := filepath.Join(r.root, filepath.FromSlash(dir))
	if err := r.fs.MkdirAll(file); err != nil {
		return err
	}
	if err := r.fs.SyncDir(filepath.Dir(file)); err != nil && !(dir == "." && readOnly(err)) {
		return err // what is above the root may be closed to us, and is its owner's to sync
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made[dir] = true
	return nil
}

// object is what Get returns: a range of an open file.
type object struct {
	*io.SectionReader
	io.Closer
}

func (r *dirRemote) Get(ctx context.Context, name string, off, n int64) (body io.ReadCloser, err error) {
	err = r.call(ctx, "get", name, func(file string) error {
		if off < 0 {
			return fs.ErrInvalid
		}
		f, err := r.fs.Open(file, fsx.Read)
		if err != nil {
			return err
		}
		size, err := f.Size()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		rest := max(0, size-off)
		if n < 0 || n > rest {
			n = rest
		}
		body = object{io.NewSectionReader(f, off, n), f}
		return nil
	})
	return body, err
}

func (r *dirRemote) List(ctx context.Context, prefix string) ([]Object, error) {
	var objects []Object
	err := ctx.Err()
	if err == nil {
		dir := "" // the deepest directory that all the names lie in
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 && ValidName(prefix[:i]) {
			dir = prefix[:i]
		}
		err = r.list(ctx, dir, prefix, &objects)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: remote %s: list %q: %w", r.root, prefix, err)
	}
	return objects, nil
}

func (r *dirRemote) list(ctx context.Context, dir, prefix string, objects *[]Object) error {
	entries, err := r.fs.List(filepath.Join(r.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		switch {
		case dir == "" && e.Name == fsx.LockName, !ValidName(name):
		case e.Dir && (strings.HasPrefix(name+"/", prefix) || strings.HasPrefix(prefix, name+"/")):
			if err := r.list(ctx, name, prefix, objects); err != nil {
				return err
			}
		case !e.Dir && strings.HasPrefix(name, prefix):
			*objects = append(*objects, Object{Name: name, Size: e.Size})
		}
	}
	return nil
}

func (r *dirRemote) Delete(ctx context.Context, name string) error {
	return r.call(ctx, "delete", name, func(file string) error {
		err := r.fs.Remove(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = r.fs.SyncDir(filepath.Dir(file))
		}
		return err
	})
}
