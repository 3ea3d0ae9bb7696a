//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package fsx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// Without the calls that take a descriptor of a directory, names are looked up by their path. On windows the file that
// carries the lock of a directory keeps others from renaming it.

// fileID would tell files apart; here it does not.
type fileID struct{}

func idOf(fs.FileInfo) fileID { return fileID{} }

// givesBack tells that every file keeps its descriptor until it is closed.
const givesBack = false

func descriptorLimit() int { return maxDescriptors * limitShare }

// lookup would return what has the name.
func (p place) lookup() (fileID, bool) { return fileID{}, false }

func (p place) open(mode int, _ opening) (*os.File, error) {
	if p.bad != nil {
		return nil, p.error("open", p.bad)
	}
	return os.OpenFile(p.name, mode, filePerm)
}

func (p place) openDir() (*os.File, error) {
	f, err := p.open(os.O_RDONLY, forDirectory)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return nil, join(join(p.error("open", syscall.ENOTDIR), err), f.Close())
	}
	return f, nil
}

func (p place) mkdirAll() error {
	if err := p.bad; err != nil {
		return p.error("mkdir", err)
	}
	return os.MkdirAll(p.name, dirPerm)
}

func (p place) remove() error {
	if err := p.bad; err != nil {
		return p.error("remove", err)
	}
	return os.Remove(p.name)
}

func (p place) rename(to place) error {
	if err := join(p.bad, to.bad); err != nil {
		return linkError(p.name, to.name, err)
	}
	return os.Rename(p.name, to.name)
}

func (p place) renameNew(to place) error {
	return linkError(p.name, to.name, errors.ErrUnsupported)
}

// list follows links, as open does.
func (p place) list() ([]Entry, error) {
	if err := p.bad; err != nil {
		return nil, p.error("list", err)
	}
	names, err := os.ReadDir(p.name) // sorted
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(names))
	for _, d := range names {
		info, err := os.Stat(filepath.Join(p.name, d.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile, or a link to nothing
		}
		if err != nil {
			return nil, err
		}
		e := Entry{Name: d.Name(), Dir: info.IsDir()}
		if !e.Dir {
			e.Size = info.Size()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (p place) stat() (fileID, error) {
	_, err := os.Stat(p.name)
	return fileID{}, err
}

// syncDir makes the names in a directory durable. Windows cannot sync a directory; NTFS journals names by itself.
func (p place) syncDir() error {
	f, err := p.openDir()
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" {
		err = f.Sync()
	}
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return join(err, f.Close())
}
