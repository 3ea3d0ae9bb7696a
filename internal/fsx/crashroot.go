package fsx

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Open implements [FS].
func (c *CrashFS) Open(name string, f Flag) (File, error) { return c.top().Open(name, f) }

// MkdirAll implements [FS].
func (c *CrashFS) MkdirAll(dir string) error { return c.top().MkdirAll(dir) }

// Remove implements [FS].
func (c *CrashFS) Remove(name string) error { return c.top().Remove(name) }

// Rename implements [FS].
func (c *CrashFS) Rename(oldName, newName string) error { return c.top().Rename(oldName, newName) }

// RenameNew implements [FS].
func (c *CrashFS) RenameNew(oldName, newName string) error {
	return c.top().RenameNew(oldName, newName)
}

// List implements [FS].
func (c *CrashFS) List(dir string) ([]Entry, error) { return c.top().List(dir) }

// SyncDir implements [FS].
func (c *CrashFS) SyncDir(dir string) error { return c.top().SyncDir(dir) }

// Lock implements [FS]. The lock lives in memory: neither [CrashFS.Clone] nor another CrashFS knows it.
func (c *CrashFS) Lock(dir string, shared bool) (release func() error, err error) {
	return c.top().Lock(dir, shared)
}

// OpenRoot implements [FS]. A clone knows no open directories.
func (c *CrashFS) OpenRoot(dir string) (Root, error) { return c.top().OpenRoot(dir) }

// crashRoot is a CrashFS seen from one of its directories.
type crashRoot struct {
	c      *CrashFS
	at     *node
	above  *node // the directory that at is in, for good: no directory moves to another
	path   []string
	closed *atomic.Bool // nil for what is never closed
}

func (c *CrashFS) top() crashRoot { return crashRoot{c: c, at: c.root, above: c.root} }

// Close implements [Root]. It works after a crash, too.
func (r crashRoot) Close() error {
	if r.closed.Swap(true) {
		return pathError("close", "/"+path.Join(r.path...), fs.ErrClosed)
	}
	return nil
}

// find returns the directory that name is in, its last element, and the node it stands for, nil if there is none.
// The root is in itself.
func (r crashRoot) find(name string) (dir *node, base string, n *node, err error) {
	elems := elements(name)
	switch {
	case r.closed != nil && r.closed.Load():
		return nil, "", nil, fs.ErrClosed
	case len(elems) < len(r.path) || !slices.Equal(elems[:len(r.path)], r.path):
		return nil, "", nil, ErrOutside
	}
	dir, n = r.at, r.at
	for _, e := range elems[len(r.path):] {
		if n == nil {
			return nil, "", nil, syscall.ENOENT
		}
		if !n.dir {
			return nil, "", nil, syscall.ENOTDIR
		}
		dir, base, n = n, e, n.names[e]
	}
	return dir, base, n, nil
}

// findNew is find for a name that may be made: nothing can be in a directory that was removed.
func (r crashRoot) findNew(name string) (dir *node, base string, n *node, err error) {
	dir, base, n, err = r.find(name)
	if err == nil && n == nil && dir != r.c.root && dir.links == 0 {
		err = syscall.ENOENT
	}
	return dir, base, n, err
}

// findDir returns the directory with that name.
func (r crashRoot) findDir(name string) (*node, error) {
	_, _, n, err := r.find(name)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, syscall.ENOENT
	case !n.dir:
		return nil, syscall.ENOTDIR
	}
	return n, nil
}

// OpenRoot implements [FS].
func (r crashRoot) OpenRoot(dir string) (Root, error) {
	if err := r.c.look("open", dir); err != nil {
		return nil, err
	}
	defer r.c.mu.Unlock()
	at, err := r.findDir(dir)
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	above, _, _, _ := r.find(dir)
	if at == r.at {
		above = r.above
	}
	return crashRoot{r.c, at, above, elements(dir), new(atomic.Bool)}, nil
}

