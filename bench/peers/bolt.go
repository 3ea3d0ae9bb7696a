package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
)

// boltEngine is bbolt. A version is a copy of its file; its memory is the page cache.
type boltEngine struct {
	mu     sync.RWMutex // held alone while the file is exchanged
	db     *bolt.DB
	dir    string
	newest uint64
}

var bucket = []byte("b")

func openBolt(dir string) (contest.Engine, error) {
	b := &boltEngine{dir: dir}
	names, err := filepath.Glob(filepath.Join(dir, "v*"))
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		var v uint64
		if _, err := fmt.Sscanf(filepath.Base(n), "v%d", &v); err == nil {
			b.newest = max(b.newest, v)
		}
	}
	return b, b.open()
}

func (b *boltEngine) live() string { return filepath.Join(b.dir, "live") }

func (b *boltEngine) version(v uint64) string { return filepath.Join(b.dir, fmt.Sprintf("v%020d", v)) }

func (b *boltEngine) open() error {
	db, err := bolt.Open(b.live(), 0o644, &bolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	b.db = db
	return db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
}

func (b *boltEngine) Get(key []byte) (out []byte, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	err = b.db.View(func(tx *bolt.Tx) error {
		out = bytes.Clone(tx.Bucket(bucket).Get(key))
		return nil
	})
	return out, err
}

func (b *boltEngine) Set(key, value []byte) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.db.Update(func(tx *bolt.Tx) error {
		if len(value) == 0 {
			return tx.Bucket(bucket).Delete(key)
		}
		return tx.Bucket(bucket).Put(key, value)
	})
}

// BulkSet implements contest.BulkLoader.
func (b *boltEngine) BulkSet(n int, pair func(i int) (key, value []byte)) error {
	return b.db.Update(func(tx *bolt.Tx) error {
		for i := range n {
			k, v := pair(i) // Put copies the key, and keeps the value until the commit
			if err := tx.Bucket(bucket).Put(k, bytes.Clone(v)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Scan implements contest.Scanner.
func (b *boltEngine) Scan(ctx context.Context) (keys int, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	err = b.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, _ := c.First(); k != nil && ctx.Err() == nil; k, _ = c.Next() {
			keys++
		}
		return ctx.Err()
	})
	return keys, err
}

func (b *boltEngine) Size() int64 { return int64(b.db.Stats().FreelistInuse) }

func (b *boltEngine) Snapshot(v uint64) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.db.Sync(); err != nil {
		return err
	}
	err := b.db.View(func(tx *bolt.Tx) error { return tx.CopyFile(b.version(v), 0o644) })
	if err != nil {
		return err
	}
	f, err := os.Open(b.version(v))
	if err != nil {
		return err
	}
	b.newest = v
	return errors.Join(f.Sync(), f.Close())
}

func (b *boltEngine) Restore(v uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v == 0 {
		v = b.newest
	}
	data, err := os.ReadFile(b.version(v))
	if err != nil {
		return err
	}
	if err := b.db.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(b.live(), data, 0o644); err != nil {
		return err
	}
	return b.open()
}

func (b *boltEngine) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.db.Sync(), b.db.Close())
}
