//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package fsx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileID tells files of one machine apart, as long as they exist.
type fileID struct{ device, inode uint64 }

func idOf(info fs.FileInfo) fileID {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(st.Dev), uint64(st.Ino)}
	}
	return fileID{}
}

func idOfStat(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), uint64(st.Ino)} }

// givesBack tells that descriptors are given back: a file can be told from another one of its name.
const givesBack = true

// descriptorLimit returns how many descriptors the process may have.
func descriptorLimit() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 256
	}
	return int(min(uint64(limit.Cur), 1<<30))
}

// at has call make a system call with the descriptor of p's directory, which stays open meanwhile. Interrupted calls are
// retried.
func (p place) at(call func(dir int) error) error {
	if p.bad != nil {
		return p.bad
	}
	again := func(dir int) (err error) {
		for {
			if err = call(dir); err != unix.EINTR {
				return err
			}
		}
	}
	if p.dir == nil {
		return again(unix.AT_FDCWD)
	}
	var err error
	if p.dir.raw.Control(func(fd uintptr) { err = again(int(fd)) }) != nil {
		return os.ErrClosed // the only reason for which Control does not run
	}
	return err
}

// descriptor opens a file, or a directory for reading. No other program inherits it.
func (p place) descriptor(mode int, who opening) (fd int, err error) {
	err = shared().whenFull(who, func() error {
		return p.at(func(dir int) (err error) {
			fd, err = unix.Openat(dir, p.base, mode|unix.O_CLOEXEC, filePerm)
			return err
		})
	})
	return fd, err
}

func (p place) open(mode int, who opening) (*os.File, error) {
	fd, err := p.descriptor(mode, who)
	if err != nil {
		return nil, p.error("open", err)
	}
	return os.NewFile(uintptr(fd), p.name), nil
}

func (p place) openDir() (*os.File, error) {
	return p.open(unix.O_RDONLY|unix.O_DIRECTORY, forDirectory)
}

// lookup returns what has the name, which may be a link, if there is something.
func (p place) lookup() (id fileID, ok bool) {
	var st unix.Stat_t
	err := p.statTo(&st, unix.AT_SYMLINK_NOFOLLOW)
	return idOfStat(&st), err == nil
}

func (p place) mkdirAll() error {
	if p.dir == nil {
		return os.MkdirAll(p.name, dirPerm)
	}
	made := place{p.dir, "", p.name, p.bad}
	for elem := range strings.SplitSeq(p.base, string(filepath.Separator)) {
		made.base = filepath.Join(made.base, elem)
		err := made.at(func(dir int) error { return unix.Mkdirat(dir, made.base, dirPerm) })
		if err == unix.EEXIST {
			var st unix.Stat_t
			if err = made.statTo(&st, 0); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
				err = unix.ENOTDIR
			}
		}
		if err != nil {
			return p.error("mkdir", err)
		}
	}
	return nil
}

// unlink removes a name, whether it is that of a file or of a directory.
func (p place) unlink() error {
	err := p.at(func(dir int) error { return unix.Unlinkat(dir, p.base, 0) })
	if err == nil {
		return nil
	}
	// Systems differ in what they say of a directory, and agree on what they say of a file that should be one.
	if also := p.at(func(dir int) error { return unix.Unlinkat(dir, p.base, unix.AT_REMOVEDIR) }); also != unix.ENOTDIR {
		err = also
	}
	return p.error("remove", err)
}

func (p place) rename(to place) error {
	var st unix.Stat_t
	err := to.statTo(&st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		was := idOfStat(&st)
		if err = p.statTo(&st, unix.AT_SYMLINK_NOFOLLOW); err == nil && (was != idOfStat(&st) || p.base == to.base) {
			err = unix.EEXIST // the call itself would replace an empty directory
		}
		if err != nil {
			return linkError(p.name, to.name, err)
		}
	}
	err = p.at(func(from int) error {
		return to.at(func(dir int) error { return unix.Renameat(from, p.base, dir, to.base) })
	})
	if err != nil {
		return linkError(p.name, to.name, err)
	}
	return nil
}

// sysRenameNew is the system call; in tests, that of a system that has none.
var sysRenameNew = renameat2

// renameNew links the file to its new name, which fails when there is one, and removes the old name, where there is no
// call that does both.
func (p place) renameNew(to place) error {
	both := func(call func(from, dir int) error) error {
		return p.at(func(from int) error { return to.at(func(dir int) error { return call(from, dir) }) })
	}
	err := both(func(from, dir int) error { return sysRenameNew(from, p.base, dir, to.base) })
	switch err {
	case nil:
		return nil
	case unix.ENOSYS, unix.EINVAL, unix.EOPNOTSUPP:
	default:
		return linkError(p.name, to.name, err)
	}
	err = both(func(from, dir int) error { return unix.Linkat(from, p.base, dir, to.base, 0) })
	switch err {
	case nil:
	case unix.EEXIST: // also what a network file system may say of a link that it has just made
		if !p.sameFile(to) {
			return linkError(p.name, to.name, err)
		}
	case unix.EPERM, unix.ENOSYS, unix.EOPNOTSUPP, unix.EMLINK:
		return linkError(p.name, to.name, errors.ErrUnsupported)
	default:
		return linkError(p.name, to.name, err)
	}
	if err := p.unlink(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sameFile reports whether two different names lead to one file. Two spellings of one name do not: a file that has but one
// link has but one name.
func (p place) sameFile(to place) bool {
	var a, b unix.Stat_t
	return p.name != to.name && p.statTo(&a, unix.AT_SYMLINK_NOFOLLOW) == nil && to.statTo(&b, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		idOfStat(&a) == idOfStat(&b) && b.Nlink > 1
}

// list follows links, as open does.
func (p place) list() ([]Entry, error) {
	f, err := p.openDir()
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		if err != nil {
			break
		}
		var st unix.Stat_t
		if err = unix.Fstatat(int(f.Fd()), name, &st, 0); errors.Is(err, fs.ErrNotExist) {
			err = nil // removed meanwhile, or a link to nothing
			continue
		}
		e := Entry{Name: name, Dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}
		if !e.Dir {
			e.Size = st.Size
		}
		entries = append(entries, e)
	}
	if err = join(err, f.Close()); err != nil {
		return nil, p.error("list", err)
	}
	return entries, nil
}

func (p place) statTo(st *unix.Stat_t, flags int) error {
	return p.at(func(dir int) error { return unix.Fstatat(dir, p.base, st, flags) })
}

// stat returns what the name leads to.
func (p place) stat() (fileID, error) {
	var st unix.Stat_t
	err := p.statTo(&st, 0)
	return idOfStat(&st), p.error("stat", err)
}

// syncDir makes the names in a directory durable. EINVAL comes from file systems that keep no names to sync (some network
// ones): there is nothing that could be done there.
func (p place) syncDir() error {
	f, err := p.openDir()
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil
	}
	return join(err, f.Close())
}
