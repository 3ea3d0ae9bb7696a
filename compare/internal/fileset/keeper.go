package fileset

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hybridlog/hybridlog/compare/internal/base"
)

// Keeper is what the engines that stand on a Set have in common: Snapshot, Versions, Restore and Close, in terms of what
// the engine does with its state. An engine embeds it.
type Keeper struct {
	Files *Set

	Writing sync.Mutex // one snapshot, restore or close at a time, and whatever else the engine has take turns
	Closed  bool       // set with Writing and the operations' lock held: either of them is enough to read it

	state State
}

// State is what an engine does for its Keeper. Its functions are called with Writing held, except by Open.
type State struct {
	// Operations keeps operations out while it is held; the functions are called without it.
	Operations sync.Locker
	// Read makes the state of files ready. The state is taken into use by calling adopt, or given up by dropping the files;
	// after an error nothing has changed.
	Read func(files []*File) (adopt func(), err error)
	// Finish brings all that was set into finished files and returns those of the state.
	Finish func() ([]*File, error)
	// Dirty reports whether something was set since the last call of Committed or of an adopt.
	Dirty func() bool
	// Committed says that what Finish returned is in the newest manifest, also when only its copy on the remote failed.
	Committed func()
	// Release drops the files of the state. Operations end with ErrClosed by now.
	Release func()
}

// Start opens the directory for the engine of this kind and has its newest state adopted.
func (k *Keeper) Start(kind, dir string, opts base.Options, state State) error {
	k.state = state
	var err error
	if k.Files, err = Open(kind, dir, opts); err != nil {
		return err
	}
	if err = k.adopt(k.Files.Newest(), func([]*File) error { return nil }); err == nil {
		err = k.Files.Collect()
	}
	if err != nil {
		return k.Abandon(err)
	}
	return nil
}

// Abandon gives everything back after an Open that failed with err.
func (k *Keeper) Abandon(err error) error {
	k.state.Release()
	return errors.Join(err, k.Files.unlock())
}

// adopt reads the state of a manifest and takes it into use once save has accepted it.
func (k *Keeper) adopt(m Manifest, save func([]*File) error) error {
	files, err := k.Files.OpenAll(m.Files)
	if err != nil {
		return err
	}
	adopt, err := k.state.Read(files)
	if err == nil {
		err = save(files)
	}
	if err == nil || errors.Is(err, base.ErrRemote) {
		adopt()
		return err
	}
	DropAll(files)
	return err
}

// Snapshot commits the state as a version.
func (k *Keeper) Snapshot(version uint64) error {
	k.Writing.Lock()
	defer k.Writing.Unlock()
	if k.Closed {
		return base.ErrClosed
	}
	if err := k.Files.CheckOrder(version); err != nil {
		return err
	}
	return k.commit(func(files []*File) error { return k.Files.Snapshot(version, files) })
}

// SaveHead commits the state without a version number. The caller holds Writing.
func (k *Keeper) SaveHead() error { return k.commit(k.Files.SaveHead) }

func (k *Keeper) commit(save func([]*File) error) error {
	files, err := k.state.Finish()
	if err != nil {
		return err
	}
	if err = save(files); err == nil || errors.Is(err, base.ErrRemote) {
		k.state.Committed()
	}
	return err
}

// Versions returns the kept versions, oldest first.
func (k *Keeper) Versions() []uint64 {
	k.Writing.Lock()
	defer k.Writing.Unlock()
	return k.Files.Versions()
}

// Reads returns how often a Get has read from a finished file. What merges, snapshots and Open read is not counted.
func (k *Keeper) Reads() uint64 { return k.Files.lookups.Load() }

// Restore brings back a version, 0 the newest. An error other than ErrRemote leaves everything as it is.
func (k *Keeper) Restore(version uint64) error {
	k.Writing.Lock()
	defer k.Writing.Unlock()
	if k.Closed {
		return base.ErrClosed
	}
	m, err := k.Files.Version(version)
	if err != nil {
		return err
	}
	err = k.adopt(m, func(files []*File) error { return k.Files.Restored(m.Version, files) })
	if err != nil {
		return fmt.Errorf("version %d: %w", m.Version, err)
	}
	return nil
}

// Close commits what was set since the last commit, without a version number, and gives the directory back.
func (k *Keeper) Close() error {
	k.Writing.Lock()
	defer k.Writing.Unlock()
	if k.Closed {
		return base.ErrClosed
	}
	k.state.Operations.Lock()
	k.Closed = true
	k.state.Operations.Unlock()
	var err error
	if k.state.Dirty() {
		err = k.SaveHead()
	}
	if errors.Is(err, base.ErrRemote) {
		err = nil // Files.Close tries again and tells.
	}
	k.state.Release()
	return errors.Join(err, k.Files.Close())
}
