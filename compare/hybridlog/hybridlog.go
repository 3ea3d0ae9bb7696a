// Package hybridlog puts the store of package hlog behind the common interface. It adds nothing to the store: an operation
// is one call of it.
//
// The store numbers its versions itself and commits one at every Close; the common interface leaves the numbers to the
// caller. So the caller's number travels in the version's cookie, and versions without one are those of a Close. The store
// is asked to keep two versions more than wanted, for these.
package hybridlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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

// start finds the highest number and purges the versions of earlier closes, which would push numbered ones out.
func (s *Store) start() error {
	infos, err := s.store.Versions()
	if err != nil {
		return translate(err)
	}
	for _, info := range infos {
		if number, ok := numberOf(info); ok {
			s.highest = max(s.highest, number)
		} else if !info.Current {
			if err := s.store.Purge(context.Background(), info.Version); err != nil {
				return translate(err)
			}
		}
	}
	return nil
}

// numberOf returns the caller's number of a version; that of a close has none.
func numberOf(info checkpoint.Info) (uint64, bool) {
	if len(info.Cookie) != 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(info.Cookie), true
}

// version is a version of the store that has a number of the caller's.
type version struct {
	number uint64
	id     checkpoint.Version
}

// versions returns the numbered versions that are kept, oldest first.
func (s *Store) versions() ([]version, error) {
	infos, err := s.store.Versions()
	if err != nil {
		return nil, translate(err)
	}
	var named []version
	for _, info := range infos {
		if number, ok := numberOf(info); ok {
			named = append(named, version{number, info.Version})
		}
	}
	return named[max(0, len(named)-s.keep):], nil
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
	if number <= s.highest {
		return fmt.Errorf("%w: %d, must be above %d", base.ErrVersionOrder, number, s.highest)
	}
	s.highest = number
	_, err := s.store.Checkpoint(context.Background(), hlog.WithCookie(binary.LittleEndian.AppendUint64(nil, number)))
	return translate(err)
}

// Versions returns the kept versions, oldest first.
func (s *Store) Versions() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	named, err := s.versions()
	if err != nil {
		return nil // closed
	}
	numbers := make([]uint64, len(named))
	for i, v := range named {
		numbers[i] = v.number
	}
	return numbers
}

// Restore brings back a version, 0 the newest.
func (s *Store) Restore(number uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	named, err := s.versions()
	if err != nil {
		return err
	}
	for i := len(named) - 1; i >= 0; i-- {
		if number == 0 || named[i].number == number {
			_, err := s.store.Restore(context.Background(), named[i].id)
			return translate(err)
		}
	}
	return fmt.Errorf("%w: %d", base.ErrVersionNotFound, number)
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
