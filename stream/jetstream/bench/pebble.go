package main

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	hlogstream "github.com/hybridlog/hybridlog/stream/jetstream"
)

// onPebble is the state of a partition in Pebble. The sequence up to which messages were read is a key of the batch that
// applies them, so that one commit has both.
type onPebble struct {
	dir   string
	shelf shelf
	opts  *pebble.Options
	db    *pebble.DB
	changes
	changed map[uint64]*record // by the batch
	key     [keyBytes]byte
	value   [recordBytes]byte
}

var sequenceKey = []byte("sequence of the last message")

func startPebble(s *server, j *job) (worker, error) {
	return startPeer(s, j, func(p int) state {
		return &onPebble{dir: j.place(p), shelf: shelf{j.remotePlace(p)}, opts: pebbleOptions(j.memory / int64(j.partitions)), changed: map[uint64]*record{}}
	})
}

func pebbleOptions(memory int64) *pebble.Options {
	o := &pebble.Options{ // its memory tables come out of the cache
		CacheSize: memory, MemTableSize: uint64(max(1<<20, memory/8)), MemTableStopWritesThreshold: 4,
		FormatMajorVersion: pebble.FormatNewest, Logger: silent{},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

func (p *onPebble) open() (sequence uint64, err error) {
	if _, err := os.Stat(p.dir); errors.Is(err, os.ErrNotExist) {
		if err := p.shelf.fetch(p.dir); err != nil {
			return 0, err
		}
	}
	if p.db, err = pebble.Open(p.dir, p.opts); err != nil {
		return 0, err
	}
	v, closer, err := p.db.Get(sequenceKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, errors.Join(err, p.db.Close())
	}
	defer closer.Close()
	return binary.LittleEndian.Uint64(v), nil
}

// get reads the record of a key, or makes it.
func (p *onPebble) get(key uint64) (*record, error) {
	r := &record{}
	v, closer, err := p.db.Get(binary.LittleEndian.AppendUint64(p.key[:0], key))
	if errors.Is(err, pebble.ErrNotFound) {
		r.begin(key)
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	for i := range r {
		r[i] = binary.LittleEndian.Uint64(v[8*i:])
	}
	return r, nil
}

func (p *onPebble) apply(messages []hlogstream.Message) (err error) {
	p.of(messages)
	clear(p.changed)
	for i, key := range p.keys {
		r := p.changed[key]
		if r == nil {
			if r, err = p.get(key); err != nil {
				return err
			}
			p.changed[key] = r
		}
		r[0] += p.add[i]
	}
	b := p.db.NewBatch()
	defer b.Close()
	for key, r := range p.changed {
		value := p.value[:0]
		for _, w := range r {
			value = binary.LittleEndian.AppendUint64(value, w)
		}
		if err := b.Set(binary.LittleEndian.AppendUint64(p.key[:0], key), value, nil); err != nil {
			return err
		}
	}
	last := binary.LittleEndian.AppendUint64(nil, messages[len(messages)-1].Sequence)
	if err := b.Set(sequenceKey, last, nil); err != nil {
		return err
	}
	return b.Commit(pebble.NoSync)
}

// commit makes a checkpoint, with the log synced, and brings it to the remote.
func (p *onPebble) commit() error {
	at := p.dir + ".checkpoint"
	if err := p.db.Checkpoint(at, pebble.WithFlushedWAL()); err != nil {
		return err
	}
	return errors.Join(p.shelf.put(at), os.RemoveAll(at))
}

func (p *onPebble) close() error { return p.db.Close() }

func totalPebble(dir string, memory int64) (c counts, err error) {
	o := pebbleOptions(memory)
	o.ReadOnly = true
	db, err := pebble.Open(dir, o)
	if err != nil {
		return c, err
	}
	it, err := db.NewIter(nil)
	if err != nil {
		return c, errors.Join(err, db.Close())
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		err = c.add(it.Key(), it.Value())
	}
	return c, errors.Join(err, it.Error(), it.Close(), db.Close())
}

// silent drops what Pebble logs; what is fatal to it stays fatal.
type silent struct{}

func (silent) Infof(string, ...any)      {}
func (silent) Errorf(string, ...any)     {}
func (silent) Fatalf(f string, a ...any) { panic(f) }

// tablesOf are the files of a checkpoint that never change.
func tablesOf(dir string) (tables, others []string, err error) {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		if filepath.Ext(e.Name()) == ".sst" {
			tables = append(tables, e.Name())
		} else {
			others = append(others, e.Name())
		}
	}
	return tables, others, err
}
