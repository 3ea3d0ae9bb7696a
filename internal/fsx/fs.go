package fsx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// BlockSize is the unit, in bytes, of offsets, lengths and buffer addresses of a file for which [File.Direct] holds.
const BlockSize = 4096

// LockName is the file in a directory that [FS.Lock] locks.
const LockName = "LOCK"

// Flag says how [FS.Open] opens a file.
type Flag uint

const (
	// Read opens for reading only. It is the absence of [Write], hence 0.
	Read Flag = 0
	// Write opens for reading and writing.
	Write Flag = 1 << (iota - 1)
	// Create makes the file if there is none. Needs [Write].
	Create
	// Exclusive makes the file and fails with [fs.ErrExist] if there is one. Needs [Create].
	Exclusive
	// Direct asks for I/O that bypasses the page cache. It is a wish: [File.Direct] tells what was granted.
	Direct

	allFlags = Write | Create | Exclusive | Direct
)

// Valid reports whether the flags go together.
func (f Flag) Valid() bool {
	switch {
	case f&^allFlags != 0, f&Create != 0 && f&Write == 0, f&Exclusive != 0 && f&Create == 0:
		return false
	}
	return true
}

var (
	// ErrLocked is returned by [FS.Lock] when another owner, in this process or in another, holds the directory.
	ErrLocked = errors.New("fsx: directory is locked by another owner")
	// ErrReplaced reports that a name no longer leads to the file that was opened or written by it: somebody else has
	// removed the file, or put another one in its place.
	ErrReplaced = errors.New("fsx: removed or replaced by somebody else")
	// ErrOutside is returned by a [Root] for a name that does not lie in its directory.
	ErrOutside = errors.New("fsx: name is outside the directory")
	// ErrTooLong is returned by [ReadFile] when the file is longer than its caller is ready to hold.
	ErrTooLong = errors.New("fsx: file is longer than the limit")
)

// File is an open file. All methods may be called from any goroutine, Close too: a call that loses the race against
// it returns [fs.ErrClosed]. Errors are *[fs.PathError].
//
// When Direct holds, offsets and lengths of ReadAt and WriteAt, and the addresses of their buffers, must be multiples
// of [BlockSize]; anything else is EINVAL. Allocate and Truncate take any numbers.
type File interface {
	// ReadAt follows [io.ReaderAt]: n < len(p) comes with an error, [io.EOF] at the end of the file. Interrupted
	// calls are retried inside.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes all of p and returns len(p), nil; or it returns 0 and an error, and what the range holds is
	// unknown: a failed write may have written any part of p. Interrupted and short writes are continued inside.
	WriteAt(p []byte, off int64) (int, error)
	// Sync makes everything written, and the size, durable (F1, F2). After an error, see F5.
	Sync() error
	// Allocate reserves the bytes [off, off+n), n > 0, and grows the file to off+n when it is shorter. Bytes that
	// were there stay, new ones read as zero. Running out of space shows here, as ENOSPC, on most file systems; on one
	// that cannot reserve only the size grows, and one that copies on write may refuse a write of the range later. After
	// an error the file has the size that it had, and nothing behind it is kept. Nobody may write behind the size
	// meanwhile.
	Allocate(off, n int64) error
	// Truncate sets the size to n: bytes past it are gone, bytes up to it that were not there read as zero.
	Truncate(n int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
	// Direct reports whether I/O on the file bypasses the page cache and must be aligned. It may turn from true to
	// false once, when a device refuses at the first I/O; aligned I/O goes on working.
	Direct() bool
	// InPlace returns [ErrReplaced] when the name that the file was opened by does not lead to it any more. It looks the
	// name up as Open did, in the directory that is open when the file was opened through a [Root].
	InPlace() error
	// Close closes the file. It does not make anything durable. A second Close returns [fs.ErrClosed].
	Close() error
}

// Entry is one name in a directory.
type Entry struct {
	Name string // within the directory
	Dir  bool   // a directory
	Size int64  // bytes; 0 for a directory
}

// FS is a file system. Methods may be called from any goroutine. Errors wrap [fs.ErrNotExist], [fs.ErrExist],
// [fs.ErrPermission] and the errno values of package syscall, in an *[fs.PathError] or, from Rename and RenameNew, an *[os.LinkError].
type FS interface {
	// Open opens a file; a directory is EISDIR. A new file has permissions 0600 before umask; its name is durable
	// after SyncDir (F3). Flags that do not go together are EINVAL.
	Open(name string, f Flag) (File, error)
	// MkdirAll makes a directory and its missing parents, 0700 before umask; present ones are no error. Each name is
	// durable after SyncDir of its parent.
	MkdirAll(dir string) error
	// Remove removes a file or an empty directory. Open files go on working.
	Remove(name string) error
	// Rename gives a file or directory a new name, replacing a file that has it. A directory that has it is an error.
	Rename(oldName, newName string) error
	// RenameNew is Rename of a file to a name that nothing has, at once: [fs.ErrExist] when something has it. Of several calls
	// that give files the same name, in whatever processes, one succeeds. After a crash both names may lead to the file.
	// [errors.ErrUnsupported] when the file system cannot do that.
	RenameNew(oldName, newName string) error
	// List returns the entries of a directory, sorted by name.
	List(dir string) ([]Entry, error)
	// SyncDir makes the names in dir durable (F3). Where the platform cannot, it does nothing.
	SyncDir(dir string) error
	// Lock takes dir for one owner, or for several that all ask for a shared lock; otherwise it returns an error that
	// is [ErrLocked], at once. An owner is one call: a second call in the same process is refused like another
	// process, also when it names dir through a symbolic link or another mount of it. Lock creates dir/LOCK, but a
	// shared lock never does, so that it works in a directory that cannot be written. The lock ends with release
	// (which may be called twice) or with the process. [errors.ErrUnsupported] when the file system has no such locks.
	Lock(dir string, shared bool) (release func() error, err error)
	// OpenRoot opens a directory and returns the file system as it is seen from there.
	OpenRoot(dir string) (Root, error)
}

// Root is a file system of one directory, which stays open: it goes on meaning that directory when somebody renames it,
// switches a link that led to it, or puts another directory in its place. Names are those of the [FS] that it comes from,
// and begin with the path that the directory was opened by, to which they are relative in truth; others are
// [ErrOutside], except that SyncDir takes the path of the directory above, which is the one that the directory is in now.
//
// In a directory that was removed nothing can be made: that is [fs.ErrNotExist].
type Root interface {
	FS
	// Close closes the directory. Files that are open stay so, every other call is [fs.ErrClosed]. A lock that was taken
	// has to be released before.
	Close() error
}

// within returns name relative to the directory that path names, "." for itself and ".." for the one above.
func within(path, name string) (string, error) {
	rel, err := filepath.Rel(path, name)
	if err != nil || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", ErrOutside
	}
	return rel, nil
}

