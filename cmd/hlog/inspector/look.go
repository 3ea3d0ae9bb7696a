package inspector

import (
	"io/fs"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// looking is a file system that changes nothing and takes no lock: a store that is open elsewhere goes on, and what it has
// committed can be read beside it. It keeps files open that it reads, so that they stay readable when the store removes them.
type looking struct{ fsx.FS }

func refused(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrPermission} }

func (l looking) Open(name string, f fsx.Flag) (fsx.File, error) {
	if f&fsx.Write != 0 {
		return nil, refused("open", name)
	}
	return l.FS.Open(name, f)
}

func (l looking) MkdirAll(dir string) error       { return refused("mkdir", dir) }
func (l looking) Remove(name string) error        { return refused("remove", name) }
func (l looking) Rename(from, to string) error    { return refused("rename", from) }
func (l looking) RenameNew(from, to string) error { return refused("rename", from) }
func (l looking) SyncDir(dir string) error        { return refused("sync", dir) }
func (l looking) Lock(string, bool) (release func() error, _ error) {
	return func() error { return nil }, nil
}

func (l looking) OpenRoot(dir string) (fsx.Root, error) {
	root, err := l.FS.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return lookingRoot{looking{root}, root}, nil
}

// lookingRoot is looking, in one directory.
type lookingRoot struct {
	looking
	root fsx.Root
}

func (l lookingRoot) Close() error { return l.root.Close() }
