package hlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Size returns how many bytes WriteTo writes.
func (w *View) Size() int64 {
	out, err := w.s.ledger.Stream(w.m, nil)
	if err != nil {
		return 0 // a manifest that was read can be written
	}
	return out.Size()
}

// WriteTo writes the version as one stream of Size bytes, which Import makes a directory of: its log and index files, as
// they lie on disk, with checksums. The store goes on meanwhile; closing it, or the view, waits for the call. It returns
// how many bytes were written. Cold data is read from the disk and not brought into memory.
//
// The error is that of out or of the disk; ErrCorrupt when a file is missing or too short; ErrClosed. What was written
// until then is no whole stream, and Import refuses it.
func (w *View) WriteTo(out io.Writer) (int64, error) { return w.write(out, nil) }

// WriteDelta is WriteTo for a reader who has version since: it writes what a directory at that version lacks, which Import
// adds to it. since need not be an ancestor, but has to be kept here; 0 stands for the empty store, and all is written.
//
// ErrVersionNotFound when there is no version since; ErrVersionOrder when it is not older than the view's; and the errors
// of WriteTo.
func (w *View) WriteDelta(out io.Writer, since checkpoint.Version) (int64, error) {
	if since == 0 {
		return w.write(out, nil)
	}
	if err := w.s.check(); err != nil {
		return 0, err
	}
	base, err := w.s.ledger.Pin(since)
	if err != nil {
		return 0, err
	}
	defer w.s.ledger.Unpin(since)
	return w.write(out, base)
}

func (w *View) write(out io.Writer, base *checkpoint.Manifest) (int64, error) {
	if err := w.start(); err != nil {
		return 0, err
	}
	defer w.end()
	stream, err := w.s.ledger.Stream(w.m, base)
	if err != nil {
		return 0, err
	}
	return stream.WriteTo(context.Background(), out)
}

// Import makes the version that View.WriteTo or WriteDelta has written to r the current version of a directory, and returns
// it. A whole version is imported into a directory that is empty, or is not there yet; the store in it has the identity of
// the one that the stream comes from. What WriteDelta has written is added to a directory that stands at exactly the version
// it continues. No store may have the directory open. It reads the stream to its end and not further, and verifies every
// part of it before it is used.
//
// When it returns nil the version is durable. After an error the directory is as it was, but for an empty one, in which the
// file LOCK may lie now; after a crash Open refuses it, or opens it at the version that it had, and the next Import clears away
// what is left.
//
// ErrCorrupt when r is no stream, is damaged, or ends too early; ErrFormat when a newer release has written it; ErrNotEmpty,
// ErrOtherStore, or ErrBase with a *BaseError, when the directory is not one that the stream can be imported into, and
// ErrLocked when it is in use, before anything is changed; ErrDiverged when its store has gone on by itself, and has had another
// version by that number, or has other bytes where those of the stream go; the errors of r, of the disk and of ctx, which is
// looked at between reads.
func Import(ctx context.Context, dir string, r io.Reader) (checkpoint.Info, error) {
	return importInto(ctx, fsx.OS(), dir, r)
}

func importInto(ctx context.Context, fsys fsx.FS, dir string, r io.Reader) (checkpoint.Info, error) {
	info, err := importTo(ctx, fsys, dir, r)
	if err != nil {
		return checkpoint.Info{}, fmt.Errorf("hlog: import into %s: %w", dir, err)
	}
	return info, nil
}

func importTo(ctx context.Context, fsys fsx.FS, dir string, r io.Reader) (info checkpoint.Info, _ error) {
	if dir == "" {
		return info, optionError("dir", `""`, "a path")
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return info, err
	}
	in, err := checkpoint.ReadStream(r)
	if err != nil {
		return info, err
	}
	if err := in.Check(fsys, path); err != nil { // before a lock file is made
		if release, locked := fsys.Lock(path, true); locked == nil { // which makes none
			return info, errors.Join(err, release())
		} else if errors.Is(locked, ErrLocked) {
			err = errors.Join(locked, err)
		}
		return info, err
	}
	if err := makeDir(fsys, path); err != nil {
		return info, err
	}
	root, err := fsys.OpenRoot(path)
	if err != nil {
		return info, err
	}
	defer root.Close() // what is durable is not undone by an error of this, nor by one of the lock
	release, err := root.Lock(path, false)
	if err != nil {
		return info, err
	}
	defer release()
	return in.Into(ctx, root, path)
}
