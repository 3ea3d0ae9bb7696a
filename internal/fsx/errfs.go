package fsx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// Class is a class of calls that an [ErrFS] counts and may fail.
type Class uint8

// The classes. Close is none: it reports nothing that a Sync did not.
const (
	ClassRead Class = iota
	ClassWrite
	ClassSync
	ClassAllocate
	ClassTruncate
	ClassSize
	ClassOpen // creating included, and opening a directory
	ClassMkdir
	ClassRename
	ClassRemove
	ClassList
	ClassSyncDir
	ClassLock
	NumClasses // how many there are; every class is below it
)

var classNames = [NumClasses]string{
	"read", "write", "sync", "allocate", "truncate", "size", "open", "mkdir", "rename", "remove", "list", "syncdir", "lock",
}

// String returns the name of the class.
func (c Class) String() string {
	if c >= NumClasses {
		return fmt.Sprintf("Class(%d)", uint8(c))
	}
	return classNames[c]
}

// Fault is what goes wrong, and when. The zero value of each field but Class is usable.
type Fault struct {
	Class Class
	// Match picks the calls by name: it is a pattern (see [path.Match]) for the path or its last element; "" matches
	// all. A rename has two names and is picked by either.
	Match string
	// Nth is which of the calls of Class that Match picks fails, counted from 1 since Inject. 0 = the next.
	Nth int64
	// Sticky has all calls after the Nth fail, too.
	Sticky bool
	// Err is the error, wrapped as the real file system wraps it; nil = EIO. EINTR is special: package fsx retries
	// interrupted calls inside, so this call succeeds, and only [Injection.Fired] tells.
	Err error
	// Short has a read or write do its first Short bytes. A read then returns them with [io.EOF], as from a file that was
	// truncated, unless Err says otherwise. A write returns 0 and [io.ErrShortWrite] or Err, as [File.WriteAt] does
	// after a short write that it could not continue. 0 = nothing is done.
	Short int
	// After has the call done in full before it returns the error: the caller is told that it failed, and it has not.
	// It means nothing for List, Lock and Size.
	After bool
}

// Injection is a fault at work.
type Injection struct {
	fs    *ErrFS
	fault Fault
	calls int64 // that it picked
	fired int64
}

// Fired returns how many calls it failed (for EINTR: interrupted).
func (i *Injection) Fired() int64 {
	i.fs.mu.Lock()
	defer i.fs.mu.Unlock()
	return i.fired
}

// Clear ends the fault. Calls go through again.
func (i *Injection) Clear() {
	i.fs.mu.Lock()
	defer i.fs.mu.Unlock()
	i.fs.injected = slices.DeleteFunc(i.fs.injected, func(o *Injection) bool { return o == i })
}

// ErrFS is a file system around another one that counts calls, fails those it was told to fail, and holds those it
// was told to hold. To fail at every k, run a script once, read [ErrFS.Count], and run it again with Nth = 1, 2, ….
//
// It models: errors of single calls, once or for ever; errors after the effect; short reads and writes; a disk that
// is full after so many more bytes; calls that take as long as the test likes. It does not model what a failed Sync
// does to the bytes (the inner file system goes on as if nothing had been asked; [CrashFS.FailSync] drops them), nor
// an error of Close.
type ErrFS struct {
	inner FS

	mu       sync.Mutex
	injected []*Injection
	gates    []*Gate
	counts   [NumClasses]int64
	limited  bool
	budget   int64 // bytes by which files may still grow
}

// NewErr returns an ErrFS around inner. Nothing fails until it is told to.
func NewErr(inner FS) *ErrFS { return &ErrFS{inner: inner} }

// Count returns how many calls of a class there were, those that failed included.
func (e *ErrFS) Count(c Class) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[c]
}

