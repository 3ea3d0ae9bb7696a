package lsm

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/hybridlog/hybridlog/compare/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// wal is the write-ahead log: the records written since the manifest with the sequence in its name, in order. It brings
// back what came after that manifest when the process dies; like every write between two snapshots it is not synced. It
// is opened by the first write. A log is replayed whether or not it is still wanted.
type wal struct {
	sequence uint64
	f        fsx.File // nil before the first write
	flushed  int64
	buf      []byte
}

const (
	walPrefix = "wal-"
	walBuffer = 16 << 10
)

func walName(sequence uint64) string { return fmt.Sprintf("%s%020d", walPrefix, sequence) }

// log appends a record to the log. After an error nothing was appended.
func (t *Tree) log(key, value []byte) error {
	w := &t.wal
	if w.f == nil {
		fsys, dir := t.set.FS()
		f, err := fsys.Open(filepath.Join(dir, walName(w.sequence)), fsx.Write|fsx.Create)
		if err != nil {
			return err
		}
		if err := f.Truncate(w.flushed); err != nil { // behind what was replayed
			return errors.Join(err, f.Close())
		}
		w.f = f
	}
	if len(w.buf)+record.Size(len(key), len(value)) > walBuffer && len(w.buf) > 0 {
		if _, err := w.f.WriteAt(w.buf, w.flushed); err != nil {
			return err
		}
		w.flushed += int64(len(w.buf))
		w.buf = w.buf[:0]
	}
	w.buf = record.Append(w.buf, key, value)
	return nil
}

// replay applies the log of the manifest that the store opened at, up to the first record that is not whole: the writes
// behind it were lost with the power.
func (t *Tree) replay() error {
	fsys, dir := t.set.FS()
	f, err := fsys.Open(filepath.Join(dir, walName(t.wal.sequence)), fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() // Only read.
	size, err := f.Size()
	if err != nil {
		return err
	}
	s := record.NewScanner(f, 0, size)
	for s.Next() {
		if t.mem.used() >= t.opts.MemtableBytes {
			if err := t.flush(); err != nil {
				return err
			}
		}
		t.mem.put(s.Key(), s.Value())
		t.dirty = true
	}
	if err := s.Err(); err != nil && !errors.Is(err, record.ErrShort) && !errors.Is(err, record.ErrDamaged) {
		return err
	}
	t.wal.flushed = s.Offset()
	return nil
}

// trim ends the log of an older manifest than the newest: its records are in the runs of the newest. A file that cannot
// be removed is ignored from now on and removed by the next Open.
func (t *Tree) trim() {
	sequence := t.set.Newest().Sequence
	if t.wal.sequence == sequence {
		return
	}
	if t.wal.f != nil {
		t.wal.f.Close()
	}
	if t.wal.f != nil || t.wal.flushed > 0 {
		fsys, dir := t.set.FS()
		fsys.Remove(filepath.Join(dir, walName(t.wal.sequence)))
	}
	t.wal = wal{sequence: sequence, buf: t.wal.buf[:0]}
}

// collectLogs removes the logs that earlier processes left behind.
func (t *Tree) collectLogs() error {
	fsys, dir := t.set.FS()
	entries, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, walPrefix) && (e.Name != walName(t.wal.sequence) || t.wal.flushed == 0) {
			err = errors.Join(err, fsys.Remove(filepath.Join(dir, e.Name)))
		}
	}
	return err
}
