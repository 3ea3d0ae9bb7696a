package compare

import (
	"context"
	"fmt"
	"slices"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/compare/appendlog"
	"github.com/hybridlog/hybridlog/compare/hybridlog"
	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/lsm"
	"github.com/hybridlog/hybridlog/compare/memonly"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Engine is the thesis' common interface. Every engine of this package may be used from any goroutine.
//
// Keys have 1 to 65,535 bytes. Versions ascend and may leave gaps. What was set since the last snapshot survives Close;
// a crash takes the engine back to what was last committed: by Snapshot, Restore or Close (or, for an LSM tree with a
// write-ahead log, to some write after that).
type Engine interface {
	// Get returns a copy of key's value, nil when the key is absent. ErrCorrupt says that the value cannot be read.
	Get(key []byte) ([]byte, error)
	// Set sets key's value. An empty value deletes the key.
	Set(key, value []byte) error
	// Size returns about how many bytes of memory the engine holds.
	Size() int64
	// Snapshot commits the state under a version that is higher than every one tried before, else ErrVersionOrder. It
	// is durable, and on the remote if there is one, when nil is returned. After an error the version does not exist,
	// and its number is used up; but after ErrRemote it does, and only its remote copy is missing until the next
	// commit.
	Snapshot(version uint64) error
	// Restore brings back a version that is kept, 0 the newest; ErrVersionNotFound when there is none, and nothing is
	// changed then. It is durable when nil is returned. Versions above it stay, and stay restorable.
	Restore(version uint64) error
	// Close commits what is not committed, without a version, and releases the directory. Further calls of any method
	// that returns an error return ErrClosed.
	Close() error
}

// Versioned is implemented by every engine of this package, too.
type Versioned interface {
	// Versions returns the kept versions, oldest first.
	Versions() []uint64
}

// Errors of all engines, to be matched with errors.Is.
var (
	// ErrClosed reports that the engine is closed.
	ErrClosed = base.ErrClosed
	// ErrKey reports a key that is empty or longer than 65,535 bytes.
	ErrKey = base.ErrKey
	// ErrTooLarge reports a value that is longer than the engine can hold.
	ErrTooLarge = base.ErrTooLarge
	// ErrVersionNotFound reports a version that was never committed or is no longer kept.
	ErrVersionNotFound = base.ErrVersionNotFound
	// ErrVersionOrder reports a version that is not higher than every version tried before.
	ErrVersionOrder = base.ErrVersionOrder
	// ErrCorrupt reports bytes that are not those that were written; a *CorruptionError says where.
	ErrCorrupt = base.ErrCorrupt
	// ErrFormat reports files of another engine or of a newer format. They are left as they are.
	ErrFormat = base.ErrFormat
	// ErrRemote reports that the directory holds what was asked for, but the remote does not yet: the next commit, or
	// Close, tries again.
	ErrRemote = base.ErrRemote
	// ErrLocked reports that another engine, in this process or in another, has the directory open.
	ErrLocked = fsx.ErrLocked
)

// CorruptionError names a damaged place. It is an ErrCorrupt.
type CorruptionError = base.CorruptionError

// Remote keeps copies of versions elsewhere, for one open engine at a time. It is [checkpoint.Remote] with bodies that
// are read instead of held.
type Remote = base.Remote

// NewDirRemote returns a Remote in a directory, which it creates.
func NewDirRemote(dir string) (Remote, error) { return NewDirRemoteFS(fsx.OS(), dir) }

// NewDirRemoteFS is NewDirRemote on another file system.
func NewDirRemoteFS(fsys fsx.FS, dir string) (Remote, error) {
	r, err := checkpoint.NewDirRemoteOn(fsys, dir)
	if err != nil {
		return nil, err
	}
	return base.Streamed{Remote: r}, nil
}

// DestroyRemote removes from a remote what baseline engines have put there, and nothing else.
func DestroyRemote(ctx context.Context, remote Remote) error { return fileset.Destroy(ctx, remote) }

var openers = map[string]func(dir string, o Options) (Engine, error){
	lsm.Kind: func(dir string, o Options) (Engine, error) {
		return engine(lsm.Open(dir, lsm.Options{
			Options: o.base(), MaxRuns: o.MaxRuns, Density: o.Density, MemtableBytes: o.MemtableBytes,
			FalsePositives: o.FalsePositives, WAL: o.WAL,
		}))
	},
	appendlog.Kind: func(dir string, o Options) (Engine, error) {
		return engine(appendlog.Open(dir, appendlog.Options{
			Options: o.base(), MaxRuns: o.MaxRuns, ThresholdBytes: o.ThresholdBytes, Compaction: !o.NoCompaction,
		}))
	},
	hybridlog.Kind: func(dir string, o Options) (Engine, error) {
		return engine(hybridlog.Open(dir, hybridlog.Options{
			Options: o.base(), MutableFraction: o.MutableFraction, PageBytes: o.PageBytes,
			SegmentBytes: o.SegmentBytes, NoCompaction: o.NoCompaction,
		}))
	},
	memonly.Kind: func(dir string, o Options) (Engine, error) { return engine(memonly.Open(dir, o.base())) },
}

// engine keeps a failed open from becoming an Engine that holds a nil pointer.
func engine[E Engine](e E, err error) (Engine, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Kinds returns the names of the engines, sorted.
func Kinds() []string {
	var kinds []string
	for kind := range openers {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return kinds
}

// Open opens the engine of a kind in dir, which it creates. It rebuilds the state from what dir holds; with
// Options.Remote, from the remote's newest version, if it has one, whatever dir holds. Options the engine has no use
// for are ignored.
func Open(kind, dir string, opts Options) (Engine, error) {
	open, ok := openers[kind]
	if !ok {
		return nil, fmt.Errorf("compare: no engine %q, there are %v", kind, Kinds())
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return open(dir, opts)
}
