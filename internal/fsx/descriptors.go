package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/puzpuzpuz/xsync/v3"
)

// descriptors are the files of [OS] that this process has open, and which of them hold a descriptor. Files that nobody
// uses at the moment give theirs back when there are many, or when the system has none left, and are opened again when they
// are used next, by the same name in the same directory:
//
//	F8  A descriptor is given back only when everything that was written by it is synced. If it takes a sync to get there
//	    and that fails, the next Sync of the file returns the error (F5).
//	F9  A file that is opened again is the one that it was: another one that has its name now is [ErrReplaced]. The
//	    descriptor of a file whose name is about to be removed or given away is not given back any more.
//
// What was used lately stays: the choice is that of the clock algorithm.
type descriptors struct {
	// live are the files that are not closed, by what they are.
	live *xsync.MapOf[fileID, []*osFile]

	mu   sync.Mutex
	open []*osFile      // of mu: that hold a descriptor
	hand int            // of mu: where to look next in open
	gone map[fileID]int // of mu: what is just being removed or renamed

	held    atomic.Int64 // descriptors that files have or are about to have
	waiting sync.Mutex   // held by the one who waits for a descriptor: others wait in its turn

	most atomic.Int64 // in tests: how many descriptors to hold; 0 is what the system's limit says
}

// shared are those of the process. They are one, since so is the limit.
var shared = sync.OnceValue(func() *descriptors {
	return &descriptors{live: xsync.NewMapOf[fileID, []*osFile](), gone: map[fileID]int{}}
})

const (
	// maxDescriptors bounds how many descriptors are kept, however many there are: each takes some memory of the kernel.
	maxDescriptors = 4096
	// limitShare is which share of the process's limit is used at most.
	limitShare = 4
	// fullWait is how long a call waits for a descriptor while files that use some have to give them back.
	fullWait = 5 * time.Second
	// fullPause is how long it sleeps before it looks again.
	fullPause = 200 * time.Microsecond
)

// max returns how many descriptors to hold, unless more are in use at a time.
func (d *descriptors) max() int {
	if n := d.most.Load(); n > 0 {
		return int(n)
	}
	return max(min(descriptorLimit()/limitShare, maxDescriptors), 1)
}

// openFile opens a file, and knows it from then on.
func (d *descriptors) openFile(p place, mode int, direct bool) (File, error) {
	o := &osFile{at: p, mode: mode &^ (os.O_CREATE | os.O_EXCL)}
	d.makeRoom()
	info, err := o.open(mode, direct, true)
	if err == nil && info.IsDir() {
		err = join(p.error("open", syscall.EISDIR), o.shut())
	}
	if err != nil {
		return nil, err
	}
	o.id = idOf(info)
	if p.dir != nil {
		p.dir.users.Add(1)
	}
	d.add(o)
	return o, nil
}

// open opens the file with a mode. The caller has it for itself.
func (o *osFile) open(mode int, direct, wait bool) (info fs.FileInfo, err error) {
	d := shared()
	d.held.Add(1)
	defer func() {
		if err != nil {
			d.held.Add(-1)
		}
	}()
	f, direct, err := openDirect(func(mode int) (*os.File, error) { return o.at.open(mode, opening{file: true, patient: wait}) }, mode, direct)
	if err != nil {
		return nil, err
	}
	info, err = f.Stat()
	var raw syscall.RawConn
	if err == nil {
		raw, err = f.SyscallConn()
	}
	if err == nil {
		err = raw.Control(func(fd uintptr) { o.fd = fd })
	}
	if err != nil {
		return nil, join(err, f.Close())
	}
	o.f, o.io = f, f
	o.direct.Store(direct)
	return info, nil
}

// shut closes the descriptor. The caller has the file for itself.
func (o *osFile) shut() error {
	err := o.f.Close()
	shared().held.Add(-1)
	return err
}

// unpark opens a file again whose descriptor was given back, if it still is.
func (o *osFile) unpark(wait bool) error {
	if !wait && !o.mu.TryLock() {
		return errBusy // somebody has it, who may be waiting for a descriptor
	}
	if wait {
		o.mu.Lock()
	}
	defer o.mu.Unlock()
	if o.uses.Load() != parkedUses {
		return nil
	}
	d := shared()
	d.makeRoom()
	info, err := o.open(o.mode, o.direct.Load(), wait)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return o.fail("open", fmt.Errorf("%w: %w", ErrReplaced, err))
	case err != nil:
		return err
	case idOf(info) != o.id:
		return join(o.fail("open", ErrReplaced), o.shut())
	}
	if !o.uses.CompareAndSwap(parkedUses, 0) {
		return join(o.errClosed("open"), o.shut())
	}
	d.mu.Lock()
	d.open = append(d.open, o)
	d.mu.Unlock()
	return nil
}

// park gives the descriptor back, if nobody uses the file, and reports whether it did. force has it sync what is not
// synced before.
func (o *osFile) park(force bool) bool {
	if !o.mu.TryLock() {
		return false
	}
	defer o.mu.Unlock()
	if o.lost.Load() != nil {
		return false
	}
	if o.dirty() && force && o.uses.CompareAndSwap(0, 1) {
		if err := o.syncHeld(); err != nil {
			o.lost.Store(&err)
		}
		o.unuse()
	}
	if o.fixed.Load() || o.lost.Load() != nil || !o.uses.CompareAndSwap(0, parkedUses) {
		return false
	}
	if o.dirty() { // nobody makes it so from here on
		if !o.uses.CompareAndSwap(parkedUses, 0) {
			o.shut() // it was closed
		}
		return false
	}
	o.shut() // nothing is to be written that could fail
	return true
}