// Inject puts a fault to work. Several may be: each counts for itself, and the first that is due decides.
func (e *ErrFS) Inject(f Fault) *Injection {
	matches(f.Match, "") // panics now, not in the middle of a call
	f.Nth = max(f.Nth, 1)
	if f.Err == nil {
		f.Err = syscall.EIO
		if f.Short > 0 {
			f.Err = map[bool]error{true: io.EOF, false: io.ErrShortWrite}[f.Class == ClassRead]
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i := &Injection{fs: e, fault: f}
	e.injected = append(e.injected, i)
	return i
}

// SetBudget lets files grow by n more bytes, by writes past their end and by Allocate; then these return ENOSPC, a
// write after it wrote what fits. Overwriting costs nothing, truncating and removing give nothing back: set a new
// budget for space that returns. n < 0 takes the limit away, as at first. (For a disk with a capacity, see
// [CrashFS.SetSpace].)
func (e *ErrFS) SetBudget(n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limited, e.budget = n >= 0, n
}

// spend takes up to n bytes from the budget and returns how many there were.
func (e *ErrFS) spend(n int64) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.limited {
		n = min(n, e.budget)
		e.budget -= n
	}
	return n
}

// refund gives back what was spent on a call that did not happen. Without a limit it does no harm.
func (e *ErrFS) refund(n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.budget += n
}

// enter counts a call, holds it if it must, and returns the fault that hits it, nil if none does.
func (e *ErrFS) enter(c Class, names ...string) *Fault {
	e.mu.Lock()
	e.counts[c]++
	var held []*Gate
	for _, g := range e.gates {
		if g.class == c && picks(g.match, names) {
			held = append(held, g)
		}
	}
	e.mu.Unlock()
	for _, g := range held {
		g.pass()
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	var hit *Fault
	for _, i := range e.injected {
		if i.fault.Class != c || !picks(i.fault.Match, names) {
			continue
		}
		i.calls++
		due := i.calls == i.fault.Nth || i.fault.Sticky && i.calls > i.fault.Nth
		switch {
		case !due:
		case errors.Is(i.fault.Err, syscall.EINTR):
			i.fired++
		case hit == nil:
			i.fired++
			hit = &i.fault
		}
	}
	return hit
}

func picks(glob string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return matches(glob, name) })
}

// do runs a call that has an effect or not, and no other result.
func (e *ErrFS) do(c Class, name string, call func() error) error {
	f := e.enter(c, name)
	if f == nil {
		return call()
	}
	if f.After {
		if err := call(); err != nil {
			return err
		}
	}
	return pathError(c.String(), name, f.Err)
}

// Open implements [FS].
func (e *ErrFS) Open(name string, f Flag) (File, error) { return e.top().Open(name, f) }

// MkdirAll implements [FS].
func (e *ErrFS) MkdirAll(dir string) error { return e.top().MkdirAll(dir) }

// Remove implements [FS].
func (e *ErrFS) Remove(name string) error { return e.top().Remove(name) }

// Rename implements [FS].
func (e *ErrFS) Rename(oldName, newName string) error { return e.top().Rename(oldName, newName) }

// RenameNew implements [FS]: of [ClassRename], as Rename is.
func (e *ErrFS) RenameNew(oldName, newName string) error { return e.top().RenameNew(oldName, newName) }

// List implements [FS].
func (e *ErrFS) List(dir string) ([]Entry, error) { return e.top().List(dir) }

// SyncDir implements [FS].
func (e *ErrFS) SyncDir(dir string) error { return e.top().SyncDir(dir) }

// Lock implements [FS].
func (e *ErrFS) Lock(dir string, shared bool) (release func() error, err error) {
	return e.top().Lock(dir, shared)
}

// OpenRoot implements [FS]: faults and gates hold for the Root as well. It is a call of [ClassOpen].
func (e *ErrFS) OpenRoot(dir string) (Root, error) { return e.top().OpenRoot(dir) }

// errRoot is an ErrFS on the file system that its calls go to.
type errRoot struct {
	e     *ErrFS
	inner FS
	root  Root // the same, when it is one
}

func (e *ErrFS) top() errRoot { return errRoot{e: e, inner: e.inner} }

func (r errRoot) Close() error { return r.root.Close() }

