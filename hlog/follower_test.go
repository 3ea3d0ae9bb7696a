package hlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
)

// metered is a remote that counts the bytes that it sends.
type metered struct {
	checkpoint.Remote
	sent atomic.Int64
}

func (m *metered) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	body, err := m.Remote.Get(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	return meteredBody{body, &m.sent}, nil
}

type meteredBody struct {
	io.ReadCloser
	sent *atomic.Int64
}

func (b meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sent.Add(int64(n))
	return n, err
}

// followedState returns what a scan of a follower finds.
func followedState(t testing.TB, f *Follower) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, f.Scan(context.Background(), func(key, value []byte) bool {
		all[string(key)] = string(value)
		return true
	}))
	return all
}

func openFollower(t testing.TB, r checkpoint.Remote, o *Options) *Follower {
	t.Helper()
	f, err := OpenFollower(context.Background(), r, o)
	must(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil && err != ErrClosed {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

func poll(t testing.TB, f *Follower, want bool) {
	t.Helper()
	moved, err := f.Poll(context.Background())
	must(t, err)
	if moved != want {
		t.Fatalf("moved: %v, want %v", moved, want)
	}
}

// A follower stays where it is until it is asked to look, then it is where the remote is: ahead, and back after a rollback.
// Moving on brings what has changed, not the state.
func TestFollower_MovesWithTheRemote(t *testing.T) {
	r := onRemote(t, 3, 6_000)
	m := &metered{Remote: r.remote}
	f := openFollower(t, m, nil)
	if got := followedState(t, f); f.Version() != r.newest || !maps.Equal(got, r.versions[r.newest]) {
		t.Fatalf("version %d with %d keys, want %d with %d", f.Version(), len(got), r.newest, len(r.versions[r.newest]))
	}
	whole := m.sent.Load()
	poll(t, f, false)
	state := maps.Clone(r.versions[r.newest])
	for i := range 3 {
		key := fmt.Sprintf("key %06d", i)
		state[key] = "new"
		must(t, r.store.Set([]byte(key), []byte("new")))
	}
	r.versions[commit(t, r.store)] = state
	if f.Version() != r.newest {
		t.Error("it has moved by itself")
	}
	before := m.sent.Load()
	poll(t, f, true)
	if got := followedState(t, f); f.Version() != r.newest+1 || !maps.Equal(got, state) {
		t.Errorf("version %d with %d keys, want %d with %d", f.Version(), len(got), r.newest+1, len(state))
	}
	if moving := m.sent.Load() - before; moving > whole/4 {
		t.Errorf("moving on has brought %d bytes, the whole state %d", moving, whole)
	}
	back := r.newest - 1
	_, err := r.store.Restore(context.Background(), back)
	must(t, err)
	poll(t, f, true)
	if got := followedState(t, f); f.Version() != back || !maps.Equal(got, r.versions[back]) {
		t.Errorf("after a rollback: version %d with %d keys, want %d with %d", f.Version(), len(got), back, len(r.versions[back]))
	}
	must(t, f.Close())
	if _, err := f.Get(nil, []byte("key 000001")); err != ErrClosed {
		t.Errorf("a get of a closed follower: %v", err)
	}
	if _, err := f.Poll(context.Background()); err != ErrClosed {
		t.Errorf("a poll of a closed follower: %v", err)
	}
}

// When its version is purged, a follower moves on by itself; a view that was pinned cannot.
func TestFollower_VersionIsPurged(t *testing.T) {
	r := onRemote(t, 2, 6_000)
	f := openFollower(t, r.remote, &Options{MemoryBytes: MinMemoryBytes})
	pinned, err := f.View(context.Background())
	must(t, err)
	defer pinned.Close()
	first := f.Version()
	for range 3 { // and KeepVersions is 2
		for i := range 6_000 {
			must(t, r.store.Set(fmt.Appendf(nil, "key %06d", i), []byte("new")))
		}
		must(t, r.store.Compact(context.Background()))
		r.newest = commit(t, r.store)
	}
	must(t, r.store.Close()) // what was purged is gone then
	for i := range 6_000 {
		key := fmt.Appendf(nil, "key %06d", i)
		v := f.Version()
		got, err := f.Get(nil, key)
		if want := r.versions[first][string(key)]; err != nil && err != ErrNotFound || string(got) != want && string(got) != "new" {
			t.Fatalf("%s at version %d: %q, %v, want %q", key, v, got, err, want)
		}
	}
	if f.Version() == first {
		t.Error("it has not moved on")
	}
	err = pinned.Scan(context.Background(), func(key, value []byte) bool { return true })
	if !errors.Is(err, ErrVersionNotFound) || pinned.Info().Version != first {
		t.Errorf("a scan of version %d, pinned at %d: %v", pinned.Info().Version, first, err)
	}
}

// While the remote cannot be read, a follower stays where it is and serves what it has.
func TestFollower_RemoteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the pauses between attempts take no time
		r := onRemote(t, 2, 100)
		f := openFollower(t, r.remote, nil)
		want := followedState(t, f)
		must(t, r.store.Set([]byte("more"), []byte("1")))
		commit(t, r.store)
		must(t, r.store.Close())
		r.remote.Inject(remotetest.Fault{Verb: remotetest.Get, Mode: remotetest.Before, Sticky: true})
		if _, err := f.Poll(context.Background()); !errors.Is(err, ErrRemote) {
			t.Errorf("a poll: %v", err)
		}
		if got := followedState(t, f); f.Version() != r.newest || !maps.Equal(got, want) {
			t.Errorf("version %d with %d keys, want %d with %d", f.Version(), len(got), r.newest, len(want))
		}
		r.remote.Clear()
		poll(t, f, true)
		if _, err := f.Get(nil, []byte("more")); err != nil {
			t.Error(err)
		}
	})
}