// add knows o, which was just opened.
func (d *descriptors) add(o *osFile) {
	d.live.Compute(o.id, func(files []*osFile, _ bool) ([]*osFile, bool) {
		return append(slices.Clone(files), o), false // those who have loaded it keep theirs
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone[o.id] > 0 {
		o.fixed.Store(true)
	}
	d.open = append(d.open, o)
}

// forget ends what add began.
func (d *descriptors) forget(o *osFile) {
	d.live.Compute(o.id, func(files []*osFile, _ bool) ([]*osFile, bool) {
		files = slices.DeleteFunc(slices.Clone(files), func(f *osFile) bool { return f == o })
		return files, len(files) == 0
	})
	d.mu.Lock()
	if i := slices.Index(d.open, o); i >= 0 {
		d.take(i)
	}
	d.mu.Unlock()
	if o.at.dir != nil {
		o.at.dir.release()
	}
}

// take removes the i-th of open. The caller holds mu.
func (d *descriptors) take(i int) *osFile {
	o, last := d.open[i], len(d.open)-1
	d.open[i], d.open[last] = d.open[last], nil
	d.open = d.open[:last]
	return o
}

// makeRoom gives descriptors back until there is room for one more, as far as it can.
func (d *descriptors) makeRoom() {
	if !givesBack {
		return
	}
	for most := d.max(); ; {
		d.mu.Lock()
		n := len(d.open)
		d.mu.Unlock()
		if n < most || !d.giveBack() {
			return
		}
	}
}

// giveBack gives one descriptor back and reports whether it could.
func (d *descriptors) giveBack() bool {
	if !givesBack {
		return false
	}
	for _, force := range []bool{false, true} {
		d.mu.Lock()
		n := 2 * len(d.open) // at the second turn of the hand nobody has been seen
		d.mu.Unlock()
		for range n {
			d.mu.Lock()
			o := d.next(force)
			d.mu.Unlock()
			if o == nil {
				continue
			}
			if o.park(force) {
				return true
			}
			d.mu.Lock()
			if o.uses.Load()&closedUses == 0 && !slices.Contains(d.open, o) {
				d.open = append(d.open, o)
			}
			d.mu.Unlock()
		}
	}
	return false
}

// next moves the hand on by one, and takes the file that it has stood at from open if that might give its descriptor back:
// else it is nil. The caller holds mu.
func (d *descriptors) next(force bool) *osFile {
	if len(d.open) == 0 {
		return nil
	}
	if d.hand >= len(d.open) {
		d.hand = 0
	}
	o := d.open[d.hand]
	switch {
	case o.uses.Load() != 0, o.fixed.Load(), o.seen.Swap(false), !force && o.dirty():
		d.hand++
		return nil
	}
	return d.take(d.hand)
}

// leaving sees to it that those who have the files of these names open keep them until they close them, although the names
// are just being removed or given away; left says that they have been.
func (d *descriptors) leaving(places ...place) (left func(), err error) {
	var ids []fileID
	left = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, id := range ids {
			if d.gone[id]--; d.gone[id] == 0 {
				delete(d.gone, id)
			}
		}
	}
	for _, p := range places {
		id, known := p.lookup()
		if !known {
			continue
		}
		d.mu.Lock()
		d.gone[id]++
		d.mu.Unlock()
		ids = append(ids, id)
		files, _ := d.live.Load(id)
		for _, o := range files {
			o.mu.Lock() // whoever is giving it back has done so, or sees fixed
			o.fixed.Store(true)
			o.mu.Unlock()
			if err := o.hold("open", true); err == nil {
				o.unuse()
			} else if !errors.Is(err, os.ErrClosed) && !errors.Is(err, ErrReplaced) {
				left()
				return nil, err
			}
		}
	}
	return left, nil
}

// opening says for whom a descriptor is to be had.
type opening struct {
	file    bool // for an osFile, which held counts already
	patient bool // who can wait; else there is errBusy at once when all are in use
}

// forDirectory is for what holds a descriptor only for the length of a call, and for locks.
var forDirectory = opening{patient: true}

// full reports whether err says that there are no descriptors left, of the process or of the system.
func full(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }

// whenFull has open try again when it finds no descriptor: descriptors are given back, and waited for, a while at most, as
// long as files hold some.
func (d *descriptors) whenFull(who opening, open func() error) error {
	err := open()
	for full(err) && d.giveBack() {
		err = open()
	}
	own := int64(0)
	if who.file {
		own = 1
	}
	switch {
	case !full(err) || d.held.Load() <= own:
		return err
	case !who.patient:
		return errBusy
	}
	start := time.Now()
	d.waiting.Lock()
	defer d.waiting.Unlock()
	for {
		if err = open(); !full(err) || time.Since(start) > fullWait {
			return err
		}
		if !d.giveBack() {
			time.Sleep(fullPause)
		}
	}
}