func (r errRoot) OpenRoot(dir string) (Root, error) {
	var root Root
	err := r.e.do(ClassOpen, dir, func() (err error) {
		root, err = r.inner.OpenRoot(dir)
		return err
	})
	if err != nil {
		if root != nil { // opened, and then said to have failed
			err = join(err, root.Close())
		}
		return nil, err
	}
	return errRoot{r.e, root, root}, nil
}

func (r errRoot) Open(name string, f Flag) (File, error) {
	var file File
	err := r.e.do(ClassOpen, name, func() (err error) {
		file, err = r.inner.Open(name, f)
		return err
	})
	if err != nil {
		if file != nil {
			err = join(err, file.Close())
		}
		return nil, err
	}
	return &errFile{fs: r.e, inner: file, name: name}, nil
}

func (r errRoot) MkdirAll(dir string) error {
	return r.e.do(ClassMkdir, dir, func() error { return r.inner.MkdirAll(dir) })
}

func (r errRoot) Remove(name string) error {
	return r.e.do(ClassRemove, name, func() error { return r.inner.Remove(name) })
}

func (r errRoot) Rename(oldName, newName string) error {
	return r.rename(oldName, newName, r.inner.Rename)
}

func (r errRoot) RenameNew(oldName, newName string) error {
	return r.rename(oldName, newName, r.inner.RenameNew)
}

func (r errRoot) rename(oldName, newName string, rename func(oldName, newName string) error) error {
	f := r.e.enter(ClassRename, oldName, newName)
	if f == nil || f.After {
		if err := rename(oldName, newName); err != nil {
			return err
		}
	}
	if f != nil {
		return linkError(oldName, newName, f.Err)
	}
	return nil
}

func (r errRoot) List(dir string) ([]Entry, error) {
	if f := r.e.enter(ClassList, dir); f != nil {
		return nil, pathError("list", dir, f.Err)
	}
	return r.inner.List(dir)
}

func (r errRoot) SyncDir(dir string) error {
	return r.e.do(ClassSyncDir, dir, func() error { return r.inner.SyncDir(dir) })
}

func (r errRoot) Lock(dir string, shared bool) (release func() error, err error) {
	if f := r.e.enter(ClassLock, dir); f != nil {
		return nil, pathError("lock", dir, f.Err)
	}
	return r.inner.Lock(dir, shared)
}

// errFile is an open file of an ErrFS.
type errFile struct {
	fs    *ErrFS
	inner File
	name  string
}

func (f *errFile) ReadAt(p []byte, off int64) (int, error) {
	hit := f.fs.enter(ClassRead, f.name)
	if hit == nil {
		return f.inner.ReadAt(p, off)
	}
	n := 0
	if hit.After || hit.Short > 0 {
		var err error
		if n, err = f.inner.ReadAt(p, off); err != nil && err != io.EOF {
			return n, err
		}
	}
	if !hit.After {
		n = min(n, hit.Short)
	}
	clear(p[n:]) // a caller that overlooks n must not find the right bytes there
	if hit.Err == io.EOF {
		return n, io.EOF // bare, as io.ReaderAt has it
	}
	return n, pathError("read", f.name, hit.Err)
}

