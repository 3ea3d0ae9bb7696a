package appendlog

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/compare/internal/cache"
	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/record"
)

// Kind is the engine's name.
const Kind = "appendlog"

// Options are the settings of a Log. Package compare documents and defaults them.
type Options struct {
	base.Options
	MaxRuns        int
	ThresholdBytes int64
	Compaction     bool
}

// Log is an open append log. All methods may be called from any goroutine.
type Log struct {
	opts  Options
	cache *cache.Cache

	writing sync.Mutex // one writer, merge, snapshot or restore at a time
	set     *fileset.Set
	raw     []byte // the record that is being written
	dirty   bool   // something was set since the last commit

	mu       sync.RWMutex // what follows; changed only under writing as well
	index    *index
	files    []*fileset.File // sealed, oldest first (A1)
	byNumber map[uint32]*fileset.File
	active   *fileset.Writer // nil until something is written
	closed   bool

	// reading is held by those who read sealed files. They take it before they let go of mu, so that whoever has replaced
	// files under mu and then gets reading alone has the old ones to itself (A4).
	reading sync.RWMutex
}

// Open opens the log in dir, which it creates.
func Open(dir string, opts Options) (*Log, error) {
	set, err := fileset.Open(Kind, dir, opts.Options)
	if err != nil {
		return nil, err
	}
	l := &Log{opts: opts, set: set, cache: cache.New(0)}
	if l.files, l.index, err = l.load(set.Newest().Files); err == nil {
		err = set.Collect()
	}
	if err != nil {
		fileset.DropAll(l.files)
		return nil, errors.Join(err, set.Abandon())
	}
	l.number()
	l.budget()
	return l, nil
}

// load opens the files of a manifest and rebuilds the index from them.
func (l *Log) load(refs []fileset.Ref) ([]*fileset.File, *index, error) {
	files, err := l.set.OpenAll(refs)
	if err != nil {
		return nil, nil, err
	}
	x := newIndex()
	for _, f := range files {
		err := replay(f, func(key []byte, value int, offset int64, size int) {
			if value == 0 {
				x.delete(key)
			} else {
				x.set(key, location{offset, uint32(f.Number), uint32(size)})
			}
		})
		if err != nil {
			fileset.DropAll(files)
			return nil, nil, err
		}
	}
	return files, x, nil
}

func (l *Log) number() {
	l.byNumber = make(map[uint32]*fileset.File, len(l.files))
	for _, f := range l.files {
		l.byNumber[uint32(f.Number)] = f
	}
}

// budget gives the cache what the index leaves of the memory.
func (l *Log) budget() {
	l.cache.Resize(max(l.opts.MemoryBytes-l.index.memory(), l.opts.MemoryBytes/64))
}

// Get returns a copy of key's value, or nil when it is absent.
func (l *Log) Get(key []byte) ([]byte, error) {
	if err := base.CheckKey(key); err != nil {
		return nil, err
	}
	l.mu.RLock()
	if l.closed {
		l.mu.RUnlock()
		return nil, base.ErrClosed
	}
	at, ok := l.index.get(key)
	if !ok {
		l.mu.RUnlock()
		return nil, nil
	}
	if value := l.cache.Get(at.cached()); value != nil {
		l.mu.RUnlock()
		return bytes.Clone(value), nil
	}
	if l.active != nil && uint64(at.file) == l.active.Number() {
		defer l.mu.RUnlock()
		return l.fromActive(at)
	}
	f := l.byNumber[at.file]
	l.reading.RLock()
	l.mu.RUnlock()
	defer l.reading.RUnlock()
	return l.fromFile(f, key, at)
}

func (l *Log) fromActive(at location) ([]byte, error) {
	raw := make([]byte, at.size)
	if _, err := l.active.ReadAt(raw, at.offset); err != nil {
		return nil, err
	}
	_, value, _, err := record.Parse(raw)
	if err != nil {
		return nil, &base.CorruptionError{File: fmt.Sprintf("active file %d", at.file), Offset: at.offset, Reason: err.Error()}
	}
	l.cache.Put(at.cached(), bytes.Clone(value))
	return value, nil
}

