package base

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Remote keeps copies of versions as immutable objects with flat names, for one open engine at a time. Its verbs are what an S3-compatible bucket
// offers: no rename and no append. Implementations are safe for concurrent use. A name that is not there is
// fs.ErrNotExist.
type Remote interface {
	// Put stores the size bytes of body under name, in place of what it held. The object appears whole or not at all.
	Put(ctx context.Context, name string, body io.Reader, size int64) error
	// PutIfAbsent is Put for a name that nobody has written; it reports false, and stores nothing, if somebody has.
	PutIfAbsent(ctx context.Context, name string, body io.Reader, size int64) (bool, error)
	// Get returns n bytes of the object from off on; n < 0 means to its end.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// List returns the names that begin with prefix, in any order.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete removes the object; an absent one is no error.
	Delete(ctx context.Context, name string) error
}

// DirRemote is a Remote in a directory: objects are files, put by temporary file, sync, rename and directory sync.
// One process writes to a directory at a time.
type DirRemote struct {
	fs  fsx.FS
	dir string
}

// NewDirRemote returns the remote in the directory dir of fsys, which it creates.
func NewDirRemote(fsys fsx.FS, dir string) (*DirRemote, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, err
	}
	return &DirRemote{fs: fsys, dir: dir}, fsys.SyncDir(filepath.Dir(dir))
}

// Put implements Remote.
func (d *DirRemote) Put(ctx context.Context, name string, body io.Reader, size int64) error {
	path, err := d.path(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	temp := path + fsx.TempSuffix
	if err := WriteFile(d.fs, temp, body, size); err != nil {
		return errors.Join(err, d.fs.Remove(temp))
	}
	if err := d.fs.Rename(temp, path); err != nil {
		return errors.Join(err, d.fs.Remove(temp))
	}
	return d.fs.SyncDir(d.dir)
}

// PutIfAbsent implements Remote.
func (d *DirRemote) PutIfAbsent(ctx context.Context, name string, body io.Reader, size int64) (bool, error) {
	path, err := d.path(name)
	if err != nil {
		return false, err
	}
	switch f, err := d.fs.Open(path, fsx.Read); {
	case err == nil:
		return false, f.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	return true, d.Put(ctx, name, body, size)
}

// Get implements Remote.
func (d *DirRemote) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	path, err := d.path(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	f, err := d.fs.Open(path, fsx.Read)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		size, err := f.Size()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		n = max(size-off, 0)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

// List implements Remote.
func (d *DirRemote) List(ctx context.Context, prefix string) ([]string, error) {
	entries, err := d.fs.List(d.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.Dir && strings.HasPrefix(e.Name, prefix) && !strings.HasSuffix(e.Name, fsx.TempSuffix) {
			names = append(names, e.Name)
		}
	}
	return names, ctx.Err()
}

// Delete implements Remote.
func (d *DirRemote) Delete(ctx context.Context, name string) error {
	path, err := d.path(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.fs.SyncDir(d.dir)
}

// path maps an object to its file. Names with a separator would leave the directory.
func (d *DirRemote) path(name string) (string, error) {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." || strings.HasSuffix(name, fsx.TempSuffix) {
		return "", &fs.PathError{Op: "remote", Path: name, Err: fs.ErrInvalid}
	}
	return filepath.Join(d.dir, name), nil
}

// WriteFile makes the file name hold exactly the size bytes of body and syncs them. The name is not durable yet.
func WriteFile(fsys fsx.FS, name string, body io.Reader, size int64) (err error) {
	f, err := fsys.Open(name, fsx.Write|fsx.Create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(0); err != nil {
		return err
	}
	buf := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), size-off)]
		if _, err := io.ReadFull(body, buf); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return f.Sync()
}
