package checkpoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// streamName stands for the file in errors about a stream.
const streamName = "stream"

// Incoming is a stream whose header has been read.
type Incoming struct {
	r    io.Reader
	head *header
	sum  uint64 // that ends the header
	at   int64  // bytes read
}

// ReadStream reads the header of a stream. ErrCorrupt when it is none, or damaged; ErrFormat when a newer release has
// written it; or the error of r.
func ReadStream(r io.Reader) (*Incoming, error) {
	in := &Incoming{r: r}
	start := make([]byte, headerBytes)
	if err := in.fill(start); err != nil {
		return nil, err
	}
	if string(start[:magicBytes]) != magicStream {
		return nil, corrupt(streamName, 0, "magic is %q, not %q", start[:magicBytes], magicStream)
	}
	n := binary.LittleEndian.Uint64(start[16:])
	if n < envelopeBytes || n > maxStreamHeader {
		return nil, corrupt(streamName, 16, "a header of %d bytes", n)
	}
	b := bytes.NewBuffer(start)
	got, err := io.CopyN(b, r, int64(n)-headerBytes) // a damaged length takes no more memory than there are bytes
	in.at += got
	if err := in.ended(err); err != nil {
		return nil, err
	}
	in.sum = envelopeSum(b.Bytes())
	in.head, err = decodeStream(streamName, b.Bytes())
	return in, err
}

// Version returns the version that the stream brings, and Base the one that it needs to be there, 0 if it is all.
func (in *Incoming) Version() Version { return in.head.m.Version }

// Base returns the version that the stream continues, 0 if it holds all of its version.
func (in *Incoming) Base() Version { return in.head.base }

// fill reads exactly b.
func (in *Incoming) fill(b []byte) error {
	n, err := io.ReadFull(in.r, b)
	in.at += int64(n)
	return in.ended(err)
}

// ended makes the end of a stream that should go on a damage of it.
func (in *Incoming) ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt(streamName, int(in.at), "it ends here")
	}
	return err
}

// Check returns why the stream cannot be imported into a directory as it is now, nil if it can. It changes nothing.
// ErrNotEmpty, ErrStoreMismatch, or a *BaseError.
func (in *Incoming) Check(fsys fsx.FS, path string) error {
	d := &Dir{fs: fsys, path: path}
	there, err := d.occupied()
	switch {
	case err != nil:
		return err
	case there == "" && in.head.base != 0:
		return &BaseError{Base: in.head.base}
	case there == "":
		return nil
	case there != storeName:
		return fmt.Errorf("%w: there is %s", ErrNotEmpty, there)
	}
	if err := d.readIdentity(); err != nil {
		return err
	}
	if d.id.StoreID != in.head.id.StoreID {
		return fmt.Errorf("%w: it holds %x, the stream is of %x", ErrStoreMismatch, d.id.StoreID, in.head.id.StoreID)
	}
	if in.head.base == 0 {
		return fmt.Errorf("%w: the store is there already", ErrNotEmpty)
	}
	return nil
}

