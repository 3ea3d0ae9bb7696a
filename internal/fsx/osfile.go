package fsx

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
)

// osFile is a file that can do without its descriptor while nobody uses it (see descriptors). Who uses the descriptor has
// a use: hold takes one, and opens the file again if its descriptor was given back; unuse ends it.
//
// Interruption and long transfers are left to os.File.
type osFile struct {
	at     place
	mode   int // as [os.OpenFile] takes it, without what makes a file
	direct atomic.Bool
	id     fileID

	// uses counts the uses, plus closedUses once it is closed, or is parkedUses when the descriptor is given back.
	uses atomic.Int64

	// Written when there is no use and the descriptor comes or goes, read by those who have one.
	f  *os.File
	fd uintptr
	io interface { // f; in tests, a device with manners that this machine's have not
		io.ReaderAt
		io.WriterAt
	}

	// What was written and not synced must not lose its descriptor: the system tells of a write that it could not carry out
	// to who has had the file open (F5).
	changes atomic.Uint64         // calls that may have changed the file and have ended
	synced  atomic.Uint64         // how many of them a sync has made durable
	lost    atomic.Pointer[error] // of a sync that was not asked for; the next one returns it

	mu    sync.Mutex  // held while the descriptor comes or goes
	seen  atomic.Bool // used since descriptors looked last
	fixed atomic.Bool // its name is gone or was given away: the descriptor is all there is
}

const (
	// closedUses marks a file as closed. It is far from any number of uses.
	closedUses = 1 << 40
	// parkedUses marks a file whose descriptor is given back.
	parkedUses = 1 << 41
)

// opener opens one file, with a mode as [os.OpenFile] takes it.
type opener func(mode int) (*os.File, error)

// errBusy says that there is no descriptor at the moment.
var errBusy = errors.New("fsx: no descriptor at the moment")

// hold keeps the descriptor open until unuse, unless the file is closed. If the descriptor was given back, and there is
// none to be had at the moment, it waits for one for a while, or returns errBusy if wait is not set.
func (o *osFile) hold(op string, wait bool) error {
	if !o.seen.Load() {
		o.seen.Store(true)
	}
	for {
		switch n := o.uses.Load(); {
		case n&closedUses != 0:
			return o.errClosed(op)
		case n == parkedUses:
			if err := o.unpark(wait); err != nil {
				return err
			}
		case o.uses.CompareAndSwap(n, n+1):
			return nil
		}
	}
}

func (o *osFile) unuse() {
	if o.uses.Add(-1) == closedUses {
		o.end()
	}
}

// changed says that a call that may have changed the file has ended. The caller has a use.
func (o *osFile) changed() { o.changes.Add(1) }

// dirty reports whether something may not be durable.
func (o *osFile) dirty() bool { return o.changes.Load() != o.synced.Load() }

// end gives everything back. The file is closed, and nobody has a use.
func (o *osFile) end() error {
	err := o.shut()
	shared().forget(o)
	return err
}

// Close closes the file; its descriptor is kept until no read of a queue uses it any more (F6).
func (o *osFile) Close() error {
	for {
		n := o.uses.Load()
		if n&closedUses != 0 {
			return o.errClosed("close")
		}
		if o.uses.CompareAndSwap(n, n+closedUses) {
			switch n {
			case 0:
				return o.end()
			case parkedUses:
				shared().forget(o)
			}
			return nil
		}
	}
}

func (o *osFile) ReadAt(p []byte, off int64) (int, error) {
	if err := o.hold("read", true); err != nil {
		return 0, err
	}
	defer o.unuse()
	if err := o.check("read", p, off); err != nil {
		return 0, err
	}
	return o.readAt(p, off)
}

// readAt is ReadAt for who has a use, after the arguments have been checked.
func (o *osFile) readAt(p []byte, off int64) (int, error) {
	n, err := o.io.ReadAt(p, off)
	if err == nil || err == io.EOF || !o.direct.Load() || !errors.Is(err, syscall.EINVAL) {
		return n, err
	}
	if o.refused(n, err) {
		return o.readAt(p, off)
	}
	// A read that got something and stopped is continued by os.File where it stopped, and the end of a file is seldom
	// aligned: that EINVAL is the end of the file, unless it is still further on.
	size, serr := o.size()
	if serr != nil {
		return n, serr
	}
	if off+int64(n) >= size {
		return n, io.EOF
	}
	done := n &^ (BlockSize - 1)
	if done == 0 {
		return n, err
	}
	n, err = o.readAt(p[done:], off+int64(done))
	return done + n, err
}

