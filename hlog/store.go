package hlog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// Store is an open store: a hash index over a hybrid log in one directory. All methods are safe for concurrent use.
// Package lock has the order in which its locks are taken.
type Store struct {
	gate     // the control word, which every operation reads first
	settings // what Open has set for good

	// What operations use. Each of these is safe for concurrent use, and has its own locks.
	liveIndex
	log      *reclog.Log
	segments *reclog.Segments
	epochs   *epoch.Manager
	coldRecords
	memory *budget
	pool   sessionPool
	readAhead
	counters counters
	units    unitGate

	cutMu lock.Mutex[lock.Cut] // one cut, restore or close at a time

	// Versions, and what is done for them.
	ledger     *ledger.Ledger
	disk       *shares.Index
	compactor  compactState
	copies     copier
	views      *xsync.MapOf[*View, struct{}] // the open ones
	background background
	events     notifier
}

// coldRecords is what there is for records that are not in the frames of the log.
type coldRecords struct {
	cache  *coldcache.Cache // nil when switched off
	cold   coldTier
	relief relief
}

// readAhead is what reads before it is asked for.
type readAhead struct {
	stagings   stagings
	prefetcher prefetcher
}

// settings do not change after Open.
type settings struct {
	opts     Options
	path     string
	root     fsx.Root // the directory, whatever path leads to it by now; every file of the store is opened through it
	writable bool
	seed     hashing
	gap      checkpoint.Range // log that Open has skipped: no version has any there, then or later
	logger   *slog.Logger
	unlock   func() error

	queues      fsx.Queues
	refusalTold atomic.Bool // the log has it that the kernel has no queue
}

// gate is what operations pass, and the phase of the store, with which it moves (lifecycle.go).
type gate struct {
	_       [64]byte
	control atomic.Uint64 // a control word
	_       [56]byte

	precedence precedence
	life       *life.Life
	fill       *filling              // set by Open; nil: the directory had a version, or nobody has one
	gateMu     lock.Mutex[lock.Leaf] // of the paused and closed bits
	gateCond   sync.Cond             // of gateMu: they have changed
}

// liveIndex is the index that operations use.
type liveIndex struct {
	table      atomic.Pointer[index.Index] // replaced by a restore to another branch, when nobody is inside
	_          [56]byte                    // every operation reads table; what follows changes
	tableMu    lock.RWMutex[lock.Table]    // held by those who use the index outside the epoch
	indexFiles []fsx.File                  // of tableMu: what the index may still have to read from

	opened atomic.Pointer[checkpoint.Index] // the files that the index in memory was opened from
	warmed atomic.Bool                      // frames and index hold what they held before the store was opened, or all they can

	workMu       lock.Mutex[lock.Leaf]
	indexWork    context.Context // of workMu: see longIndexWork
	endIndexWork context.CancelFunc
}

func (s *Store) index() *index.Index { return s.table.Load() }

// loadIndex reads the part of the index image that covers h, outside the epoch.
func (s *Store) loadIndex(h uint64) error {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	if err := s.check(); err != nil {
		return err // loading may begin to grow the index: not any more
	}
	return s.imageFault(s.index().Load(h))
}

// loadWholeIndex reads what is left of the index image, unless the store closes or a restore comes.
func (s *Store) loadWholeIndex() error {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	if err := s.check(); err != nil {
		return err
	}
	return s.imageFault(s.index().LoadAll(s.longIndexWork()))
}

// loadRest is loadWholeIndex for the background.
func (s *Store) loadRest() {
	if err := s.loadWholeIndex(); err != nil && s.check() == nil {
		s.logger.Error("index image", "err", err)
	}
}

// longIndexWork returns a context for work on the index that takes long; a restore ends it.
func (s *Store) longIndexWork() context.Context {
	s.workMu.Lock()
	defer s.workMu.Unlock()
	if s.indexWork == nil || s.indexWork.Err() != nil {
		s.indexWork, s.endIndexWork = context.WithCancel(s.life.Context())
	}
	return s.indexWork
}

// interruptIndexWork ends what was begun with longIndexWork.
func (s *Store) interruptIndexWork() {
	s.workMu.Lock()
	defer s.workMu.Unlock()
	if s.endIndexWork != nil {
		s.endIndexWork()
	}
}

// imageFault names the image or the run in an error of the index.
func (s *Store) imageFault(err error) error {
	if err == nil {
		return nil
	}
	return s.disk.Fault(*s.opened.Load(), err)
}

// counters are changed off the hot path only.
type counters struct {
	coldReads        *xsync.Counter // for operations, scans and views
	probeReads       atomic.Int64   // for demotion and compaction
	checkpoints      atomic.Uint64
	checkpointErrors atomic.Uint64
	checkpointNanos  checkpointNanos
	imageBytes       atomic.Int64
	compactedBytes   atomic.Int64
	reclaimedBytes   atomic.Int64
	restores         atomic.Uint64
}

// checkpointNanos is how long checkpoints took, in nanoseconds. One goroutine adds to it.
type checkpointNanos struct{ all, last, longest atomic.Int64 }

func (n *checkpointNanos) add(d int64) {
	n.all.Add(d)
	n.last.Store(d)
	n.longest.Store(max(n.longest.Load(), d))
}