// ReadFile returns the bytes of a file, at most limit of them: a longer file is [ErrTooLong], before memory is taken.
func ReadFile(fsys FS, name string, limit int64) (data []byte, err error) {
	f, err := fsys.Open(name, Read)
	if err != nil {
		return nil, err
	}
	defer func() { err = join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, size, limit)}
	}
	data = make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if n == len(data) && (err == nil || err == io.EOF) {
		return data, nil
	}
	if err == io.EOF {
		// Shorter than it said: somebody is truncating it. Half a file is not the file.
		err = &fs.PathError{Op: "read", Path: name, Err: io.ErrUnexpectedEOF}
	}
	return nil, err
}

// TempSuffix ends the name of the file that [WriteFileAtomic] writes before it takes its real name.
const TempSuffix = ".tmp"

// WriteFileAtomic makes name hold exactly data, durably: it writes a temporary file beside it, syncs it, renames it
// and syncs the directory. After a crash name holds either what it held before or data. After an error too, except
// that the name may have changed and not be durable. One call per name at a time; what an earlier call left in the
// temporary file (name + [TempSuffix]) is overwritten.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	s, err := Stage(fsys, name, data)
	if err != nil {
		return err
	}
	return s.Publish()
}

// checkRange returns the error of an I/O call with these arguments, nil if there is none. addr is the [address] of the
// buffer; alignment matters when direct is set.
func checkRange(op, name string, direct bool, off int64, n int, addr uintptr) error {
	if off < 0 || direct && (off%BlockSize != 0 || n%BlockSize != 0 || addr%BlockSize != 0) {
		return &fs.PathError{Op: op, Path: name, Err: syscall.EINVAL}
	}
	return nil
}

// join returns err together with the error of what was done because of it, each as it is when it is alone.
func join(err, also error) error {
	switch {
	case also == nil:
		return err
	case err == nil:
		return also
	}
	return errors.Join(err, also)
}
