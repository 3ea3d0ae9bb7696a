package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"sync"
)

// ErrCrashed is what every call on a [CrashFS] returns after its crash.
var ErrCrashed = errors.New("fsx: the file system has crashed")

// Op is a class of calls that change a [CrashFS] or make something durable in it: the places where a crash makes a
// difference.
type Op uint8

// The write-class calls. OpCreate is a file made by Open or Lock, or one directory made by MkdirAll; opening what is
// there is none of them.
const (
	OpWrite Op = iota
	OpSync
	OpAllocate
	OpTruncate
	OpCreate
	OpRename
	OpRemove
	OpSyncDir
	numOps
)

var opNames = [numOps]string{"write", "sync", "allocate", "truncate", "create", "rename", "remove", "syncdir"}

// String returns the name of the class.
func (o Op) String() string {
	if o >= numOps {
		return fmt.Sprintf("Op(%d)", uint8(o))
	}
	return opNames[o]
}

// Call is one write-class call.
type Call struct {
	N    int64 // how manieth of its file system, from 1
	Op   Op
	Name string // as the caller gave it; the old name of a rename; the name that a file was opened by
}

// SyncMode is what a Sync or SyncDir really does.
type SyncMode uint8

const (
	// SyncHonest makes durable what it should.
	SyncHonest SyncMode = iota
	// SyncFailOnce drops the unsynced bytes of the file (the unsynced names of the directory), returns EIO, and is
	// honest from the next call on: what Linux does with dirty pages that it could not write. They stay readable,
	// and never become durable unless they are written again. The size stays unsynced.
	SyncFailOnce
	// SyncLie drops the same, makes the size durable, and returns nil, again and again: a disk that acknowledges
	// what it does not keep.
	SyncLie
)

// CrashOptions are the settings of a [CrashFS]. The zero value is usable.
type CrashOptions struct {
	// Direct makes [File.Direct] hold for files that were opened with the flag, and checks their alignment.
	Direct bool
	// Space is the capacity in bytes; 0 = no limit. See [CrashFS.SetSpace].
	Space int64
}

// CrashFS is a file system in memory that remembers which of its facts (F1 to F4 of the package comment) are durable,
// so that [CrashFS.Clone] can tell what a power loss would leave. Single-threaded use is deterministic.
//
// It models: 512-byte sectors kept or lost each on its own, sizes and names apart from bytes, every write-class call
// as a place to crash, Sync that fails or lies, a full disk, direct I/O that demands alignment, and locks that end
// with the process. It does not model: symbolic links, permissions, time stamps, space taken by names, moving a
// directory into another (EXDEV), a read that fails or a bit that rots (see [ErrFS], or write the damage into a
// clone), a page cache that is dropped after a failed Sync (reads go on seeing what was written), and a file system
// with less disorder than POSIX allows (a journal keeps names in order; code that leans on that fails here).
type CrashFS struct {
	mu      sync.Mutex
	direct  bool
	root    *node
	nodes   int64  // made so far; the next id
	facts   uint64 // made so far; the next sequence number
	locks   map[*node]*memLock
	space   int64 // blocks; < 0 = no limit
	used    int64 // blocks
	calls   [numOps]int64
	total   int64
	crashAt int64 // 0 = never
	crashed bool
	hook    func(Call)
	mode    SyncMode
	glob    string
}

// memLock is the owners of one directory.
type memLock struct {
	shared bool
	owners int
}

// NewCrash returns an empty file system: a root directory and nothing in it.
func NewCrash(o CrashOptions) *CrashFS {
	c := &CrashFS{direct: o.Direct, locks: map[*node]*memLock{}}
	c.root = c.newNode(true)
	c.SetSpace(o.Space)
	return c
}

