package fileset

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/compare/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/zeebo/xxh3"
)

// writeBuffer is how many bytes a Writer gathers before it passes them on.
const writeBuffer = 256 << 10

// File is a sealed, immutable, open file. ReadAt may be called from any goroutine, the rest by one at a time.
type File struct {
	Ref
	set    *Set
	f      fsx.File
	synced bool
	failed error // what the first sync returned (S5)
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// Damaged returns the error that says that f's bytes at off are not what was written.
func (f *File) Damaged(off int64, reason string) error {
	return &base.CorruptionError{File: f.Name(), Offset: off, Reason: reason}
}

// Read returns the bytes [off, off+n) of f. A file that ends before them is damaged.
func (f *File) Read(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off+n > f.Length {
		return nil, f.Damaged(off, fmt.Sprintf("%d bytes lie outside the file", n))
	}
	b := make([]byte, n)
	switch got, err := f.f.ReadAt(b, off); {
	case got == len(b):
		return b, nil
	case errors.Is(err, io.EOF):
		return nil, f.Damaged(off+int64(got), "file ends early")
	default:
		return nil, err
	}
}

func (f *File) sync() error {
	if f.failed == nil && !f.synced {
		if err := f.f.Sync(); err != nil {
			f.failed = fmt.Errorf("compare: %s may not be durable: %w", f.Name(), err)
		} else {
			f.synced = true
		}
	}
	return f.failed
}

// Drop closes f, and removes it if no manifest lists it. The caller no longer reads it.
func (f *File) Drop() {
	f.f.Close() // Nothing was written through it since its last sync.
	f.set.unref(f.Name())
}

// DropAll drops each of files.
func DropAll(files []*File) {
	for _, f := range files {
		f.Drop()
	}
}

// Writer writes one new file from front to back. Its methods are called by one goroutine at a time, but ReadAt may run
// beside ReadAt.
type Writer struct {
	set     *Set
	number  uint64
	path    string
	f       fsx.File
	buf     []byte
	flushed int64 // bytes that are in f; buf stands behind them
	hash    *xxh3.Hasher
}

// Create begins a new file.
func (s *Set) Create() (*Writer, error) {
	number := s.nextNumber
	path := filepath.Join(s.dir, fmt.Sprintf("L0.%06d%s", number, openSuffix))
	f, err := s.fs.Open(path, fsx.Write|fsx.Create)
	if err == nil {
		err = f.Truncate(0) // A file that could not be removed earlier may have the name.
	}
	if err != nil {
		return nil, err
	}
	s.nextNumber++
	return &Writer{set: s, number: number, path: path, f: f, hash: xxh3.New()}, nil
}

// Append puts p at the end of the file and returns where it begins. After an error nothing was appended, and Append
// may be tried again.
func (w *Writer) Append(p []byte) (int64, error) {
	if len(w.buf)+len(p) > writeBuffer {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	at := w.Length()
	w.buf = append(w.buf, p...)
	w.hash.Write(p) // never fails
	return at, nil
}

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.f.WriteAt(w.buf, w.flushed); err != nil {
		return err
	}
	w.flushed += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// Length returns the bytes appended so far.
func (w *Writer) Length() int64 { return w.flushed + int64(len(w.buf)) }

// Number returns the number that the file's Ref will have.
func (w *Writer) Number() uint64 { return w.number }

// Memory returns the bytes of memory held.
func (w *Writer) Memory() int { return cap(w.buf) }

// ReadAt reads what was appended with one Append.
func (w *Writer) ReadAt(p []byte, off int64) (int, error) {
	if off >= w.flushed {
		return copy(p, w.buf[off-w.flushed:]), nil
	}
	return w.f.ReadAt(p, off)
}

// Seal ends the file, as one of a level. After an error the Writer is as before and can be sealed again or aborted.
func (w *Writer) Seal(level int) (*File, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	ref := Ref{Level: level, Number: w.number, Sum: w.hash.Sum64(), Length: w.flushed}
	if err := w.set.fs.Rename(w.path, filepath.Join(w.set.dir, ref.Name())); err != nil {
		return nil, err
	}
	w.set.refs[ref.Name()]++
	return &File{Ref: ref, set: w.set, f: w.f}, nil
}

// Abort gives the file up.
func (w *Writer) Abort() {
	w.f.Close()
	w.set.fs.Remove(w.path) // If it stays, the next Open removes it.
}

// OpenFile opens a file that a manifest lists; from the remote, if only that has it.
func (s *Set) OpenFile(ref Ref) (*File, error) {
	path := filepath.Join(s.dir, ref.Name())
	f, err := openWhole(s.fs, path, ref)
	if errors.Is(err, base.ErrCorrupt) && s.remoteHas[ref.Name()] {
		if err := s.fetch(ref); err != nil {
			return nil, err
		}
		f, err = openWhole(s.fs, path, ref)
	}
	if err != nil {
		return nil, err
	}
	s.refs[ref.Name()]++
	return &File{Ref: ref, set: s, f: f, synced: true}, nil
}

// openWhole opens a file that must be there with the length that its manifest says.
func openWhole(fsys fsx.FS, path string, ref Ref) (fsx.File, error) {
	f, err := fsys.Open(path, fsx.Read)
	if isNotExist(err) {
		return nil, &base.CorruptionError{File: ref.Name(), Reason: "file is missing"}
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && size != ref.Length {
		err = &base.CorruptionError{File: ref.Name(), Offset: min(size, ref.Length),
			Reason: fmt.Sprintf("file has %d bytes, its manifest says %d", size, ref.Length)}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// OpenAll opens the files of a manifest, all or none.
func (s *Set) OpenAll(refs []Ref) ([]*File, error) {
	files := make([]*File, 0, len(refs))
	for _, ref := range refs {
		f, err := s.OpenFile(ref)
		if err != nil {
			DropAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// ScanError returns why a scan of f ended early: damage, or a failure to read.
func (f *File) ScanError(s *record.Scanner) error {
	err := s.Err()
	if errors.Is(err, record.ErrDamaged) || errors.Is(err, record.ErrShort) {
		return f.Damaged(s.Offset(), err.Error())
	}
	return err
}
