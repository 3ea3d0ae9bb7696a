package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
)

// badgerEngine is Badger. A version is a backup of what changed since the one before; a restore loads the chain of them.
type badgerEngine struct {
	mu       sync.RWMutex // held alone while the state is exchanged
	db       *badger.DB
	dir      string
	versions []uint64
	since    uint64 // Badger's own version up to which there are backups
}

func openBadger(dir string, memory int64) (contest.Engine, error) {
	o := badger.DefaultOptions(filepath.Join(dir, "live")).WithLogger(nil).WithSyncWrites(false).
		WithMemTableSize(max(8<<20, memory/8)).WithNumMemtables(2).WithBlockCacheSize(memory / 2).WithIndexCacheSize(memory / 8).
		WithMetricsEnabled(false)
	db, err := badger.Open(o)
	if err != nil {
		return nil, err
	}
	b := &badgerEngine{db: db, dir: dir}
	names, err := filepath.Glob(filepath.Join(dir, "v*"))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for _, n := range names {
		var v uint64
		if _, err := fmt.Sscanf(filepath.Base(n), "v%d", &v); err == nil {
			b.versions = append(b.versions, v)
		}
	}
	if len(b.versions) > 0 {
		b.since = db.MaxVersion()
	}
	return b, nil
}

func (b *badgerEngine) backup(v uint64) string { return filepath.Join(b.dir, fmt.Sprintf("v%020d", v)) }

func (b *badgerEngine) Get(key []byte) (out []byte, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	err = b.db.View(func(tx *badger.Txn) error {
		item, err := tx.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err == nil {
			out, err = item.ValueCopy(nil)
		}
		return err
	})
	return out, err
}

func (b *badgerEngine) Set(key, value []byte) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for {
		tx := b.db.NewTransaction(true)
		// A transaction keeps the slices until it is committed, which is before Set returns.
		err := tx.Delete(key)
		if len(value) > 0 {
			err = tx.Set(key, value)
		}
		if err == nil {
			err = tx.Commit()
		}
		tx.Discard()
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
	}
}

// BulkSet implements contest.BulkLoader.
func (b *badgerEngine) BulkSet(n int, pair func(i int) (key, value []byte)) error {
	w := b.db.NewWriteBatch()
	defer w.Cancel()
	for i := range n {
		k, v := pair(i)
		if err := w.Set(append([]byte(nil), k...), append([]byte(nil), v...)); err != nil {
			return err
		}
	}
	return w.Flush()
}

// Scan implements contest.Scanner.
func (b *badgerEngine) Scan(ctx context.Context) (keys int, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	err = b.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid() && ctx.Err() == nil; it.Next() {
			if err := it.Item().Value(func([]byte) error { return nil }); err != nil {
				return err
			}
			keys++
		}
		return ctx.Err()
	})
	return keys, err
}

func (b *badgerEngine) Size() int64 {
	o := b.db.Opts()
	return o.BlockCacheSize + o.IndexCacheSize + int64(o.NumMemtables)*o.MemTableSize
}

func (b *badgerEngine) Snapshot(v uint64) (err error) {
	f, err := os.Create(b.backup(v))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	since, err := b.db.Backup(w, b.since)
	if err == nil {
		err = errors.Join(w.Flush(), f.Sync(), b.db.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	b.since = max(b.since, since)
	b.versions = append(b.versions, v)
	return nil
}

func (b *badgerEngine) Restore(v uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.versions) == 0 {
		return errors.New("badger: there is no version")
	}
	if v == 0 {
		v = b.versions[len(b.versions)-1]
	}
	if err := b.db.DropAll(); err != nil {
		return err
	}
	for _, have := range b.versions {
		if have > v {
			break
		}
		f, err := os.Open(b.backup(have))
		if err != nil {
			return err
		}
		if err := errors.Join(b.db.Load(bufio.NewReaderSize(f, 1<<20), 256), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (b *badgerEngine) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.db.Close()
}
