package fileset

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hybridlog/hybridlog/compare/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Journal is a write-ahead log: the records written since the manifest with the sequence in its name, in order. It brings
// back what came after that manifest when the process dies; like every write between two commits it is not synced. Its
// file is made by the first Append. Its methods are called by one goroutine at a time.
type Journal struct {
	set      *Set
	sequence uint64
	f        fsx.File // nil before the first Append
	flushed  int64
	buf      []byte
}

const (
	journalPrefix = "wal-"
	journalBuffer = 16 << 10
)

// Journal returns the journal of the newest manifest.
func (s *Set) Journal() *Journal { return &Journal{set: s, sequence: s.newest.Sequence} }

func (j *Journal) name() string { return fmt.Sprintf("%s%020d", journalPrefix, j.sequence) }

func (j *Journal) path() string { return filepath.Join(j.set.dir, j.name()) }

// Append appends a record. After an error nothing was appended.
func (j *Journal) Append(key, value []byte) error {
	if j.f == nil {
		f, err := j.set.fs.Open(j.path(), fsx.Write|fsx.Create)
		if err != nil {
			return err
		}
		if err := f.Truncate(j.flushed); err != nil { // behind what was replayed
			return errors.Join(err, f.Close())
		}
		j.f = f
	}
	if len(j.buf)+record.Size(len(key), len(value)) > journalBuffer && len(j.buf) > 0 {
		if _, err := j.f.WriteAt(j.buf, j.flushed); err != nil {
			return err
		}
		j.flushed += int64(len(j.buf))
		j.buf = j.buf[:0]
	}
	j.buf = record.Append(j.buf, key, value)
	return nil
}

// Length returns the bytes in the file.
func (j *Journal) Length() int64 { return j.flushed }

// Memory returns the bytes of memory held.
func (j *Journal) Memory() int64 { return int64(cap(j.buf)) }

// Replay calls fn with every record that an earlier process left, up to the first that is not whole: what came behind it
// was lost with the power. It is called before Append.
func (j *Journal) Replay(fn func(key, value []byte) error) error {
	f, err := j.set.fs.Open(j.path(), fsx.Read)
	if isNotExist(err) {
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
		if err := fn(s.Key(), s.Value()); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil && !errors.Is(err, record.ErrShort) && !errors.Is(err, record.ErrDamaged) {
		return err
	}
	j.flushed = s.Offset()
	return nil
}

// Advance begins the journal of the newest manifest and ends the one of an older: its records are committed. A file that
// cannot be removed is ignored from now on and removed by the next Collect.
func (j *Journal) Advance() {
	if j.sequence == j.set.newest.Sequence {
		return
	}
	path, there := j.path(), j.f != nil || j.flushed > 0
	j.Close()
	if there {
		j.set.fs.Remove(path)
	}
	*j = Journal{set: j.set, sequence: j.set.newest.Sequence, buf: j.buf[:0]}
}

// Collect removes the journals that earlier processes left behind.
func (j *Journal) Collect() error {
	entries, err := j.set.fs.List(j.set.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, journalPrefix) && (e.Name != j.name() || j.flushed == 0) {
			err = errors.Join(err, j.set.fs.Remove(filepath.Join(j.set.dir, e.Name)))
		}
	}
	return err
}

// Close closes the file, whose buffered records are lost: they are committed, or could not be.
func (j *Journal) Close() error {
	if j.f == nil {
		return nil
	}
	f := j.f
	j.f = nil
	return f.Close()
}
