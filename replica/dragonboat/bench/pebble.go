package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lni/dragonboat/v4/statemachine"
)

// peer is the same state machine on Pebble: the index of the last entry is a key of the batch that applies it, so that one
// commit has both.
type peer struct {
	dir   string
	opts  *pebble.Options
	write *pebble.WriteOptions // Sync: each batch is durable; NoSync: what Sync has synced is
	db    *pebble.DB
	batch map[uint64]uint64 // counters that the batch has changed
}

var indexKey = []byte("index of the last entry")

func (p *peer) Open(<-chan struct{}) (uint64, error) {
	var err error
	if p.db, err = pebble.Open(p.dir, p.opts); err != nil {
		return 0, err
	}
	return p.number(indexKey)
}

func (p *peer) number(key []byte) (uint64, error) {
	v, closer, err := p.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	return binary.LittleEndian.Uint64(v), nil
}

func (p *peer) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	b := p.db.NewBatch()
	defer b.Close()
	clear(p.batch)
	for i := range entries {
		e := &entries[i]
		if len(e.Cmd) > counterBytes { // a set
			if err := b.Set(e.Cmd[:8], e.Cmd[8:], nil); err != nil {
				return nil, err
			}
			continue
		}
		key := binary.LittleEndian.Uint64(e.Cmd)
		n, ok := p.batch[key]
		if !ok {
			var err error
			if n, err = p.number(e.Cmd); err != nil {
				return nil, err
			}
		}
		n++
		p.batch[key], e.Result.Value = n, n
	}
	var k, v [8]byte
	for key, n := range p.batch {
		binary.LittleEndian.PutUint64(k[:], key)
		binary.LittleEndian.PutUint64(v[:], n)
		if err := b.Set(k[:], v[:], nil); err != nil {
			return nil, err
		}
	}
	binary.LittleEndian.PutUint64(v[:], entries[len(entries)-1].Index)
	if err := b.Set(indexKey, v[:], nil); err != nil {
		return nil, err
	}
	return entries, b.Commit(p.write)
}

func (p *peer) Lookup(query any) (any, error) { return p.number(query.([]byte)) }

// Sync syncs the log of what was applied.
func (p *peer) Sync() error { return p.db.LogData(nil, pebble.Sync) }

func (p *peer) PrepareSnapshot() (any, error) { return p.db.NewSnapshot(), nil }

func (p *peer) SaveSnapshot(what any, w io.Writer, _ <-chan struct{}) error {
	s := what.(*pebble.Snapshot)
	defer s.Close()
	it, err := s.NewIter(nil)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	var size [4]byte
	for it.First(); it.Valid(); it.Next() {
		for _, part := range [][]byte{it.Key(), it.Value()} {
			binary.LittleEndian.PutUint32(size[:], uint32(len(part)))
			out.Write(size[:])
			if _, err := out.Write(part); err != nil {
				return errors.Join(err, it.Close())
			}
		}
	}
	return errors.Join(it.Error(), it.Close(), out.Flush())
}

func (p *peer) RecoverFromSnapshot(io.Reader, <-chan struct{}) error {
	return errors.New("not needed here")
}

func (p *peer) Close() error { return p.db.Close() }

// silent drops what Pebble logs.
type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Errorf(string, ...any)        {}
func (silent) Fatalf(f string, args ...any) { panic(f) }
