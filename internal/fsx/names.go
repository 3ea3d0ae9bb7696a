package fsx

import (
	"errors"
	"io/fs"
)

// Names are files that were made in one directory, until their names are durable. A sync of the directory that has failed
// is never made good by a later one (F5): the names that it was to make durable are given once more before the next.
//
// Who uses it says of every file that it is going to make it. Not safe for concurrent use.
type Names struct {
	fs    FS
	dir   string
	due   bool     // the directory has to be synced
	made  []string // paths of the files
	again bool     // their names have to be given once more
}

// NewNames returns the names of a directory, which is synced first of all: whoever was killed before may have made files.
func NewNames(fs FS, dir string) *Names { return &Names{fs: fs, dir: dir, due: true} }

// Making says that the file of that path, which is in the directory, is about to be made. It may be there after a call that
// has failed, too.
func (n *Names) Making(path string) {
	n.due = true
	n.made = append(n.made, path)
}

// Doubt says that the names of the files made since the last Sync that succeeded may have been dropped.
func (n *Names) Doubt() { n.again = true }

// Sync makes the names durable. Files that were removed in between are passed over. It does nothing if no file was made.
func (n *Names) Sync() error {
	if !n.due {
		return nil
	}
	if n.again {
		for _, path := range n.made {
			if err := nameAgain(n.fs, path); err != nil {
				return err
			}
		}
	}
	if err := n.fs.SyncDir(n.dir); err != nil {
		n.again = true
		return err
	}
	n.due, n.made, n.again = false, nil, false
	return nil
}

// nameAgain gives a file its name once more.
func nameAgain(fsys FS, path string) error {
	err := fsys.Rename(path, path+TempSuffix)
	if err == nil || errors.Is(err, fs.ErrNotExist) { // removed since, or half-way through this before
		err = fsys.Rename(path+TempSuffix, path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