// SetSpace sets the capacity to n bytes, rounded down to whole blocks; n <= 0 takes the limit away. Files take a block
// of 4096 bytes for every one that was written or allocated; removed ones give theirs back when they are closed, too.
// A capacity below [CrashFS.Used] is a full disk. A write that does not fit leaves its beginning behind, as a real one.
func (c *CrashFS) SetSpace(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.space = n / BlockSize
	if n <= 0 {
		c.space = -1
	}
}

// Used returns the bytes that files take.
func (c *CrashFS) Used() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used * BlockSize
}

// FailSync sets what Sync and SyncDir do from now on with the files and directories whose path or last element matches
// glob (see [path.Match]); "" is all of them. Only the last setting counts.
func (c *CrashFS) FailSync(mode SyncMode, glob string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mode, c.glob = mode, glob
}

// SetHook has f called at every write-class call before it takes effect. f may call the methods of c, Clone and
// CrashNow included: after CrashNow the call has no effect. nil ends it.
func (c *CrashFS) SetHook(f func(Call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = f
}

// CrashAt has the k-th write-class call, counted from 1 since the file system was made, and everything after it fail
// with [ErrCrashed], without effect. That call k itself may take effect in part is what a crash at k+1 and a [Crash]
// that keeps some of it show. 0 = never.
func (c *CrashFS) CrashAt(k int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashAt = k
}

// CrashNow makes every later call fail with [ErrCrashed], so that a store that does not know that it is dead changes
// nothing.
func (c *CrashFS) CrashNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashed = true
}

// Crashed reports whether the file system has crashed.
func (c *CrashFS) Crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crashed
}

// Calls returns how many write-class calls there were, those that failed included.
func (c *CrashFS) Calls() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// CallsOf returns how many of them were of one class.
func (c *CrashFS) CallsOf(o Op) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[o]
}

// begin starts a write-class call: it counts it, runs the hook, and returns with c.mu locked, or with an error and
// not.
func (c *CrashFS) begin(op Op, name string) error {
	c.mu.Lock()
	if !c.crashed {
		c.total++
		c.calls[op]++
		call := Call{N: c.total, Op: op, Name: name}
		c.crashed = c.crashAt > 0 && call.N >= c.crashAt
		if hook := c.hook; hook != nil && !c.crashed {
			c.mu.Unlock()
			done := make(chan struct{})
			go func() { // it may open a store, whose locks have no order with those that the caller holds
				defer close(done)
				hook(call)
			}()
			<-done
			c.mu.Lock()
		}
	}
	if c.crashed {
		c.mu.Unlock()
		return pathError(op.String(), name, ErrCrashed)
	}
	return nil
}

// look starts a call that changes nothing: it returns with c.mu locked, or with an error and not.
func (c *CrashFS) look(op, name string) error {
	c.mu.Lock()
	if c.crashed {
		c.mu.Unlock()
		return pathError(op, name, ErrCrashed)
	}
	return nil
}

// take makes one more owner of directory d.
func (c *CrashFS) take(d *node, shared bool) error {
	l := c.locks[d]
	if l == nil {
		l = &memLock{shared: shared}
		c.locks[d] = l
	} else if !shared || !l.shared {
		return ErrLocked
	}
	l.owners++
	return nil
}

// syncMode returns what a sync of name does now, and uses up a mode that holds once.
func (c *CrashFS) syncMode(name string) SyncMode {
	if c.mode == SyncHonest || !matches(c.glob, name) {
		return SyncHonest
	}
	mode := c.mode
	if mode == SyncFailOnce {
		c.mode = SyncHonest
	}
	return mode
}

// matches reports whether the path name, or its last element, matches glob; "" matches everything.
func matches(glob, name string) bool {
	if glob == "" {
		return true
	}
	clean := path.Clean(filepath.ToSlash(name))
	whole, err := path.Match(glob, clean)
	last, _ := path.Match(glob, path.Base(clean))
	if err != nil {
		panic(fmt.Sprintf("fsx: pattern %q: %v", glob, err)) // a test that matches nothing would pass
	}
	return whole || last
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}
