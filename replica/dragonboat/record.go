package hlograft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// record is the file that remembers the highest index that was durable (T4). It has two slots, written in turn and in place,
// one block of the device each, so that a write that is torn leaves the other:
//
//	+0   "hlograft"      what it is
//	+8   format          1
//	+16  shard, replica  whose record it is
//	+32  turn            grows by one with each write: the slot with the higher one is the record
//	+40  index
//	+48  checksum        xxh3 of what is before
type record struct {
	file           fsx.File
	shard, replica uint64
	turn, index    uint64
}

const (
	recordMagic  = "hlograft"
	recordFormat = 1
	recordSlot   = 4096
	recordBytes  = 56
)

func recordName(dir string, shard, replica uint64) string {
	return filepath.Join(dir, fmt.Sprintf("hlograft-%d-%d.record", shard, replica))
}

// openRecord opens the record of a replica; it is fs.ErrNotExist when there is none, and ErrRecord when no slot is whole.
func openRecord(fsys fsx.FS, dir string, shard, replica uint64) (*record, error) {
	name := recordName(dir, shard, replica)
	f, err := fsys.Open(name, fsx.Write)
	if err != nil {
		return nil, err
	}
	r := &record{file: f, shard: shard, replica: replica}
	err = r.read()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrRecord, name, err), f.Close())
	}
	return r, nil
}

// makeRecord makes a record that says index.
func makeRecord(fsys fsx.FS, dir string, shard, replica, index uint64) (*record, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, err
	}
	if err := fsys.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	r := &record{shard: shard, replica: replica}
	name := recordName(dir, shard, replica)
	if err := fsx.WriteFileAtomic(fsys, name, r.slot(index)); err != nil {
		return nil, err
	}
	return openRecord(fsys, dir, shard, replica)
}

func (r *record) slot(index uint64) []byte {
	b := append(make([]byte, 0, recordSlot), recordMagic...)
	for _, n := range []uint64{recordFormat, r.shard, r.replica, r.turn, index} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint64(b, xxh3.Hash(b))
	return b[:recordSlot]
}

var errNoSlot = errors.New("no slot is whole")

// read finds the newest whole slot.
func (r *record) read() error {
	found := false
	for i := range int64(2) {
		b := make([]byte, recordBytes)
		n, err := r.file.ReadAt(b, i*recordSlot)
		if err != nil && err != io.EOF {
			return err
		}
		if n < recordBytes || string(b[:8]) != recordMagic || binary.LittleEndian.Uint64(b[48:]) != xxh3.Hash(b[:48]) {
			continue
		}
		word := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
		if word(8) != recordFormat || word(16) != r.shard || word(24) != r.replica {
			return fmt.Errorf("format %d, of shard %d, replica %d", word(8), word(16), word(24))
		}
		if turn := word(32); !found || turn > r.turn {
			found, r.turn, r.index = true, turn, word(40)
		}
	}
	if !found {
		return errNoSlot
	}
	return nil
}

// set makes index the record. It is durable when set returns nil.
func (r *record) set(index uint64) error {
	if index == r.index {
		return nil
	}
	r.turn++
	if _, err := r.file.WriteAt(r.slot(index), int64(r.turn%2)*recordSlot); err != nil {
		r.turn-- // the slot is tried again, and the other is whole
		return err
	}
	if err := r.file.Sync(); err != nil {
		r.turn--
		return err
	}
	r.index = index
	return nil
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
