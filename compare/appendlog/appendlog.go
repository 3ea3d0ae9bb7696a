package appendlog

import (
	"bytes"
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

// Log is an open append log. All methods may be called from any goroutine. A Set and a merge hold Writing.
type Log struct {
	fileset.Keeper
	opts  Options
	cache *cache.Cache
	raw   []byte // the record that is being written
	dirty bool   // something was set since the last commit

	mu       sync.RWMutex // what follows; changed only under Writing as well
	index    *index
	files    []*fileset.File // finished, oldest first (A1)
	byNumber map[uint32]*fileset.File
	active   *fileset.Writer // nil until something is written

	// reading is held by those who read finished files. They take it before they let go of mu, so that whoever has replaced
	// files under mu and then gets reading alone has the old ones to itself (A4).
	reading sync.RWMutex
}

// Open opens the log in dir, which it creates.
func Open(dir string, opts Options) (*Log, error) {
	l := &Log{opts: opts, cache: cache.New(0)}
	err := l.Start(Kind, dir, opts.Options, fileset.State{Operations: &l.mu, Read: l.read, Finish: l.finished,
		Dirty: func() bool { return l.dirty }, Committed: func() { l.dirty = false }, Release: l.release})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// read rebuilds the index from the files of a state.
func (l *Log) read(files []*fileset.File) (adopt func(), err error) {
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
			return nil, err
		}
	}
	return func() {
		l.replace(files, x)
		l.budget()
		l.dirty = false
	}, nil
}

// replace gives up the state and puts another in its place.
func (l *Log) replace(files []*fileset.File, x *index) {
	l.mu.Lock()
	old, active := l.files, l.active
	l.files, l.index, l.active = files, x, nil
	l.number()
	l.mu.Unlock()
	if active != nil {
		active.Abort()
	}
	l.drop(old)
}

func (l *Log) release() { l.replace(nil, newIndex()) }

// finished brings the active file among the finished ones.
func (l *Log) finished() ([]*fileset.File, error) {
	err := l.roll()
	return l.files, err
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
	if l.Closed {
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
	raw, err := f.Lookup(at.offset, int64(at.size))
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
	l.Writing.Lock()
	defer l.Writing.Unlock()
	if l.Closed {
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
	w, err := l.Files.Create()
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
	l.Writing.Lock()
	defer l.Writing.Unlock()
	n := l.index.memory() + l.cache.Bytes() + int64(cap(l.raw))
	if l.active != nil {
		n += int64(l.active.Memory())
	}
	return n
}
