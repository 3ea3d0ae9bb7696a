package fileset

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/compare/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/zeebo/xxh3"
)

// writeBuffer is how many bytes a Writer gathers before it passes them on.
const writeBuffer = 256 << 10

// File is a finished, immutable, open file. ReadAt may be called from any goroutine, the rest by one at a time.
type File struct {
	Ref
	set    *Set
	handle atomic.Pointer[fsx.File] // for reading
	others []fsx.File               // handles that it was written by, or that readers may still use
	synced bool                     // the bytes
	named  bool                     // the name
	failed bool                     // a sync failed since the file was written (S5)
}

func (s *Set) newFile(ref Ref, f fsx.File, durable bool) *File {
	s.refs[ref.Name()]++
	file := &File{Ref: ref, set: s, synced: durable, named: durable}
	file.handle.Store(&f)
	return file
}

// directBuffers are aligned and of directChunk bytes and a block: what a direct read of as much from any offset takes.
var directBuffers = sync.Pool{New: func() any {
	b := mem.AlignedBytes(directChunk+fsx.BlockSize, fsx.BlockSize)
	return &b
}}

const directChunk = 64 << 10

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	h := *f.handle.Load()
	if !h.Direct() {
		return h.ReadAt(p, off)
	}
	buf := directBuffers.Get().(*[]byte)
	defer directBuffers.Put(buf)
	for n < len(p) {
		from := (off + int64(n)) / fsx.BlockSize * fsx.BlockSize
		skip := int(off + int64(n) - from)
		want := min(len(p)-n, directChunk)
		got, err := h.ReadAt((*buf)[:(skip+want+fsx.BlockSize-1)/fsx.BlockSize*fsx.BlockSize], from)
		done := copy(p[n:n+want], (*buf)[min(skip, got):got])
		if n += done; done < want {
			if err == nil {
				err = io.EOF
			}
			return n, err
		}
	}
	return n, nil
}

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
	switch got, err := f.ReadAt(b, off); {
	case got == len(b):
		return b, nil
	case errors.Is(err, io.EOF):
		return nil, f.Damaged(off+int64(got), "file ends early")
	default:
		return nil, err
	}
}

// Lookup is Read for a Get, which is counted.
func (f *File) Lookup(off, n int64) ([]byte, error) {
	f.set.lookups.Add(1)
	return f.Read(off, n)
}

// sync makes f's bytes durable. The bytes of a file whose sync failed may be gone from memory and disk alike: the next sync
// verifies and writes them anew.
func (f *File) sync() error {
	if f.synced {
		return nil
	}
	if f.failed {
		if err := f.rewrite(); err != nil {
			return fmt.Errorf("%s may not be durable, and cannot be written again: %w", f.Name(), err)
		}
	} else if err := f.written().Sync(); err != nil {
		f.failed = true
		return err
	}
	f.synced, f.failed = true, false
	return nil
}

// written returns the handle that the file was written by, if it is still there: it is the one that hears of what the
// kernel could not write.
func (f *File) written() fsx.File {
	if len(f.others) > 0 {
		return f.others[0]
	}
	return *f.handle.Load()
}

// syncNames makes the names of files durable. Names that a failed sync lost are made again by the next one of the file.
func (s *Set) syncNames(files []*File) error {
	err := s.fs.SyncDir(s.dir)
	for _, f := range files {
		if err == nil {
			f.named = true
		} else if !f.named {
			f.synced, f.failed = false, true
		}
	}
	return err
}

// rewrite puts a new, synced file with the same bytes in f's place.
func (f *File) rewrite() error {
	path := filepath.Join(f.set.dir, f.Name())
	hash := xxh3.New()
	err := writeFile(f.set.fs, path+fsx.TempSuffix, io.TeeReader(io.NewSectionReader(f, 0, f.Length), hash), f.Length)
	if err == nil && hash.Sum64() != f.Sum {
		err = f.Damaged(0, "file is not what its name says")
	}
	if err != nil {
		f.set.fs.Remove(path + fsx.TempSuffix)
		return err
	}
	if err := f.set.fs.Rename(path+fsx.TempSuffix, path); err != nil {
		return err
	}
	fresh, err := f.set.openWhole(f.Ref)
	if err != nil {
		return err
	}
	f.others = append(f.others, *f.handle.Swap(&fresh))
	return nil
}

// Drop closes f, and removes it if no manifest lists it. The caller no longer reads it.
func (f *File) Drop() {
	for _, handle := range append(f.others, *f.handle.Load()) {
		handle.Close() // Nothing was written through it since its last sync.
	}
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
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(0); err != nil { // A file that could not be removed earlier may have the name.
		return nil, errors.Join(err, f.Close())
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

// Finish ends the file, as one of a level. After an error the Writer is as before and can be finished again or aborted.
func (w *Writer) Finish(level int) (*File, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	ref := Ref{Level: level, Number: w.number, Sum: w.hash.Sum64(), Length: w.flushed}
	path := filepath.Join(w.set.dir, ref.Name())
	// An earlier Finish that failed may have got as far as the new name.
	if err := w.set.fs.Rename(w.path, path); err != nil && !isNotExist(err) {
		return nil, err
	}
	f, err := w.set.openWhole(ref)
	if err != nil {
		return nil, err
	}
	file := w.set.newFile(ref, f, false)
	file.others = append(file.others, w.f)
	return file, nil
}

// Abort gives the file up.
func (w *Writer) Abort() {
	w.f.Close()
	w.set.fs.Remove(w.path) // If it stays, the next Open removes it.
}

// OpenFile opens a file that a manifest lists; from the remote, if only that has it.
func (s *Set) OpenFile(ref Ref) (*File, error) {
	f, err := s.openWhole(ref)
	durable := err == nil
	if errors.Is(err, base.ErrCorrupt) && s.hasPieces(ref) {
		if err := s.fetch(ref); err != nil {
			return nil, err
		}
		f, err = s.openWhole(ref)
	}
	if err != nil {
		return nil, err
	}
	return s.newFile(ref, f, durable), nil
}

// openWhole opens a file that must be there with the length that its manifest says.
func (s *Set) openWhole(ref Ref) (fsx.File, error) {
	flag := fsx.Read | fsx.Direct
	if s.opts.PageCache {
		flag = fsx.Read
	}
	f, err := s.fs.Open(filepath.Join(s.dir, ref.Name()), flag)
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

// writeFile makes the file name hold exactly the size bytes of body, and syncs them. The name is not durable yet.
func writeFile(fsys fsx.FS, name string, body io.Reader, size int64) (err error) {
	f, err := fsys.Open(name, fsx.Write|fsx.Create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(0); err != nil {
		return err
	}
	buf := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), size-off)]
		if _, err := io.ReadFull(body, buf); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return f.Sync()
}
