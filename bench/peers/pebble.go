package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
)

// pebbleEngine is Pebble. A version is a checkpoint directory of hard links.
type pebbleEngine struct {
	mu     sync.RWMutex // held alone while the database is exchanged
	db     *pebble.DB
	dir    string
	opts   func() *pebble.Options
	noWAL  bool
	newest uint64
}

func openPebble(dir string, memory int64, noWAL bool) (contest.Engine, error) {
	p := &pebbleEngine{dir: dir, noWAL: noWAL}
	p.opts = func() *pebble.Options {
		o := &pebble.Options{
			// All of the memory: Pebble takes its memory tables, those that it keeps for the next ones as well, out of its cache.
			CacheSize: memory, MemTableSize: uint64(max(1<<20, memory/8)), MemTableStopWritesThreshold: 4,
			DisableWAL: noWAL, Logger: silent{}, FormatMajorVersion: pebble.FormatNewest,
		}
		for i := range o.Levels {
			o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		}
		return o
	}
	names, err := filepath.Glob(filepath.Join(dir, "v*"))
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		var v uint64
		if _, err := fmt.Sscanf(filepath.Base(n), "v%d", &v); err == nil {
			p.newest = max(p.newest, v)
		}
	}
	p.db, err = pebble.Open(p.live(), p.opts())
	return p, err
}

// silent drops what Pebble logs; what is fatal to it stays fatal.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func (p *pebbleEngine) live() string { return filepath.Join(p.dir, "live") }

func (p *pebbleEngine) version(v uint64) string {
	return filepath.Join(p.dir, fmt.Sprintf("v%020d", v))
}

func (p *pebbleEngine) Get(key []byte) ([]byte, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	v, closer, err := p.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := bytes.Clone(v)
	return out, closer.Close()
}

func (p *pebbleEngine) Set(key, value []byte) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(value) == 0 {
		return p.db.Delete(key, pebble.NoSync)
	}
	return p.db.Set(key, value, pebble.NoSync)
}

// Scan implements contest.Scanner.
func (p *pebbleEngine) Scan(ctx context.Context) (keys int, err error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	it, err := p.db.NewIterWithContext(ctx, nil)
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok && ctx.Err() == nil; ok = it.Next() {
		_, err := it.ValueAndErr()
		if err != nil {
			return keys, errors.Join(err, it.Close())
		}
		keys++
	}
	return keys, errors.Join(ctx.Err(), it.Close())
}

func (p *pebbleEngine) Size() int64 {
	m := p.db.Metrics()
	return m.BlockCache.Size + int64(m.MemTable.Size+m.MemTable.ZombieSize)
}

func (p *pebbleEngine) Snapshot(v uint64) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.noWAL { // what is only in the memtable would not be in the checkpoint
		if err := p.db.Flush(); err != nil {
			return err
		}
	}
	if err := p.db.Checkpoint(p.version(v), pebble.WithFlushedWAL()); err != nil {
		return err
	}
	p.newest = v
	return nil
}

func (p *pebbleEngine) Restore(v uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v == 0 {
		v = p.newest
	}
	if _, err := os.Stat(p.version(v)); err != nil {
		return err
	}
	if err := p.db.Close(); err != nil {
		return err
	}
	err := os.RemoveAll(p.live())
	if err == nil {
		err = linkDir(p.live(), p.version(v))
	}
	if err == nil {
		p.db, err = pebble.Open(p.live(), p.opts())
	}
	return err
}

// linkDir makes dst a directory with the files of src: tables, which never change, by hard link, the rest copied.
func linkDir(dst, src string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, f := range entries {
		from, to := filepath.Join(src, f.Name()), filepath.Join(dst, f.Name())
		if filepath.Ext(f.Name()) == ".sst" {
			err = os.Link(from, to)
		} else {
			var b []byte
			if b, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(to, b, 0o644)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pebbleEngine) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noWAL {
		if err := p.db.Flush(); err != nil {
			return errors.Join(err, p.db.Close())
		}
	}
	return p.db.Close()
}
