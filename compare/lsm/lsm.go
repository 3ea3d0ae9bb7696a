package lsm

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/compare/internal/cache"
	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/zeebo/xxh3"
)

// Kind is the engine's name.
const Kind = "lsm"

// Options are the settings of a Tree. Package compare documents and defaults them.
type Options struct {
	base.Options
	MaxRuns        int
	Density        int
	MemtableBytes  int64
	FalsePositives float64
	WAL            bool
}

// Tree is an open LSM tree. All methods may be called from any goroutine.
type Tree struct {
	opts  Options
	cache *cache.Cache

	writing sync.Mutex // one writer, merge, snapshot or restore at a time
	set     *fileset.Set
	wal     wal
	dirty   bool // something was set since the last commit

	mu     sync.RWMutex // the memtable's contents and runs; changed only under writing as well
	mem    *memtable
	runs   []*run // newest first (L1); the slice is replaced, never changed
	closed bool

	// reading is held by those who read runs. They take it before they let go of mu, so that whoever has replaced the
	// runs under mu and then gets reading alone has them to itself (L3).
	reading sync.RWMutex
}

// Open opens the tree in dir, which it creates.
func Open(dir string, opts Options) (*Tree, error) {
	set, err := fileset.Open(Kind, dir, opts.Options)
	if err != nil {
		return nil, err
	}
	t := &Tree{opts: opts, set: set, mem: newMemtable(), cache: cache.New(0)}
	if err := t.load(); err != nil {
		for _, r := range t.runs {
			r.file.Drop()
		}
		return nil, errors.Join(err, set.Abandon())
	}
	t.budget()
	return t, nil
}

func (t *Tree) load() (err error) {
	if t.runs, err = t.openRuns(t.set.Newest().Files); err != nil {
		return err
	}
	t.wal.sequence = t.set.Newest().Sequence
	if t.opts.Remote == nil { // The state that a remote gives comes before local files.
		if err := t.replay(); err != nil {
			return err
		}
	}
	return errors.Join(t.collectLogs(), t.set.Collect())
}

// openRuns opens the runs of a manifest, all or none.
func (t *Tree) openRuns(refs []fileset.Ref) ([]*run, error) {
	files, err := t.set.OpenAll(refs)
	if err != nil {
		return nil, err
	}
	runs := make([]*run, len(files))
	for i, f := range files {
		if runs[i], err = openRun(f); err != nil {
			fileset.DropAll(files)
			return nil, err
		}
	}
	return runs, nil
}

// budget gives the cache what the memtable and the runs' indexes leave of the memory.
func (t *Tree) budget() {
	left := t.opts.MemoryBytes - t.opts.MemtableBytes
	for _, r := range t.runs {
		left -= r.memory()
	}
	t.cache.Resize(max(left, t.opts.MemoryBytes/64))
}

// Get returns a copy of key's value, or nil when it is absent.
func (t *Tree) Get(key []byte) ([]byte, error) {
	if err := base.CheckKey(key); err != nil {
		return nil, err
	}
	t.mu.RLock()
	if t.closed {
		t.mu.RUnlock()
		return nil, base.ErrClosed
	}
	if value, ok := t.mem.get(key); ok {
		value = clone(value)
		t.mu.RUnlock()
		return value, nil
	}
	runs := t.runs
	t.reading.RLock()
	t.mu.RUnlock()
	defer t.reading.RUnlock()
	hash := xxh3.Hash(key)
	for _, r := range runs {
		if value, ok, err := r.get(key, hash, t.cache); ok || err != nil {
			return clone(value), err
		}
	}
	return nil, nil
}

// clone copies a value; that of a tombstone is nil.
func clone(value []byte) []byte {
	if len(value) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(value)), value...)
}

// Set sets key's value; an empty one deletes it.
func (t *Tree) Set(key, value []byte) error {
	if err := base.CheckPair(key, value); err != nil {
		return err
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.closed {
		return base.ErrClosed
	}
	if t.mem.used() >= t.opts.MemtableBytes {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if t.opts.WAL {
		if t.wal.flushed >= t.walLimit() {
			if err := t.commit(func() error { return t.set.SaveHead(t.files()) }); err != nil {
				return err
			}
		}
		if err := t.log(key, value); err != nil {
			return err
		}
	}
	t.mu.Lock()
	t.mem.put(key, value)
	t.mu.Unlock()
	t.dirty = true
	return nil
}

// walLimit is how long the log may get before its records are committed in runs and it starts anew.
func (t *Tree) walLimit() int64 { return max(4*t.opts.MemtableBytes, 16<<20) }

// Size returns the bytes of memory held: memtable, fences, filters, cached blocks and the log's buffer.
func (t *Tree) Size() int64 {
	t.writing.Lock()
	defer t.writing.Unlock()
	n := t.mem.held() + t.cache.Bytes() + int64(cap(t.wal.buf))
	for _, r := range t.runs {
		n += r.memory()
	}
	return n
}

// Snapshot commits the state as a version.
func (t *Tree) Snapshot(version uint64) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.closed {
		return base.ErrClosed
	}
	if err := t.set.CheckOrder(version); err != nil {
		return err
	}
	return t.commit(func() error { return t.set.Snapshot(version, t.files()) })
}

// commit brings everything into runs and has save commit them.
func (t *Tree) commit(save func() error) error {
	if err := t.flush(); err != nil {
		return err
	}
	err := save()
	if err == nil || errors.Is(err, base.ErrRemote) {
		t.dirty = false
		t.trim()
	}
	return err
}

func (t *Tree) files() []*fileset.File {
	files := make([]*fileset.File, len(t.runs))
	for i, r := range t.runs {
		files[i] = r.file
	}
	return files
}

// Versions returns the kept versions, oldest first.
func (t *Tree) Versions() []uint64 {
	t.writing.Lock()
	defer t.writing.Unlock()
	return t.set.Versions()
}

// Restore brings back a version, 0 the newest. An error other than ErrRemote leaves everything as it is.
func (t *Tree) Restore(version uint64) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.closed {
		return base.ErrClosed
	}
	m, err := t.set.Version(version)
	if err != nil {
		return err
	}
	runs, err := t.openRuns(m.Files)
	if err != nil {
		return fmt.Errorf("version %d: %w", m.Version, err)
	}
	old := t.runs
	files := make([]*fileset.File, len(runs))
	for i, r := range runs {
		files[i] = r.file
	}
	if err = t.set.Restored(m.Version, files); err != nil && !errors.Is(err, base.ErrRemote) {
		fileset.DropAll(files)
		return err
	}
	t.mu.Lock()
	t.runs = runs
	t.mem.reset()
	t.mu.Unlock()
	t.drop(old)
	t.budget()
	t.dirty = false
	t.trim()
	return err
}

// Close commits what was set since the last commit, without a version number, and gives the directory back.
func (t *Tree) Close() error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.closed {
		return base.ErrClosed
	}
	var err error
	if t.dirty {
		err = t.commit(func() error { return t.set.SaveHead(t.files()) })
	}
	if errors.Is(err, base.ErrRemote) {
		err = nil // set.Close tries again and tells.
	}
	t.mu.Lock()
	t.closed = true
	runs := slices.Clone(t.runs)
	t.mu.Unlock()
	t.drop(runs)
	if t.wal.f != nil {
		err = errors.Join(err, t.wal.f.Close())
	}
	return errors.Join(err, t.set.Close())
}