// occupied returns the name of a file that keeps the directory from counting as empty, storeName if a store is there. What
// an import leaves that was interrupted before it had its version does not.
func (d *Dir) occupied() (string, error) {
	entries, err := d.fs.List(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	store := false
	for _, e := range entries {
		switch name := strings.TrimSuffix(e.Name, fsx.TempSuffix); name {
		case storeName:
			store = true
		case headName, versionsDir, imagesDir, logDir, fsx.LockName:
		default:
			return e.Name, nil
		}
	}
	ids, err := d.numbers(d.versionsPath(), manifestSuffix, versionDigits)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(ids) > 0 {
		return storeName, nil
	}
	b, err := fsx.ReadFile(d.fs, d.nonePath(), envelopeBytes+fsx.BlockSize)
	if err == nil {
		if none, err := decodeNone(d.nonePath(), b); err == nil && none == noneImport {
			return "", nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if store {
		return storeName, nil
	}
	return d.traces()
}

// Into imports the stream into a directory, whose lock the caller holds: one that is empty, or holds what an interrupted
// import left, or for a delta one that stands at its base. Every chunk is verified before it is written. When it returns nil
// the version is durable and current. After an error the directory is as it was, as far as it can be written to; a crash
// leaves what Open refuses, or for a delta what it passes over, and the next Import clears away.
//
// The errors are those of Check; ErrCorrupt for a stream that is damaged or ends too early; those of r, of the disk, and of
// ctx.
func (in *Incoming) Into(ctx context.Context, fsys fsx.FS, path string) (Info, error) {
	if err := in.Check(fsys, path); err != nil {
		return Info{}, err
	}
	i := &importing{in: in, parts: in.head.parts()}
	var err error
	if in.head.base == 0 {
		err = i.whole(ctx, fsys, path)
	} else {
		err = i.delta(ctx, fsys, path)
	}
	if err != nil {
		return Info{}, err
	}
	return i.dir.Info(in.head.m.Version)
}

// importing is one import.
type importing struct {
	in    *Incoming
	dir   *Dir
	parts []part
	made  []string         // files that were not there before
	sizes map[string]int64 // segments that are there, with their lengths before
	// What versions of the directory have is not written again: it has to be the same.
	log   ExtentSet
	files []uint64
}

// whole makes a store of a stream that is all of a version. NONE says until the manifest is there that an import is under
// way.
func (i *importing) whole(ctx context.Context, fsys fsx.FS, path string) (err error) {
	d := &Dir{fs: fsys, path: path}
	if err := d.clearAway(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.clearAway())
		}
	}()
	if i.dir, err = OpenDirWith(fsys, path, OpenOptions{Identity: i.in.head.id, Import: true}); err != nil {
		return err
	}
	return i.fill(ctx)
}

// clearAway removes all that an import has left, what says so last. It takes no version away: there is none, or one that
// an import could not make durable.
func (d *Dir) clearAway() error {
	for _, sub := range []string{versionsDir, imagesDir, logDir} {
		dir := filepath.Join(d.path, sub)
		entries, err := d.fs.List(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !ours(sub, strings.TrimSuffix(e.Name, fsx.TempSuffix)) {
				continue
			}
			if err := d.fs.Remove(filepath.Join(dir, e.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := d.fs.SyncDir(dir); err != nil { // before STORE goes
			return err
		}
	}
	for _, names := range [][]string{
		{d.storePath(), d.storePath() + fsx.TempSuffix},
		{d.headPath(), d.headPath() + fsx.TempSuffix},
		{d.nonePath(), d.nonePath() + fsx.TempSuffix, d.LogPath(), d.ImagesPath(), d.versionsPath()},
	} {
		for _, name := range names {
			err := d.fs.Remove(name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) { // somebody else's file is in it
				return err
			}
		}
		if err := d.fs.SyncDir(d.path); err != nil {
			return err
		}
	}
	return nil
}

// ours reports whether the name is one of a manifest, an index file or a segment, whichever the directory is for.
func ours(dir, name string) (ok bool) {
	switch dir {
	case versionsDir:
		_, ok = parseName(name, manifestSuffix, versionDigits)
	case imagesDir:
		_, ok = parseName(name, imageSuffix, imageDigits)
	case logDir:
		_, ok = SegmentNumber(name)
	}
	return ok
}

// delta adds a version to a store that stands at the stream's base.
func (i *importing) delta(ctx context.Context, fsys fsx.FS, path string) (err error) {
	h := i.in.head
	if i.dir, err = OpenDirWith(fsys, path, OpenOptions{NoCreate: true}); err != nil {
		return err
	}
	d := i.dir
	if err := d.stands(h); err != nil {
		return err
	}
	if i.log, i.files, err = d.References(); err != nil {
		return err
	}
	if err := d.TakeOver(); err != nil {
		return err
	}
	if err := i.makeRoom(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.undo())
		}
	}()
	return i.fill(ctx)
}

// stands returns why the directory is not at the stream's base, or lacks what the stream does not bring.
func (d *Dir) stands(h *header) error {
	cur := d.Current()
	if cur == nil || cur.Version != h.base || cur.Nonce != h.baseNonce {
		e := &BaseError{Base: h.base}
		if cur != nil {
			e.Here = cur.Version
		}
		return e
	}
	if d.MaxID() >= h.m.Version {
		return fmt.Errorf("%w: it has had version %d, the stream brings %d", ErrDiverged, d.MaxID(), h.m.Version)
	}
	missing, here := Log(h.m.Extents), Log(cur.Extents)
	for _, r := range h.log {
		missing.Subtract(r.Start, r.End)
	}
	missing.SubtractSet(here)
	files := cur.Index.files()
	lacks := slices.ContainsFunc(h.m.Index.files(), func(f indexFile) bool {
		return !slices.Contains(h.files, f.id) && !slices.Contains(files, f)
	})
	if !missing.Empty() || lacks {
		return &BaseError{Base: h.base, Here: cur.Version, Other: true}
	}
	return nil
}

// makeRoom removes the files that an interrupted import, or a crash, has left where the stream's go: their names may not be
// durable, and no sync would make them so (F5). What versions have stays.
func (i *importing) makeRoom() error {
	d := i.dir
	i.sizes = map[string]int64{}
	size := uint64(d.id.SegmentBytes)
	for _, p := range i.parts {
		name := d.partPath(p)
		if p.isLog && i.log.Intersects(p.n*size, (p.n+1)*size) || !p.isLog && slices.Contains(i.files, p.file.id) {
			f, err := d.fs.Open(name, fsx.Read)
			if err != nil {
				return missingFile(name, err)
			}
			n, err := f.Size()
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			i.sizes[name] = n
			continue
		}
		if slices.Contains(i.made, name) {
			continue // another stretch of the same segment
		}
		if err := d.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		i.made = append(i.made, name)
	}
	return nil
}

func missingFile(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(name, 0, "missing")
	}
	return err
}

// undo removes what a delta that failed has written. Its version is not there.
func (i *importing) undo() (err error) {
	for _, name := range i.made {
		if e := i.dir.fs.Remove(name); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	for name, n := range i.sizes {
		err = errors.Join(err, i.dir.shorten(name, n))
	}
	return err
}

// fill writes the parts, makes them durable, and then the version.
func (i *importing) fill(ctx context.Context) error {
	if err := i.transfer(ctx); err != nil {
		return err
	}
	d := i.dir
	if err := errors.Join(d.fs.SyncDir(d.LogPath()), d.fs.SyncDir(d.ImagesPath())); err != nil {
		return err
	}
	return d.adopt(i.in.head.manifest, false, false)
}

// transfer writes the parts. The caller's goroutine reads and verifies chunks, another writes them, and a third makes files
// durable that are complete, so that the disk has something to do while the next is written.
func (i *importing) transfer(ctx context.Context) error {
	full, free := make(chan chunk, chunksUnderWay), newBuffers()
	whole := make(chan fsx.File, chunksUnderWay)
	failed := make(chan struct{})
	var writeErr, syncErr error
	var working sync.WaitGroup
	working.Go(func() {
		defer close(whole)
		if writeErr = i.write(full, free, whole); writeErr != nil {
			close(failed)
		}
		for range full { // what was on its way
		}
	})
	working.Go(func() {
		for f := range whole {
			syncErr = errors.Join(syncErr, f.Sync(), f.Close())
		}
	})
	err := i.receive(ctx, full, free, failed)
	close(full)
	working.Wait()
	if writeErr != nil || syncErr != nil {
		return errors.Join(writeErr, syncErr)
	}
	return err
}

// receive reads and verifies all chunks.
func (i *importing) receive(ctx context.Context, full chan<- chunk, free <-chan []byte, failed <-chan struct{}) error {
	n := int64(0)
	for _, p := range i.parts {
		for off := int64(0); off < p.bytes || off == 0; off += chunkBytes {
			if err := ctx.Err(); err != nil {
				return err
			}
			var buf []byte
			select {
			case buf = <-free:
			case <-failed:
				return nil
			}
			c := chunk{p, off, buf[:min(chunkBytes, p.bytes-off)+sumBytes]}
			if p.bytes == 0 { // an empty file has no chunk
				full <- c
				continue
			}
			if err := i.in.fill(c.buf); err != nil {
				return err
			}
			want, got := binary.LittleEndian.Uint64(c.buf[len(c.buf)-sumBytes:]), chunkSum(c.data(), i.in.sum, n)
			if want != got {
				return corrupt(streamName, int(i.in.at)-len(c.buf), "checksum is %016x, the bytes have %016x", want, got)
			}
			n++
			full <- c
		}
	}
	return nil
}

// write writes chunks to their files, and passes on those files that are complete.
func (i *importing) write(full <-chan chunk, free chan<- []byte, whole chan<- fsx.File) (err error) {
	var f fsx.File
	open := ""
	done := func() {
		if f != nil {
			whole <- f
			f = nil
		}
	}
	defer done()
	for c := range full {
		if name := i.dir.partPath(c.part); name != open {
			done()
			if f, err = i.dir.fs.Open(name, fsx.Write|fsx.Create); err != nil {
				f = nil
				return err
			}
			open = name
		}
		if err := i.put(f, c, open); err != nil {
			return err
		}
		free <- c.buf[:cap(c.buf)]
	}
	return nil
}

// put writes what no version has of a chunk, and compares the rest: a block that a version covers is not written again.
// ErrDiverged when that differs, since the store has gone on here by itself.
func (i *importing) put(f fsx.File, c chunk, name string) error {
	data, off := c.data(), uint64(c.part.off+c.off)
	var missing ExtentSet // of the log, or of the index file
	origin := uint64(0)
	if c.part.isLog {
		origin = c.part.n * uint64(i.in.head.id.SegmentBytes)
	}
	missing.Add(origin+off, origin+off+uint64(len(data)))
	there := missing.Clone()
	if c.part.isLog {
		missing.SubtractSet(i.log)
	} else if slices.Contains(i.files, c.part.file.id) {
		missing = ExtentSet{}
	}
	there.SubtractSet(missing)
	within := func(r Range) ([]byte, int64) {
		at := r.Start - origin
		return data[at-off : r.End-origin-off], int64(at)
	}
	for _, r := range missing.Ranges() {
		b, at := within(r)
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
	}
	for _, r := range there.Ranges() {
		b, at := within(r)
		have := make([]byte, len(b))
		if _, err := f.ReadAt(have, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.Equal(b, have) {
			return fmt.Errorf("%w: %s has other bytes from %d to %d, of another version here", ErrDiverged, name, at, at+int64(len(b)))
		}
	}
	return nil
}