func (o *osFile) WriteAt(p []byte, off int64) (int, error) {
	if err := o.hold("write", true); err != nil {
		return 0, err
	}
	defer o.unuse()
	if err := o.check("write", p, off); err != nil {
		return 0, err
	}
	return o.writeAt(p, off)
}

// writeAt is WriteAt for who has a use, after the arguments have been checked.
func (o *osFile) writeAt(p []byte, off int64) (int, error) {
	defer o.changed()
	n, err := o.io.WriteAt(p, off)
	if err == nil {
		return n, nil
	}
	if o.refused(n, err) {
		return o.writeAt(p, off)
	}
	return 0, err
}

// check returns the error of a call with these arguments. Alignment is demanded also where the device would take
// less: what works here must work elsewhere.
func (o *osFile) check(op string, p []byte, off int64) error {
	var addr uintptr
	direct := o.direct.Load()
	if direct {
		addr = address(p)
	}
	return checkRange(op, o.at.name, direct, off, len(p), addr)
}

// refused is called when the device refused an aligned direct call. It turns the file into a buffered one and reports
// whether the call is worth another try.
func (o *osFile) refused(n int, err error) bool {
	if n != 0 || !errors.Is(err, syscall.EINVAL) || !o.direct.Load() || !o.setBuffered() {
		return false
	}
	o.direct.Store(false)
	return true
}

// address returns the address of the first byte of p, 0 if there is none. A pointer goes into reflect without being
// allocated, a slice would not.
func address(p []byte) uintptr {
	if len(p) == 0 {
		return 0
	}
	return reflect.ValueOf(&p[0]).Pointer()
}

func (o *osFile) Sync() error {
	if err := o.hold("sync", true); err != nil {
		return err
	}
	defer o.unuse()
	return o.syncHeld()
}

// syncHeld is Sync for who has a use.
func (o *osFile) syncHeld() error {
	if err := o.takeLost(); err != nil {
		return err
	}
	before := o.changes.Load()
	err := o.sync()
	if err == nil {
		o.syncedUpTo(before)
	}
	return err
}

// takeLost returns the error of a sync that nobody has been told of.
func (o *osFile) takeLost() error {
	if lost := o.lost.Swap(nil); lost != nil {
		return *lost
	}
	return nil
}

// syncedUpTo says that a sync that has begun after so many changes has succeeded.
func (o *osFile) syncedUpTo(changes uint64) {
	for {
		n := o.synced.Load()
		if n >= changes || o.synced.CompareAndSwap(n, changes) {
			return
		}
	}
}

func (o *osFile) Allocate(off, n int64) error {
	if off < 0 || n <= 0 || off+n < 0 {
		return o.fail("allocate", syscall.EINVAL)
	}
	if err := o.hold("allocate", true); err != nil {
		return err
	}
	defer o.unuse()
	defer o.changed()
	return o.allocate(off, n)
}

// grow is allocate without a reservation.
func (o *osFile) grow(end int64) error {
	size, err := o.size()
	if err != nil || size >= end {
		return err
	}
	return o.f.Truncate(end)
}

func (o *osFile) Truncate(n int64) error {
	if err := o.hold("truncate", true); err != nil {
		return err
	}
	defer o.unuse()
	defer o.changed()
	return o.f.Truncate(n)
}

func (o *osFile) Size() (int64, error) {
	if err := o.hold("size", true); err != nil {
		return 0, err
	}
	defer o.unuse()
	return o.size()
}

func (o *osFile) size() (int64, error) {
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (o *osFile) Direct() bool { return o.direct.Load() }

func (o *osFile) InPlace() error {
	if o.uses.Load()&closedUses != 0 || o.at.dir != nil && o.at.dir.closed.Load() {
		return o.errClosed("look up")
	}
	now, err := o.at.stat()
	if err == nil && now != o.id || errors.Is(err, fs.ErrNotExist) {
		return o.fail("look up", ErrReplaced)
	}
	return err
}

func (o *osFile) errClosed(op string) error { return o.fail(op, os.ErrClosed) }

func (o *osFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: o.at.name, Err: err}
}