// Reads that run while the follower moves see one version each, whole.
func TestFollower_ReadsWhileItMoves(t *testing.T) {
	r := onRemote(t, 2, 10)
	const keys = 50
	write := func(n int) {
		for i := range keys {
			must(t, r.store.Set(key8(i), fmt.Append(nil, n)))
		}
		commit(t, r.store)
	}
	write(0)
	f := openFollower(t, r.remote, nil)
	poll(t, f, false)
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				seen := map[string]int{}
				err := f.Scan(context.Background(), func(key, value []byte) bool {
					if len(key) == 8 {
						seen[string(value)]++
					}
					return true
				})
				if err != nil && !errors.Is(err, ErrVersionNotFound) || err == nil && (len(seen) != 1 || seen[firstKey(seen)] != keys) {
					t.Errorf("a scan: %v, %v", seen, err)
					return
				}
				if _, err := f.Get(nil, key8(1)); err != nil {
					t.Errorf("a get: %v", err)
					return
				}
			}
		})
	}
	for n := range 10 {
		write(n + 1)
		poll(t, f, true)
	}
	stop.Store(true)
	readers.Wait()
	if got, err := f.Get(nil, key8(1)); err != nil || string(got) != "10" {
		t.Errorf("%q, %v", got, err)
	}
}

// Close ends a scan of a version that the follower has left, and waits for it.
func TestFollower_CloseDuringAScan(t *testing.T) {
	r := onRemote(t, 2, 1_000)
	f := openFollower(t, r.remote, nil)
	began, ended := make(chan struct{}), make(chan error, 1)
	release := make(chan struct{})
	go func() {
		var once sync.Once
		ended <- f.Scan(context.Background(), func(key, value []byte) bool {
			once.Do(func() { close(began) })
			<-release
			return true
		})
	}()
	<-began
	must(t, r.store.Set([]byte("more"), []byte("1")))
	commit(t, r.store)
	poll(t, f, true)
	go func() {
		eventually(t, "the follower to close", f.isClosed)
		close(release)
	}()
	must(t, f.Close())
	if err := <-ended; err != nil && err != ErrClosed {
		t.Errorf("the scan: %v", err)
	}
}

// silent is a remote that does not answer from the moment it is told to be.
type silent struct {
	checkpoint.Remote
	asked atomic.Int64 // calls that it does not answer
	now   atomic.Bool
}

func (r *silent) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if r.now.Load() {
		r.asked.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return r.Remote.Get(ctx, name, off, n)
}

// Close ends a poll that waits for the remote, and a view that is being opened.
func TestFollower_CloseWhileTheRemoteIsSilent(t *testing.T) {
	r := onRemote(t, 2, 1_000)
	for _, call := range []struct {
		what string
		do   func(f *Follower) error
	}{
		{"a poll", func(f *Follower) error { _, err := f.Poll(context.Background()); return err }},
		{"a view", func(f *Follower) error {
			for { // what has been read already is not asked for again
				w, err := f.View(context.Background())
				if err != nil {
					return err
				}
				must(t, w.Close())
				if _, err := f.Poll(context.Background()); err != nil {
					return err
				}
			}
		}},
	} {
		remote := &silent{Remote: r.remote}
		f := openFollower(t, remote, &Options{OpenTimeout: -1})
		remote.now.Store(true)
		ended := make(chan error, 1)
		go func() { ended <- call.do(f) }()
		eventually(t, call.what+" to ask the remote", func() bool { return remote.asked.Load() > 0 })
		within(t, "close beside "+call.what, func() { must(t, f.Close()) })
		if err := <-ended; err != ErrClosed {
			t.Errorf("%s: %v, want ErrClosed", call.what, err)
		}
	}
}

// A view is opened at a version that is there: a follower at one that was purged moves on first, as it does for a get.
func TestFollower_ViewOfAPurgedVersion(t *testing.T) {
	r := onRemote(t, 2, 6_000)
	f := openFollower(t, r.remote, &Options{MemoryBytes: MinMemoryBytes})
	first := f.Version()
	for range 3 { // and KeepVersions is 2
		for i := range 6_000 {
			must(t, r.store.Set(fmt.Appendf(nil, "key %06d", i), []byte("new")))
		}
		must(t, r.store.Compact(context.Background()))
		r.newest = commit(t, r.store)
	}
	must(t, r.store.Close()) // what was purged is gone then
	w, err := f.View(context.Background())
	must(t, err)
	defer w.Close()
	if v := w.Info().Version; v == first || v != f.Version() {
		t.Errorf("a view of version %d; the follower was at %d, and is at %d", v, first, f.Version())
	}
	if got := contents(t, w)["key 000001"]; got != "new" {
		t.Errorf("it has %q", got)
	}
}

// A scan whose callback polls, as a get does when its version has gone, ends with the follower.
func TestFollower_CloseWhileACallbackPolls(t *testing.T) {
	r := onRemote(t, 2, 1_000)
	f := openFollower(t, r.remote, nil)
	scanning, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var polled error
		err := f.Scan(context.Background(), func(_, _ []byte) bool {
			select {
			case <-scanning:
			default:
				close(scanning)
				eventually(t, "the follower to be closed", f.isClosed)
				eventually(t, "Close to wait", func() bool { return len(f.turn) > 0 })
			}
			_, polled = f.Poll(context.Background())
			return polled == nil
		})
		ended <- errors.Join(err, polled)
	}()
	<-scanning
	within(t, "close", func() { must(t, f.Close()) })
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("scan and poll: %v", err)
	}
}

func firstKey(m map[string]int) string {
	for k := range m {
		return k
	}
	return ""
}