// Open implements [FS].
func (r crashRoot) Open(name string, f Flag) (File, error) {
	c := r.c
	if !f.Valid() {
		return nil, pathError("open", name, syscall.EINVAL)
	}
	if err := c.look("open", name); err != nil {
		return nil, err
	}
	_, _, n, err := r.find(name)
	if err == nil && n == nil && f&Create != 0 {
		c.mu.Unlock()
		if err := c.begin(OpCreate, name); err != nil {
			return nil, err
		}
		var dir *node
		var base string
		if dir, base, n, err = r.findNew(name); err == nil && n == nil {
			n = c.newNode(false)
			c.link(dir, base, n)
			f &^= Exclusive
		}
	}
	defer c.mu.Unlock()
	switch {
	case err != nil:
	case n == nil:
		err = syscall.ENOENT
	case f&Exclusive != 0:
		err = syscall.EEXIST
	case n.dir:
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n.opens++
	return &crashFile{fs: c, in: r, node: n, name: name, write: f&Write != 0, direct: f&Direct != 0 && c.direct}, nil
}

// MkdirAll implements [FS].
func (r crashRoot) MkdirAll(dir string) error {
	c := r.c
	elems := elements(dir)
	for i := len(r.path); i <= len(elems); i++ { // from what is there
		name := "/" + path.Join(elems[:i]...)
		if err := c.look("mkdir", dir); err != nil {
			return err
		}
		_, _, n, err := r.find(name)
		if err == nil && n == nil {
			c.mu.Unlock()
			if err := c.begin(OpCreate, name); err != nil {
				return err
			}
			var parent *node
			var base string
			if parent, base, n, err = r.findNew(name); err == nil && n == nil {
				n = c.newNode(true)
				c.link(parent, base, n)
			}
		}
		c.mu.Unlock()
		if err == nil && !n.dir {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return pathError("mkdir", dir, err)
		}
	}
	return nil
}

// Remove implements [FS].
func (r crashRoot) Remove(name string) error {
	c := r.c
	if err := c.begin(OpRemove, name); err != nil {
		return err
	}
	defer c.mu.Unlock()
	dir, base, n, err := r.find(name)
	switch {
	case err != nil:
	case n == nil:
		err = syscall.ENOENT
	case n == r.at:
		err = syscall.EBUSY
	case n.dir && len(n.names) > 0:
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	c.setNames(dir, nameFact{base, nil})
	c.unlinked(n)
	return nil
}

// Rename implements [FS].
func (r crashRoot) Rename(oldName, newName string) error {
	return r.renameWith(oldName, newName, r.rename)
}

// RenameNew implements [FS].
func (r crashRoot) RenameNew(oldName, newName string) error {
	return r.renameWith(oldName, newName, func(oldName, newName string) error {
		if _, _, target, err := r.findNew(newName); err == nil && target != nil {
			return syscall.EEXIST
		}
		if _, _, n, err := r.find(oldName); err == nil && n != nil && n.dir {
			return errors.ErrUnsupported
		}
		return r.rename(oldName, newName)
	})
}

func (r crashRoot) renameWith(oldName, newName string, rename func(oldName, newName string) error) error {
	c := r.c
	if err := c.begin(OpRename, oldName); err != nil {
		return err
	}
	defer c.mu.Unlock()
	if err := rename(oldName, newName); err != nil {
		return linkError(oldName, newName, err)
	}
	return nil
}

func (r crashRoot) rename(oldName, newName string) error {
	c := r.c
	oldDir, oldBase, n, err := r.find(oldName)
	if err != nil {
		return err
	}
	newDir, newBase, target, err := r.findNew(newName)
	switch {
	case err != nil:
		return err
	case n == nil:
		return syscall.ENOENT
	case n == target:
		return nil
	case n == r.at:
		return syscall.EBUSY
	case target != nil && target.dir:
		return syscall.EEXIST
	case target != nil && n.dir:
		return syscall.ENOTDIR
	case n.dir && oldDir != newDir:
		return syscall.EXDEV // half of it kept could put a directory into itself
	}
	if oldDir == newDir {
		c.setNames(oldDir, nameFact{oldBase, nil}, nameFact{newBase, n})
	} else { // F4
		c.setNames(newDir, nameFact{newBase, n})
		c.setNames(oldDir, nameFact{oldBase, nil})
	}
	if target != nil {
		c.unlinked(target)
	}
	return nil
}

// List implements [FS].
func (r crashRoot) List(dir string) ([]Entry, error) {
	c := r.c
	if err := c.look("list", dir); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	d, err := r.findDir(dir)
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	entries := make([]Entry, 0, len(d.names))
	for name, n := range d.names {
		entries = append(entries, Entry{Name: name, Dir: n.dir, Size: n.live.size})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// SyncDir implements [FS].
func (r crashRoot) SyncDir(dir string) error {
	c := r.c
	if err := c.begin(OpSyncDir, dir); err != nil {
		return err
	}
	defer c.mu.Unlock()
	d, err := r.findDir(dir)
	if elems := elements(dir); err == ErrOutside && slices.Equal(elems, r.path[:len(r.path)-1]) {
		d, err = r.above, nil
	}
	if err == nil {
		err = c.syncNames(d, c.syncMode(dir))
	}
	if err != nil {
		return pathError("syncdir", dir, err)
	}
	return nil
}

// Lock implements [FS].
func (r crashRoot) Lock(dir string, shared bool) (release func() error, err error) {
	c := r.c
	if err := c.look("lock", dir); err != nil {
		return nil, err
	}
	d, err := r.findDir(dir)
	if err == nil {
		err = c.take(d, shared)
	}
	c.mu.Unlock()
	if err != nil {
		return nil, pathError("lock", dir, err)
	}
	release = sync.OnceValue(func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.locks[d].owners--; c.locks[d].owners == 0 {
			delete(c.locks, d)
		}
		return nil
	})
	if shared {
		return release, nil
	}
	f, err := r.Open(filepath.Join(dir, LockName), Write|Create)
	if err != nil {
		return nil, join(err, release())
	}
	return release, f.Close()
}
