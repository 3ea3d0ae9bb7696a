package hlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// Follower is a read-only store in a process of its own that follows a remote: it reads the version at which machines would
// open, where it lies (see OpenRemote), and moves on to a later one, or back after a rollback, when Poll is called. Whatever
// version it is at it shows as a whole. Its methods are safe for concurrent use.
type Follower struct {
	reader  *checkpoint.RemoteReader
	opts    Options
	turn    chan struct{}   // holds a token while somebody polls
	life    context.Context // ends with Close
	end     context.CancelFunc
	pending sync.WaitGroup // calls under way, and closings of views that the follower has left: what Close waits for

	mu     lock.Mutex[lock.Leaf] // of what follows
	at     *followed
	used   map[*followed]bool // at, and those before it that calls are still under way on
	closed bool
}

// followed is a version that a follower is at, or was.
type followed struct {
	view  *View
	users int // of Follower.mu: calls under way, and the follower itself
}

// OpenFollower returns a follower of a remote, at the version at which machines would open now. Options and errors are those of
// OpenRemote. The caller closes it.
func OpenFollower(ctx context.Context, remote checkpoint.Remote, opts *Options) (*Follower, error) {
	r, o, err := newRemoteReader(ctx, remote, 0, opts)
	if err != nil {
		return nil, fmt.Errorf("hlog: follow the remote: %w", err)
	}
	f := &Follower{reader: r, opts: o, turn: make(chan struct{}, 1), used: map[*followed]bool{}}
	f.life, f.end = context.WithCancel(context.Background())
	if _, err := f.move(ctx); err != nil {
		f.end()
		r.Close()
		return nil, fmt.Errorf("hlog: follow the remote: %w", err)
	}
	return f, nil
}

// asLongAs returns a context that ends with ctx, and with the follower: Close does not wait for a remote that does not answer.
func (f *Follower) asLongAs(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(f.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// failed is the error of a call that has asked the remote: ErrClosed when Close has ended it.
func (f *Follower) failed(what string, err error) error {
	if f.isClosed() {
		return ErrClosed
	}
	return fmt.Errorf("hlog: %s: %w", what, err)
}

// Poll looks whether the remote is at another version by now, moves there if it is, and reports whether it has. That costs
// what has changed: pieces that both versions have in common are read once. Calls that are under way end at the version at
// which they began; those that begin later are at the new one at once. After an error the follower is at the version that
// it was at, and serves it.
//
// ErrRemote when the remote cannot be read, ErrOtherStore when it has another store by now, ErrCorrupt; ErrClosed; the error of ctx.
func (f *Follower) Poll(ctx context.Context) (moved bool, err error) {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-f.life.Done(): // Close has the turn, and waits for calls whose callbacks may be calling this
		return false, ErrClosed
	}
	defer func() { <-f.turn }()
	if f.isClosed() {
		return false, ErrClosed
	}
	ctx, stop := f.asLongAs(ctx)
	defer stop()
	if err = f.reader.CatchUp(ctx); err == nil {
		moved, err = f.move(ctx)
	}
	if err != nil {
		return false, f.failed("follow the remote", err)
	}
	return moved, nil
}

// move goes to the version that the reader knows of as the head. The caller has the turn.
func (f *Follower) move(ctx context.Context) (moved bool, err error) {
	for {
		head := f.reader.Head()
		if head != 0 && head == f.Version() {
			return false, nil
		}
		w, err := openRemoteView(ctx, f.reader, head, f.opts)
		if errors.Is(err, ErrVersionNotFound) && f.reader.Head() != head && ctx.Err() == nil {
			continue // it was purged meanwhile, and the reader has found that out
		}
		if err != nil {
			return false, err
		}
		f.mu.Lock()
		left := f.at
		f.at = &followed{view: w, users: 1}
		f.used[f.at] = true
		f.mu.Unlock()
		f.leave(left)
		return true, nil
	}
}

// leave ends one use of a version. The last one to leave a version that the follower has left has its view closed.
func (f *Follower) leave(at *followed) {
	if at == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.users--; at.users > 0 || f.closed { // Close closes them all
		return
	}
	delete(f.used, at)
	f.pending.Go(func() { at.view.Close() })
}

// enter begins a call.
func (f *Follower) enter() (*followed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	f.at.users++
	f.pending.Add(1)
	return f.at, nil
}

func (f *Follower) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Version returns the version that the follower is at.
func (f *Follower) Version() checkpoint.Version {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == nil {
		return 0
	}
	return f.at.view.m.Version
}

// Get is View.Get at the version that the follower is at. When that was purged from the remote, it moves on.
func (f *Follower) Get(dst, key []byte) ([]byte, error) {
	n := len(dst)
	err := f.do(context.Background(), func(w *View) (err error) {
		dst, err = w.Get(dst[:n], key)
		return err
	})
	return dst, err
}

// Scan is View.Scan at the version that the follower is at. When that was purged from the remote before fn was called, it
// moves on; later that is ErrVersionNotFound: scan again.
func (f *Follower) Scan(ctx context.Context, fn func(key, value []byte) bool) error {
	called := false
	return f.do(ctx, func(w *View) error {
		err := w.Scan(ctx, func(key, value []byte) bool {
			called = true
			return fn(key, value)
		})
		if called && errors.Is(err, ErrVersionNotFound) {
			return scanBroken{err}
		}
		return err
	})
}

// scanBroken is the error of a scan that cannot be done again.
type scanBroken struct{ error }

func (e scanBroken) Unwrap() error { return e.error }

// do calls read at the version that the follower is at, and again at the next one if that has gone.
func (f *Follower) do(ctx context.Context, read func(*View) error) error {
	for {
		at, err := f.enter()
		if err != nil {
			return err
		}
		err = read(at.view)
		v := at.view.m.Version
		f.leave(at)
		f.pending.Done()
		if !errors.Is(err, ErrVersionNotFound) || errors.As(err, new(scanBroken)) {
			return err
		}
		if _, pollErr := f.Poll(ctx); pollErr != nil || f.Version() == v {
			return errors.Join(err, pollErr)
		}
	}
}

// View returns the version that the follower is at, pinned: the view stays there when the follower moves on. That keeps
// nothing on the remote: when the version is purged there, the view's reads are ErrVersionNotFound. When it was purged before
// View was called, the follower moves on. The caller closes the view, before the follower.
func (f *Follower) View(ctx context.Context) (w *View, err error) {
	ctx, stop := f.asLongAs(ctx)
	defer stop()
	err = f.do(ctx, func(at *View) (err error) {
		w, err = openRemoteView(ctx, f.reader, at.m.Version, f.opts)
		return err
	})
	if err != nil {
		return nil, f.failed("view of a follower", err)
	}
	return w, nil
}

// Close ends the calls that are under way, whatever the remote does, waits for them, and releases everything. A second Close
// returns ErrClosed.
func (f *Follower) Close() error {
	f.mu.Lock()
	closed := f.closed
	f.closed = true
	f.mu.Unlock()
	f.end()
	if closed {
		return ErrClosed
	}
	f.turn <- struct{}{} // a poll that is under way may put another version there
	defer func() { <-f.turn }()
	f.mu.Lock()
	used := slices.Collect(maps.Keys(f.used))
	f.mu.Unlock()
	var err error
	for _, at := range used {
		err = errors.Join(err, at.view.Close())
	}
	f.pending.Wait()
	f.reader.Close()
	return err
}
