package lsm

import (
	"errors"
	"sync"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/compare/internal/cache"
	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/sorted"
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

// Tree is an open LSM tree. All methods may be called from any goroutine. A Set and a merge hold Writing.
type Tree struct {
	fileset.Keeper
	opts  Options
	cache *cache.Cache
	wal   *fileset.Journal
	dirty bool // something was set since the last commit

	mu   sync.RWMutex // the memtable's contents and runs; changed only under Writing as well
	mem  sorted.Table
	runs []*run // newest first (L1); the slice is replaced, never changed

	// reading is held by those who read runs. They take it before they let go of mu, so that whoever has replaced the
	// runs under mu and then gets reading alone has them to itself (L3).
	reading sync.RWMutex
}

// Open opens the tree in dir, which it creates.
func Open(dir string, opts Options) (*Tree, error) {
	t := &Tree{opts: opts, cache: cache.New(0)}
	err := t.Start(Kind, dir, opts.Options, fileset.State{Operations: &t.mu, Read: t.read, Finish: t.finish,
		Dirty: func() bool { return t.dirty }, Committed: t.committed, Release: t.release})
	if err != nil {
		return nil, err
	}
	t.wal = t.Files.Journal()
	if t.opts.Remote == nil { // The state that a remote gives comes before local files.
		// A log is replayed whether or not it is still wanted.
		err = t.wal.Replay(t.put)
	}
	if err = errors.Join(err, t.wal.Collect()); err != nil {
		return nil, t.Abandon(err)
	}
	return t, nil
}

// read opens the runs of a state.
func (t *Tree) read(files []*fileset.File) (adopt func(), err error) {
	runs := make([]*run, len(files))
	for i, f := range files {
		if runs[i], err = openRun(f); err != nil {
			return nil, err
		}
	}
	return func() {
		old := t.runs
		t.mu.Lock()
		t.runs = runs
		t.mem.Reset()
		t.mu.Unlock()
		t.drop(old)
		t.budget()
		t.committed()
	}, nil
}

// finish brings the memtable into a run.
func (t *Tree) finish() ([]*fileset.File, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	files := make([]*fileset.File, len(t.runs))
	for i, r := range t.runs {
		files[i] = r.file
	}
	return files, nil
}

func (t *Tree) committed() {
	t.dirty = false
	if t.wal != nil {
		t.wal.Advance()
	}
}

func (t *Tree) release() {
	t.mu.Lock()
	old := t.runs
	t.runs = nil
	t.mu.Unlock()
	t.drop(old)
	if t.wal != nil {
		t.wal.Close() // Its records are committed, or the error of the commit is on its way to the caller.
	}
}

// budget gives the cache what the memtable and the runs' indexes leave of the memory. A memtable holds somewhat more than it
// uses: its arrays grow by steps, and its leaves are two thirds full. The caller holds Writing.
func (t *Tree) budget() {
	left := t.opts.MemoryBytes - max(t.opts.MemtableBytes, t.mem.Held())
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
	if t.Closed {
		t.mu.RUnlock()
		return nil, base.ErrClosed
	}
	if value, ok := t.mem.Get(key); ok {
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
	t.Writing.Lock()
	defer t.Writing.Unlock()
	if t.Closed {
		return base.ErrClosed
	}
	if t.opts.WAL {
		// A log that got long is committed in runs and starts anew.
		if t.wal.Length() >= max(4*t.opts.MemtableBytes, 16<<20) {
			if err := t.SaveHead(); err != nil {
				return err
			}
		}
		if err := t.makeRoom(); err != nil {
			return err
		}
		if err := t.wal.Append(key, value); err != nil {
			return err
		}
	}
	return t.put(key, value)
}

// makeRoom flushes a full memtable.
func (t *Tree) makeRoom() error {
	if t.mem.Used() < t.opts.MemtableBytes {
		return nil
	}
	return t.flush()
}

// put sets a key in the memtable.
func (t *Tree) put(key, value []byte) error {
	if err := t.makeRoom(); err != nil {
		return err
	}
	t.mu.Lock()
	t.mem.Put(key, value)
	t.mu.Unlock()
	t.dirty = true
	return nil
}

// Size returns the bytes of memory held: memtable, fences, filters, cached blocks and the log's buffer.
func (t *Tree) Size() int64 {
	t.Writing.Lock()
	defer t.Writing.Unlock()
	n := t.mem.Held() + t.cache.Bytes() + t.wal.Memory()
	for _, r := range t.runs {
		n += r.memory()
	}
	return n
}