func (l *Log) fromFile(f *fileset.File, key []byte, at location) ([]byte, error) {
	raw, err := f.Read(at.offset, int64(at.size))
	if err != nil {
		return nil, err
	}
	k, value, _, err := record.Parse(raw)
	if err != nil {
		return nil, f.Damaged(at.offset, err.Error())
	}
	if !bytes.Equal(k, key) {
		return nil, f.Damaged(at.offset, "record of another key")
	}
	l.cache.Put(at.cached(), bytes.Clone(value))
	return value, nil
}

// Set sets key's value; an empty one deletes it.
func (l *Log) Set(key, value []byte) error {
	if err := base.CheckPair(key, value); err != nil {
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return base.ErrClosed
	}
	if len(value) == 0 {
		if _, ok := l.index.get(key); !ok {
			return nil // There is nothing to hide (A2).
		}
	}
	if l.active != nil && l.active.Length() >= l.opts.ThresholdBytes {
		if err := l.roll(); err != nil {
			return err
		}
	}
	if l.active == nil {
		if err := l.begin(); err != nil {
			return err
		}
	}
	l.raw = record.Append(l.raw[:0], key, value)
	l.mu.Lock()
	defer l.mu.Unlock()
	offset, err := l.active.Append(l.raw)
	if err != nil {
		return err
	}
	if len(value) == 0 {
		l.index.delete(key)
	} else {
		at := location{offset, uint32(l.active.Number()), uint32(len(l.raw))}
		if before := l.index.set(key, at); l.cache.Take(before.cached()) != nil {
			l.cache.Put(at.cached(), bytes.Clone(value)) // What is read often stays at hand.
		} else {
			l.cache.Offer(at.cached(), value)
		}
	}
	l.dirty = true
	return nil
}

func (l *Log) begin() error {
	w, err := l.set.Create()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.active = w
	l.mu.Unlock()
	return nil
}

// Size returns about the bytes of memory held: index, cached values and the write buffer.
func (l *Log) Size() int64 {
	l.writing.Lock()
	defer l.writing.Unlock()
	n := l.index.memory() + l.cache.Bytes() + int64(cap(l.raw))
	if l.active != nil {
		n += int64(l.active.Memory())
	}
	return n
}

// Snapshot commits the state as a version.
func (l *Log) Snapshot(version uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return base.ErrClosed
	}
	if err := l.set.CheckOrder(version); err != nil {
		return err
	}
	return l.commit(func() error { return l.set.Snapshot(version, l.files) })
}

// commit brings everything into sealed files and has save commit them.
func (l *Log) commit(save func() error) error {
	if err := l.roll(); err != nil {
		return err
	}
	err := save()
	if err == nil || errors.Is(err, base.ErrRemote) {
		l.dirty = false
	}
	return err
}

// Versions returns the kept versions, oldest first.
func (l *Log) Versions() []uint64 {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.set.Versions()
}

// Restore brings back a version, 0 the newest. An error other than ErrRemote leaves everything as it is.
func (l *Log) Restore(version uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return base.ErrClosed
	}
	m, err := l.set.Version(version)
	if err != nil {
		return err
	}
	files, x, err := l.load(m.Files)
	if err != nil {
		return fmt.Errorf("version %d: %w", m.Version, err)
	}
	if err = l.set.Restored(m.Version, files); err != nil && !errors.Is(err, base.ErrRemote) {
		fileset.DropAll(files)
		return err
	}
	l.mu.Lock()
	old, active := l.files, l.active
	l.files, l.index, l.active = files, x, nil
	l.number()
	l.mu.Unlock()
	if active != nil {
		active.Abort()
	}
	l.drop(old)
	l.budget()
	l.dirty = false
	return err
}

// Close commits what was set since the last commit, without a version number, and gives the directory back.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return base.ErrClosed
	}
	var err error
	if l.dirty {
		err = l.commit(func() error { return l.set.SaveHead(l.files) })
	}
	if errors.Is(err, base.ErrRemote) {
		err = nil // set.Close tries again and tells.
	}
	l.mu.Lock()
	l.closed = true
	files, active := l.files, l.active
	l.mu.Unlock()
	if active != nil {
		active.Abort() // It could not be sealed.
	}
	l.drop(files)
	return errors.Join(err, l.set.Close())
}
