package hlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// remotePath is what the names of files begin with in errors about a version that is read where it lies.
const remotePath = "remote"

// remoteReadError is the error of a read that the remote has failed, or not answered.
type remoteReadError struct{ err error }

func (e remoteReadError) Error() string   { return "hlog: the remote cannot be read: " + e.err.Error() }
func (e remoteReadError) Unwrap() []error { return []error{ErrRemote, e.err} }

// OpenRemote opens version v of a remote for reading, where it lies; 0 is the one that machines open at. There is no directory,
// and nothing is changed on the remote: any version that it keeps can be read so, by as many as like to, while a store goes
// on writing to it. What is read is verified, and kept in memory as far as Options.MemoryBytes allows. The first read comes
// after some eight answers of the remote, whatever the size of the state. The caller closes the view.
//
// Of the options only MemoryBytes, OpenTimeout and Logger count; nil is the defaults. A read that the remote fails, or does
// not answer for OpenTimeout, is ErrRemote, and may be repeated. When the version is purged from the remote, reads of what is
// not in memory are ErrVersionNotFound from then on. View.WriteDelta finds no other version, so that it writes from the
// empty state only.
//
// ErrVersionNotFound when there is no such version, fs.ErrNotExist when the remote has no store; ErrRemote, ErrCorrupt,
// ErrFormat, ErrOptions; the error of ctx, which counts until OpenRemote returns.
func OpenRemote(ctx context.Context, remote checkpoint.Remote, v checkpoint.Version, opts *Options) (*View, error) {
	r, o, err := newRemoteReader(ctx, remote, v, opts)
	if err != nil {
		return nil, fmt.Errorf("hlog: open the remote: %w", err)
	}
	if v == 0 {
		v = r.Head()
	}
	w, err := openRemoteView(ctx, r, v, o)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("hlog: open version %d of the remote: %w", v, err)
	}
	w.reader = r
	return w, nil
}

// closeRemote closes what the view has for itself.
func (w *View) closeRemote() error {
	err := w.s.Close()
	if w.reader != nil {
		w.reader.Close()
	}
	return err
}

// readFailed makes the error of a read that a remote has failed.
func readFailed(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrClosed) {
		return err
	}
	return remoteReadError{err}
}

// newRemoteReader returns a reader of a remote, and the options of the stores that show what it reads: their memory is mostly
// the cache of the reader.
func newRemoteReader(ctx context.Context, remote checkpoint.Remote, v checkpoint.Version, opts *Options) (*checkpoint.RemoteReader, Options, error) {
	if remote == nil {
		return nil, Options{}, optionError("remote", "nil", "a remote")
	}
	given := Options{}
	if opts != nil {
		given = Options{MemoryBytes: opts.MemoryBytes, OpenTimeout: opts.OpenTimeout, Logger: opts.Logger}
	}
	o, err := given.withDefaults()
	if err != nil {
		return nil, o, err
	}
	r, err := checkpoint.NewRemoteReader(ctx, remote, checkpoint.RemoteReaderOptions{
		Version: v, CacheBytes: max(o.MemoryBytes-MinMemoryBytes, o.MemoryBytes/2), Timeout: o.OpenTimeout,
		Failed: readFailed,
	})
	return r, Options{
		MemoryBytes: MinMemoryBytes, OpenTimeout: o.OpenTimeout, Logger: o.Logger, ReadOnly: true, NoReadCache: true, viewsOnly: true,
		scanBytes: scanBytesOf(o.MemoryBytes),
	}, err
}

// openRemoteView opens version v, which r shows, in a store of its own, which has nothing but the view.
func openRemoteView(ctx context.Context, r *checkpoint.RemoteReader, v checkpoint.Version, o Options) (*View, error) {
	if v == 0 {
		return nil, fmt.Errorf("%w: the remote has none", ErrVersionNotFound)
	}
	d, err := r.Directory(ctx, remotePath, v)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { d.Interrupt(ctx.Err()) })()
	m, err := d.Manifest(v)
	if err == nil {
		err = d.ReadAhead(checkpoint.Range{Start: m.Index.Replay(), End: m.Cut}) // opening replays it
	}
	if err != nil {
		return nil, err
	}
	o.FS, o.Version = d, v
	p, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := open(remotePath, p)
	if err != nil {
		return nil, err
	}
	w, err := s.OpenVersion(ctx, v)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	w.remote = d
	return w, nil
}
