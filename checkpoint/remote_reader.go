package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/hybridlog/hybridlog/internal/lock"
)

// RemoteReaderOptions are the settings of a RemoteReader. The zero value is usable.
type RemoteReaderOptions struct {
	// Version is the one that is going to be opened first, 0 the head: what describes it is read without waiting.
	Version Version
	// CacheBytes is how much of what was read is kept in memory. 0 = 64 MiB.
	CacheBytes int64
	// Timeout is how long a call of the remote may bring nothing before it has failed. 0 = 30 s; negative: no bound.
	Timeout time.Duration
	// Attempts and Backoff are those of MirrorOptions.
	Attempts int
	Backoff  time.Duration
	// Failed, unless nil, makes the error of a read out of the one of the remote.
	Failed func(error) error
}

// RemoteReader reads the versions of a remote where they lie, without a directory, and changes nothing there. Its methods
// may be called from any goroutine. What it has read is kept in a cache, which all its directories have together.
//
// Like every reader of a remote it takes the sequence for the truth, and nothing that it has read is used before it was
// verified: by the checksum of an object that is read whole, or, where a part of a piece is read, by those of the records
// and blocks in it, which are the business of whoever reads the files.
type RemoteReader struct {
	m     *Mirror // only its methods that read; of turn
	turn  chan struct{}
	opts  RemoteReaderOptions
	cache *pieceCache

	mu    lock.Mutex[lock.Leaf] // of what follows
	state *remoteState
	lists map[uint64][]piece
	early map[stand]*replica // what was read before anybody asked for it
}

// NewRemoteReader finds out what versions a remote has. ErrStoreMismatch never: it takes whatever store is there;
// fs.ErrNotExist when there is none; ErrCorrupt, ErrUnfinished, ErrFormat, and the errors of the remote.
func NewRemoteReader(ctx context.Context, remote Remote, o RemoteReaderOptions) (*RemoteReader, error) {
	opts, err := MirrorOptions{Attempts: o.Attempts, Backoff: o.Backoff}.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	remote = impatient{remote, o.Timeout}
	r := &RemoteReader{opts: o, turn: make(chan struct{}, 1), lists: make(map[uint64][]piece), early: make(map[stand]*replica)}
	r.m = &Mirror{remote: remote, opts: opts, state: &remoteState{}, known: make(map[Version]*replica), damaged: make(map[Version]error)}
	r.cache = newPieceCache(r, o.CacheBytes)
	if err := r.attach(ctx); err != nil {
		r.Close()
		return nil, fmt.Errorf("checkpoint: read the remote: %w", r.failed(err))
	}
	return r, nil
}

// Close ends the reads of all directories, and waits for them. Nothing may be read any more.
func (r *RemoteReader) Close() {
	r.cache.close()
	r.cache.all.Wait()
}

func (r *RemoteReader) failed(err error) error {
	final := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrFormat)
	if err == nil || final || r.opts.Failed == nil {
		return err
	}
	return r.opts.Failed(err)
}

// attach reads identity and sequence.
func (r *RemoteReader) attach(ctx context.Context) error {
	var hintStore [16]byte
	var hint *remoteState
	var id Identity
	err := together(
		func() error {
			return r.m.retry(ctx, func() (err error) {
				id, r.m.format, err = remoteIdentity(ctx, r.m.remote)
				return err
			})
		},
		func() (err error) {
			hintStore, hint, err = readHint(ctx, r.m.remote)
			if ctx.Err() == nil {
				err = nil // it is not needed
			}
			return err
		})
	if err != nil {
		return err
	}
	r.m.dir, r.m.names = &Dir{id: id, readOnly: true}, namesOf(id)
	if hintStore != id.StoreID {
		hint = nil
	}
	s, err := r.seek(ctx, hint)
	if err != nil {
		return err
	}
	if s != nil {
		r.set(s)
		return nil
	}
	if err := r.m.resync(ctx); err != nil {
		return err
	}
	r.set(r.m.state)
	return nil
}

func (r *RemoteReader) set(s *remoteState) {
	r.m.setState(s)
	r.mu.Lock()
	r.state = s
	r.mu.Unlock()
}

func (r *RemoteReader) sequence() *remoteState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// firstLook is how many entries behind the last one that is known a reader looks for at first, all together.
const firstLook = 4

// follow returns what the sequence comes to, from what it came to at some time on; nil when that is of no use any more: the
// sequence must be read from its beginning.
func (r *RemoteReader) follow(ctx context.Context, from *remoteState) (*remoteState, error) {
	s := from.clone()
	if useless, err := r.readOn(ctx, s, nil); useless || err != nil {
		return nil, err
	}
	genuine, err := r.nothingRemoved(ctx, s) // since the entry was looked for that was not found (J3)
	if !genuine || err != nil {
		return nil, err
	}
	return s, nil
}

// readOn reads on from the last entry of s to the first that is missing: next, which are there already, and then more, at a time,
// the longer it takes. useless is that of join.
func (r *RemoteReader) readOn(ctx context.Context, s *remoteState, next []found) (useless bool, err error) {
	for look := uint64(firstLook); ; look *= 2 {
		more, useless := s.join(next)
		if useless || !more {
			return useless, nil
		}
		if next, err = r.m.getEntries(ctx, s.root, s.last+1, s.last+look); err != nil {
			return false, err
		}
	}
}

