// Package hybridlog puts the store of package hlog behind the common interface. It adds nothing to the store: an operation
// is one call of it.
//
// The store commits a version of its own at every Close; the common interface leaves the numbers to the caller. So the
// caller's version v is the store's version v<<16, which leaves room behind it for those of closes. The store is asked to
// keep two versions more than wanted, for these.
package hybridlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/hlog"
)

// Kind is the engine's name.
const Kind = "hybridlog"

// Options are the settings of a Store. Package compare documents and defaults them.
type Options struct {
	base.Options
	MutableFraction float64
	PageBytes       int
	SegmentBytes    int64
	NoCompaction    bool
}

// Store is an open store. All methods may be called from any goroutine.
type Store struct {
	store *hlog.Store
	keep  int

	aheadMu sync.Mutex    // of ahead
	ahead   *hlog.Session // of Prefetch

	mu      sync.Mutex // one snapshot or restore at a time
	highest uint64     // no version up to it may be used again
}

// Open opens the store in dir, which it creates.
func Open(dir string, opts Options) (*Store, error) {
	o := hlog.Options{
		MemoryBytes:     max(opts.MemoryBytes, hlog.MinMemoryBytes),
		MutableFraction: opts.MutableFraction,
		PageBytes:       opts.PageBytes,
		SegmentBytes:    opts.SegmentBytes,
		NoCompaction:    opts.NoCompaction,
		FS:              opts.FS,
	}
	s := &Store{keep: opts.KeepVersions}
	if s.keep < 0 {
		s.keep = math.MaxInt32
	}
	o.KeepVersions = s.keep + 2
	if opts.NoSync {
		o.FS = base.NoSync(opts.FS)
	}
	if opts.Remote != nil {
		o.Remote = base.Held{Remote: opts.Remote}
	}
	var err error
	if s.store, err = hlog.Open(dir, &o); err != nil {
		return nil, translate(err)
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return s, nil
}

// closeBits is the room behind a caller's version for the versions of closes.
const closeBits = 16

// maxNumber is the highest number a caller's version can have.
const maxNumber = math.MaxUint64 >> closeBits

// start finds the highest number and purges the versions of earlier closes, which would push numbered ones out.
func (s *Store) start() error {
	infos, err := s.store.Versions()
	if err != nil {
		return translate(err)
	}
	for _, info := range infos {
		number, byCaller := numberOf(info.Version)
		s.highest = max(s.highest, number)
		if !byCaller && !info.Current {
			if err := s.store.Purge(context.Background(), info.Version); err != nil {
				return translate(err)
			}
		}
	}
	return nil
}

// numberOf returns the caller's number of a version, or the last number before it if it is that of a close.
func numberOf(id checkpoint.Version) (number uint64, byCaller bool) {
	return uint64(id >> closeBits), id&(1<<closeBits-1) == 0
}

// numbers returns the numbered versions that are here, oldest first, those included that are kept for closes' sake.
func (s *Store) numbers() ([]uint64, error) {
	infos, err := s.store.Versions()
	if err != nil {
		return nil, translate(err)
	}
	var numbers []uint64
	for _, info := range infos {
		if number, byCaller := numberOf(info.Version); byCaller {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// Get returns a copy of key's value, or nil when it is absent.
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := base.CheckKey(key); err != nil {
		return nil, err
	}
	value, err := s.store.Get(nil, key)
	switch {
	case err == nil:
		return value, nil
	case errors.Is(err, hlog.ErrNotFound):
		return nil, nil
	}
	return nil, translate(err)
}

// Prefetch says which keys will be asked for next; it begins to read them. The common interface has nothing like it.
func (s *Store) Prefetch(keys [][]byte) {
	s.aheadMu.Lock()
	defer s.aheadMu.Unlock()
	if s.ahead == nil {
		s.ahead = s.store.NewSession()
	}
	s.ahead.Prefetch(keys)
}

// Reads returns how many records have been read from disk.
func (s *Store) Reads() uint64 { return s.store.Metrics().ColdReadCount }

// Set sets key's value; an empty one deletes it.
func (s *Store) Set(key, value []byte) error {
	if err := base.CheckKey(key); err != nil {
		return err
	}
	if len(value) == 0 {
		return translate(s.store.Delete(key))
	}
	return translate(s.store.Set(key, value))
}

// Size returns the bytes of memory held: log frames, index and cache.
func (s *Store) Size() int64 {
	m := s.store.Metrics()
	return m.FrameBytes + m.IndexBytes + m.CacheBytes
}

// Snapshot commits the state as a version.
func (s *Store) Snapshot(number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.store.Versions(); err != nil {
		return translate(err) // closed
	}
	if number <= s.highest || number > maxNumber {
		return fmt.Errorf("%w: %d, must be above %d and at most %d", base.ErrVersionOrder, number, s.highest, uint64(maxNumber))
	}
	s.highest = number
	_, err := s.store.Checkpoint(context.Background(), hlog.WithVersion(checkpoint.Version(number<<closeBits)))
	return translate(err)
}

// Versions returns the kept versions that are here, oldest first.
func (s *Store) Versions() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	numbers, err := s.numbers()
	if err != nil {
		return nil // closed
	}
	return numbers[max(0, len(numbers)-s.keep):]
}

// Restore brings back a version, 0 the newest; from the remote, if only that has it.
func (s *Store) Restore(number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	numbers, err := s.numbers()
	if err != nil {
		return err
	}
	if number == 0 {
		number = s.highest
		if len(numbers) > 0 {
			number = numbers[len(numbers)-1]
		}
	}
	i, _ := slices.BinarySearch(numbers, number)
	if number == 0 || number > maxNumber || len(numbers)-i > s.keep {
		return fmt.Errorf("%w: %d", base.ErrVersionNotFound, number)
	}
	_, err = s.store.Restore(context.Background(), checkpoint.Version(number<<closeBits))
	return translate(err)
}

// Close commits what is not committed, without a number, and gives the directory back.
func (s *Store) Close() error { return translate(s.store.Close()) }

// translate makes an error of the store one of the common interface besides.
func translate(err error) error {
	if err == nil {
		return nil
	}
	for _, pair := range [][2]error{
		{hlog.ErrClosed, base.ErrClosed}, {hlog.ErrTooLarge, base.ErrTooLarge},
		{hlog.ErrCorrupt, base.ErrCorrupt}, {hlog.ErrFormat, base.ErrFormat}, {hlog.ErrVersionNotFound, base.ErrVersionNotFound},
		{hlog.ErrVersionOrder, base.ErrVersionOrder}, {hlog.ErrRemote, base.ErrRemote},
	} {
		if errors.Is(err, pair[0]) {
			return fmt.Errorf("%w: %w", pair[1], err)
		}
	}
	return err
}
