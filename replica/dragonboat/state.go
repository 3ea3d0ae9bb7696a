package hlograft

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// state is the store of one of the numbered directories (T7), and who uses it.
type state struct {
	number  uint64
	dir     string
	store   *hlog.Store
	index   atomic.Uint64 // of the last entry that was applied to it: what the cookie of its next version says
	users   atomic.Int64  // lookups and snapshots under way, and one for being the state of the replica; 0: it is closing
	readers sync.Pool     // of *Reader
	retired chan struct{}
}

// acquire counts the caller as a user, unless the state is closing.
func (s *state) acquire() bool {
	for {
		n := s.users.Load()
		if n == 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release takes acquire back. The last one closes the store and removes its directory: nobody can come to it any more.
func (s *state) release() {
	if s.users.Add(-1) == 0 {
		s.store.Close() // what it commits goes at once
		os.RemoveAll(s.dir)
		close(s.retired)
	}
}

func (s *state) reader() *Reader {
	r, _ := s.readers.Get().(*Reader)
	if r == nil {
		r = &Reader{store: s.store, typed: typed{session: s.store.NewSession()}}
	}
	return r
}

const (
	cookieMagic = "hlogRAFT"
	cookieBytes = 24
)

// cookieOf returns the cookie of a version that has the entries of a shard up to index.
func cookieOf(shard, index uint64) []byte {
	b := binary.LittleEndian.AppendUint64([]byte(cookieMagic), shard)
	return binary.LittleEndian.AppendUint64(b, index)
}

func parseCookie(b []byte) (shard, index uint64, ok bool) {
	if len(b) != cookieBytes || string(b[:8]) != cookieMagic {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), true
}

const (
	currentName   = "CURRENT"
	currentFormat = "hlograft 1 shard %d replica %d state %d\n"
	statePrefix   = "state-"
)

func (c *Config) stateDir(number uint64) string {
	return filepath.Join(c.Dir, fmt.Sprintf("%s%08d", statePrefix, number))
}

// writeCurrent makes a state the one that the replica opens at.
func (c *Config) writeCurrent(shard, replica, number uint64) error {
	line := fmt.Appendf(nil, currentFormat, shard, replica, number)
	line = fmt.Appendf(line, "%016x\n", xxh3.Hash(line))
	return fsx.WriteFileAtomic(c.Options.FS, filepath.Join(c.Dir, currentName), line)
}

// readCurrent returns the number of the state that the replica opens at: 0 when there is none.
func (c *Config) readCurrent(shard, replica uint64) (uint64, error) {
	name := filepath.Join(c.Dir, currentName)
	b, err := fsx.ReadFile(c.Options.FS, name, 4096)
	if isMissing(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	line, sum, _ := bytes.Cut(b, []byte("\n"))
	line = append(bytes.Clone(line), '\n')
	var s, r, number uint64
	if n, _ := fmt.Sscanf(string(line), currentFormat, &s, &r, &number); n != 3 || string(sum) != fmt.Sprintf("%016x\n", xxh3.Hash(line)) || number == 0 {
		return 0, fmt.Errorf("%w: %s", ErrCurrent, name)
	}
	if s != shard || r != replica {
		return 0, fmt.Errorf("%w: %s is the state of shard %d, replica %d", ErrOtherReplica, c.Dir, s, r)
	}
	return number, nil
}

// openState opens the store of a state, with the index of its version. A store that is new gets a version, with index 0.
func (c *Config) openState(shard, number uint64) (*state, error) {
	s := &state{number: number, dir: c.stateDir(number), retired: make(chan struct{})}
	s.users.Store(1)
	o := c.Options
	o.Cookie = func() []byte { return cookieOf(shard, s.index.Load()) }
	var err error
	if s.store, err = hlog.Open(s.dir, &o); err != nil {
		return nil, err
	}
	info, ok := s.store.Current()
	if !ok {
		if _, err = s.store.Checkpoint(context.Background(), hlog.WithCookie(cookieOf(shard, 0))); err != nil {
			return nil, errors.Join(err, s.store.Close())
		}
		return s, nil
	}
	of, at, ok := parseCookie(info.Cookie)
	switch {
	case !ok:
		err = fmt.Errorf("%w: version %d of %s", ErrCookie, info.Version, s.dir)
	case of != shard:
		err = fmt.Errorf("%w: %s is of shard %d", ErrOtherReplica, s.dir, of)
	}
	if err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	s.index.Store(at)
	return s, nil
}

// clean removes the states that are not the current one: what a crash has left.
func (c *Config) clean(current uint64) error {
	entries, err := c.Options.FS.List(c.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, ok := strings.CutPrefix(e.Name, statePrefix)
		if !ok {
			continue
		}
		if number, err := strconv.ParseUint(n, 10, 64); err == nil && number != current {
			if err := os.RemoveAll(filepath.Join(c.Dir, e.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}