// CatchUp reads what has been put since.
func (r *RemoteReader) CatchUp(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.turn }()
	old := r.sequence()
	var s *remoteState
	var err error
	if old.root != 0 {
		s, err = r.follow(ctx, old)
	}
	if err == nil && s == nil {
		var id Identity
		if id, r.m.format, err = remoteIdentity(ctx, r.m.remote); err == nil && id != r.m.dir.id {
			err = fmt.Errorf("%w: it holds %x, this was %x", ErrStoreMismatch, id.StoreID, r.m.dir.id.StoreID)
		}
		if err == nil {
			s, err = r.seek(ctx, nil)
		}
		if err == nil && s == nil {
			r.m.state = &remoteState{}
			err = r.m.resync(ctx)
			s = r.m.state
		}
	}
	if err != nil {
		return fmt.Errorf("checkpoint: read the remote: %w", r.failed(err))
	}
	r.set(s)
	return nil
}

// Identity returns the identity of the store.
func (r *RemoteReader) Identity() Identity { return r.m.dir.id }

// Head returns the version at which machines open, 0 when there is none.
func (r *RemoteReader) Head() Version { return r.sequence().head }

// Versions returns the versions that stand, oldest first, as far as the sequence has been read.
func (r *RemoteReader) Versions() []Version { return slices.Sorted(maps.Keys(r.sequence().versions)) }

// load returns a version that stands. ErrNotFound when it does not, or does not any more.
func (r *RemoteReader) load(ctx context.Context, v Version) (*replica, stand, error) {
	for {
		st, ok := r.sequence().versions[v]
		if !ok {
			return nil, st, fmt.Errorf("%w: %d", ErrNotFound, v)
		}
		r.mu.Lock()
		c := r.early[st]
		delete(r.early, st)
		r.mu.Unlock()
		if c != nil {
			return c, st, nil
		}
		c, err := r.m.loadStand(ctx, st)
		if errors.Is(err, fs.ErrNotExist) {
			if err = r.CatchUp(ctx); err == nil && r.sequence().versions[v] != st {
				continue
			} else if err == nil {
				err = corrupt(r.m.names.version(v, st.generation), 0, "missing")
			}
		}
		return c, st, err
	}
}

// gone is what it means that an object is missing that versions name: ErrNotFound if one of them stands no more.
func (r *RemoteReader) gone(ctx context.Context, stands []stand, name string) error {
	if err := r.CatchUp(ctx); err != nil {
		return err
	}
	now := r.sequence().versions
	for _, st := range stands {
		if now[st.version] != st {
			return fmt.Errorf("%w: %d was purged from the remote", ErrNotFound, st.version)
		}
	}
	return corrupt(name, 0, "missing")
}

// list returns the pieces of a list.
func (r *RemoteReader) list(ctx context.Context, l listRef) ([]piece, error) {
	r.mu.Lock()
	pieces, ok := r.lists[l.sum]
	r.mu.Unlock()
	if ok {
		return pieces, nil
	}
	name := r.m.names.list(l)
	err := r.m.retry(ctx, func() error {
		data, err := getAll(ctx, r.m.remote, name, maxList)
		if err != nil {
			return err
		}
		if pieces, err = decodeList(name, data); err == nil && envelopeSum(data) != l.sum {
			err = corrupt(name, len(data)-sumBytes, "is another list")
		}
		return err
	})
	if err == nil {
		r.mu.Lock()
		r.lists[l.sum] = pieces
		r.mu.Unlock()
	}
	return pieces, err
}

// atATime is how many calls of a remote are under way for one reader.
const atATime = 64

// together calls all functions, at most atATime of them at a time, and returns the first error in their order.
func together(calls ...func() error) error {
	errs := make([]error, len(calls))
	places, done := make(chan struct{}, atATime), make(chan struct{}, len(calls))
	for i, call := range calls {
		places <- struct{}{}
		go func() {
			errs[i] = call()
			<-places
			done <- struct{}{}
		}()
	}
	for range calls {
		<-done
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// errLate is the error of a call that was given up. It is not tried again: whoever waits has waited for long.
var errLate = errors.New("checkpoint: the remote does not answer")

// impatient is a remote whose Get fails when nothing has come for a time.
type impatient struct {
	Remote
	limit time.Duration
}

func (i impatient) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if i.limit < 0 {
		return i.Remote.Get(ctx, name, off, n)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	late := fmt.Errorf("%w: nothing of %s has come for %v", errLate, name, i.limit)
	timer := time.AfterFunc(i.limit, func() { cancel(late) })
	body, err := i.Remote.Get(ctx, name, off, n)
	if err != nil {
		timer.Stop()
		err = because(ctx, err)
		cancel(nil)
		return nil, err
	}
	timer.Reset(i.limit)
	return &impatientBody{body, ctx, timer, i.limit, func() { cancel(nil) }}, nil
}

// because replaces an error by why the call was given up, unless its caller has ended the context, for whatever cause.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errLate) {
		return cause // what the remote says is that the context has ended, which it has not for the caller
	}
	return err
}

type impatientBody struct {
	io.ReadCloser
	ctx    context.Context
	timer  *time.Timer
	limit  time.Duration
	cancel func()
}

func (b *impatientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.timer.Reset(b.limit)
	if err != nil && err != io.EOF {
		err = because(b.ctx, err)
	}
	return n, err
}

func (b *impatientBody) Close() error {
	b.timer.Stop()
	defer b.cancel()
	return b.ReadCloser.Close()
}