func (f *errFile) WriteAt(p []byte, off int64) (int, error) {
	hit := f.fs.enter(ClassWrite, f.name)
	if hit != nil {
		if !hit.After {
			p = p[:min(len(p), hit.Short)]
		}
		if len(p) > 0 {
			if err := f.writePart(p, off); err != nil {
				return 0, err
			}
		}
		return 0, pathError("write", f.name, hit.Err)
	}
	growth, err := f.growth(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	lacking := growth - f.fs.spend(growth)
	if lacking == 0 {
		return f.inner.WriteAt(p, off)
	}
	if err := f.writePart(p[:int64(len(p))-lacking], off); err != nil {
		return 0, err
	}
	return 0, pathError("write", f.name, syscall.ENOSPC)
}

// writePart writes p, which may be the unaligned beginning of an aligned write: the sectors around it are then written
// whole, with what they held.
func (f *errFile) writePart(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	if !f.inner.Direct() || len(p)%BlockSize == 0 {
		_, err := f.inner.WriteAt(p, off)
		return err
	}
	whole := mem.AlignedBytes((len(p)+BlockSize-1)/BlockSize*BlockSize, BlockSize)
	if _, err := f.inner.ReadAt(whole, off); err != nil && err != io.EOF {
		return err
	}
	copy(whole, p)
	_, err := f.inner.WriteAt(whole, off)
	return err
}

// growth returns by how much n bytes at off make the file longer. Arguments that the inner file will refuse cost
// nothing.
func (f *errFile) growth(off, n int64) (int64, error) {
	if off < 0 || n <= 0 || off+n < 0 {
		return 0, nil
	}
	size, err := f.inner.Size()
	if err != nil {
		return 0, err
	}
	return min(n, max(0, off+n-size)), nil
}

func (f *errFile) Sync() error { return f.fs.do(ClassSync, f.name, f.inner.Sync) }

func (f *errFile) Allocate(off, n int64) error {
	return f.fs.do(ClassAllocate, f.name, func() error {
		growth, err := f.growth(off, n)
		if err != nil {
			return err
		}
		if paid := f.fs.spend(growth); paid < growth {
			f.fs.refund(paid)
			return pathError("allocate", f.name, syscall.ENOSPC)
		}
		return f.inner.Allocate(off, n)
	})
}

func (f *errFile) Truncate(n int64) error {
	return f.fs.do(ClassTruncate, f.name, func() error { return f.inner.Truncate(n) })
}

func (f *errFile) Size() (int64, error) {
	if hit := f.fs.enter(ClassSize, f.name); hit != nil {
		return 0, pathError("size", f.name, hit.Err)
	}
	return f.inner.Size()
}

func (f *errFile) Direct() bool { return f.inner.Direct() }

func (f *errFile) InPlace() error { return f.inner.InPlace() }

func (f *errFile) Close() error { return f.inner.Close() }

// Gate holds calls until the test lets them go: a device that is as slow as it pleases.
type Gate struct {
	fs    *ErrFS
	class Class
	match string

	mu      sync.Mutex
	change  chan struct{} // closed, and made anew, when the fields below change
	waiting int           // calls that are held
	let     int           // calls that may still pass
	open    bool
}

// Hold has every call of a class that match picks (see [Fault.Match]) wait, before it has any effect and before any
// fault, until the gate lets it pass.
func (e *ErrFS) Hold(c Class, match string) *Gate {
	matches(match, "")
	g := &Gate{fs: e, class: c, match: match, change: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gates = append(e.gates, g)
	return g
}

// pass waits until the call may go on.
func (g *Gate) pass() {
	g.mu.Lock()
	g.waiting++
	g.changed()
	for !g.open && g.let == 0 {
		g.wait(context.Background())
	}
	g.waiting--
	if !g.open {
		g.let--
	}
	g.changed()
	g.mu.Unlock()
}

// wait unlocks g.mu until something changes or ctx ends.
func (g *Gate) wait(ctx context.Context) {
	change := g.change
	g.mu.Unlock()
	select {
	case <-change:
	case <-ctx.Done():
	}
	g.mu.Lock()
}

// changed wakes everybody up. g.mu is locked.
func (g *Gate) changed() {
	close(g.change)
	g.change = make(chan struct{})
}

// Await returns when n calls or more are held, or with the error of ctx.
func (g *Gate) Await(ctx context.Context, n int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.waiting < n {
		if err := ctx.Err(); err != nil {
			return err
		}
		g.wait(ctx)
	}
	return nil
}

// Waiting returns how many calls are held now.
func (g *Gate) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

// Let lets n calls pass, held ones or the next to come.
func (g *Gate) Let(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.let += n
	g.changed()
}

// Open lets all calls pass and takes the gate away.
func (g *Gate) Open() {
	g.fs.mu.Lock()
	g.fs.gates = slices.DeleteFunc(g.fs.gates, func(o *Gate) bool { return o == g })
	g.fs.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
	g.changed()
}
