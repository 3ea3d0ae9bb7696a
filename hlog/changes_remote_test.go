package hlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// openedRemotely opens a version on a remote by a reader of its own.
func openedRemotely(t testing.TB, r checkpoint.Remote, v checkpoint.Version) *View {
	t.Helper()
	w, err := OpenRemote(context.Background(), r, v, nil)
	must(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

// sameChanges compares what has changed from one view to another, nil for the empty state, with their states.
func sameChanges(t testing.TB, from, to *View, old, now map[string]string) {
	t.Helper()
	want := map[string]string{}
	for k, v := range now {
		if was, had := old[k]; !had || was != v {
			want[k] = "is " + v
		}
	}
	for k := range old {
		if _, has := now[k]; !has {
			want[k] = "deleted"
		}
	}
	got := map[string]string{}
	must(t, to.Changes(context.Background(), from, func(c Change) bool {
		if _, twice := got[string(c.Key)]; twice {
			t.Errorf("key %q is reported twice", c.Key)
		}
		if got[string(c.Key)] = "is " + string(c.Value); c.Deleted {
			got[string(c.Key)] = "deleted"
		}
		return true
	}))
	if !maps.Equal(got, want) {
		t.Errorf("to version %d: %d changes, want %d", to.Info().Version, len(got), len(want))
	}
}

// versionsOnRemote makes a store with a remote and some versions there, on branches, with demotions and merges, or compactions,
// between them.
func versionsOnRemote(t testing.TB, cold bool, n int) *remoteState {
	t.Helper()
	o := tiny()
	if o.indexPace = (shares.Pace{Uncovered: shareTestCut, ShareLength: 8 << 10}); !cold {
		o.ColdAfter = -1
	}
	inner, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	r := &remoteState{remote: remotetest.NewFaulty(inner), versions: map[checkpoint.Version]map[string]string{}}
	o.Remote, o.KeepVersions = r.remote, 2*n
	r.store = demoted(t, "store", o)
	rng := rand.New(rand.NewPCG(9, 9))
	state := map[string]string{}
	for v := range n {
		for i := range 300 {
			key := fmt.Sprintf("key %d", rng.IntN(1500))
			if i%5 == 0 {
				must(t, r.store.Delete([]byte(key)))
				delete(state, key)
				continue
			}
			state[key] = fmt.Sprintf("%d %0*d", v, rng.IntN(300), 0)
			must(t, r.store.Set([]byte(key), []byte(state[key])))
		}
		if v%2 == 1 {
			commit(t, r.store)
			r.versions[r.store.current().Version] = maps.Clone(state)
			if cold {
				demoteAll(t, r.store)
				r.store.mergeCold()
			} else {
				must(t, r.store.Compact(context.Background()))
			}
		}
		r.newest = commit(t, r.store)
		r.versions[r.newest] = maps.Clone(state)
		if v%3 == 2 { // back to an older one
			to := r.newest - 2
			_, err := r.store.Restore(context.Background(), to)
			must(t, err)
			state = maps.Clone(r.versions[to])
		}
	}
	return r
}

// What has changed between any two versions of a remote is told by views that were opened there, be it by one reader or by two,
// across rollbacks, compactions, demotions and merges.
func TestView_ChangesOnARemote(t *testing.T) {
	for _, cold := range []bool{false, true} {
		t.Run(fmt.Sprintf("cold=%v", cold), func(t *testing.T) {
			n := testkit.Scaled(6, 7, 9, 12)
			if testkit.Race || invariant.Enabled {
				n = 6
			}
			r := versionsOnRemote(t, cold, n)
			if cold == (r.store.cold.merged.Load() == 0) {
				t.Fatalf("%d bytes of cold files were merged", r.store.cold.merged.Load())
			}
			f := openFollower(t, r.remote, nil)
			at := f.Version()
			byFollower, err := f.View(context.Background())
			must(t, err)
			defer byFollower.Close()
			views := map[checkpoint.Version]*View{}
			for v := range r.versions {
				views[v] = openedRemotely(t, r.remote, v)
			}
			for v, w := range views {
				sameChanges(t, nil, w, nil, r.versions[v])
				sameChanges(t, byFollower, w, r.versions[at], r.versions[v])
				sameChanges(t, w, byFollower, r.versions[v], r.versions[at])
				for u, x := range views {
					if testkit.Race && (u+v)%3 > 0 {
						continue
					}
					sameChanges(t, x, w, r.versions[u], r.versions[v])
				}
			}
			must(t, r.store.Set([]byte("key 1"), []byte("newer than the readers")))
			now := commit(t, r.store)
			_, err = f.Poll(context.Background())
			must(t, err)
			next, err := f.View(context.Background())
			must(t, err)
			defer next.Close()
			state := maps.Clone(r.versions[r.store.current().Parent])
			state["key 1"] = "newer than the readers"
			sameChanges(t, byFollower, next, r.versions[at], state)
			sameChanges(t, openedRemotely(t, r.remote, now), byFollower, state, r.versions[at])
		})
	}
}

// countedRemote counts the bytes that are got.
type countedRemote struct {
	checkpoint.Remote
	bytes atomic.Int64
}

func (c *countedRemote) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	body, err := c.Remote.Get(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	return &countedBody{body, c}, nil
}

type countedBody struct {
	io.ReadCloser
	of *countedRemote
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.of.bytes.Add(int64(n))
	return n, err
}

// Of two versions on a remote that differ in a few keys little is read, be the state in their logs or in cold files.
func TestView_ChangesOnARemoteReadWhatIsNotShared(t *testing.T) {
	for _, cold := range []bool{false, true} {
		inner, err := checkpoint.NewDirRemote(t.TempDir())
		must(t, err)
		r := &countedRemote{Remote: inner}
		o := tiny()
		o.KeepVersions, o.Remote = 10, r
		s := demoted(t, fmt.Sprintf("store %v", cold), o)
		const keys = 3000
		for i := range keys {
			must(t, s.Set(key8(i), make([]byte, 2000)))
		}
		commit(t, s)
		if cold {
			demoteAll(t, s)
			s.mergeCold() // else there is a file of all hashes for every round of the demotion
		}
		v := commit(t, s)
		for i := range 5 {
			must(t, s.Set(key8(i*7), []byte("new")))
		}
		w := commit(t, s)
		if cold {
			demoteAll(t, s)
			w = commit(t, s)
		}
		from, to := openedRemotely(t, r, v), openedRemotely(t, r, w)
		before := r.bytes.Load()
		n := 0
		must(t, to.Changes(context.Background(), from, func(c Change) bool { n++; return string(c.Value) == "new" }))
		if got := r.bytes.Load() - before; n != 5 || got > keys*2000/4 {
			t.Errorf("cold %v: %d changes for %d bytes, of a state of %d", cold, n, got, keys*2000)
		} else {
			t.Logf("cold %v: %d bytes were read for %d changes, of a state of %d", cold, got, n, keys*2000)
		}
	}
}

// What cannot be compared is refused before anything is told.
func TestView_ChangesOnARemoteErrors(t *testing.T) {
	ctx, none := context.Background(), func(Change) bool { t.Error("called"); return false }
	opts := tiny()
	r := onRemoteWith(t, opts, 3, 200)
	first, newest := openedRemotely(t, r.remote, 1), openedRemotely(t, r.remote, r.newest)
	other := openedRemotely(t, onRemoteOtherStore(t), 0)
	local, err := r.store.OpenVersion(ctx, 1)
	must(t, err)
	for what, pair := range map[string][2]*View{
		"another store": {other, newest}, "of another store": {newest, other}, "a view of the store": {local, newest}, "and back": {newest, local},
	} {
		if err := pair[1].Changes(ctx, pair[0], none); !errors.Is(err, ErrOtherStore) {
			t.Errorf("%s: %v", what, err)
		}
	}

	must(t, local.Close())

	// A copy of the remote has the versions of before in common with it, and those that another store adds to it have nothing to do
	// with those that this one adds: they have the same ids, and log at the same addresses.
	must(t, r.store.Close()) // nobody changes the remote while it is copied
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(r.dir)))
	copied, err := checkpoint.NewDirRemote(dir)
	must(t, err)
	o := tiny()
	o.Remote = copied
	second := mustOpen(t, "second", o)
	must(t, second.Set([]byte("key"), []byte("of the second")))
	there := commit(t, second)
	sameChanges(t, first, openedRemotely(t, copied, r.newest), r.versions[1], r.versions[r.newest])
	r.store = mustOpen(t, "store", opts)
	must(t, r.store.Set([]byte("key"), []byte("of the first")))
	here := commit(t, r.store) // and the first one is more than the store keeps
	if err := openedRemotely(t, copied, there).Changes(ctx, openedRemotely(t, r.remote, here), none); here != there || !errors.Is(err, ErrOtherStore) {
		t.Errorf("version %d of a copy that another store has gone on with, against %d: %v", there, here, err)
	}

	eventually(t, "the version to be purged from the remote", func() bool {
		w, err := OpenRemote(ctx, r.remote, 1, nil)
		if err == nil {
			w.Close()
		}
		return errors.Is(err, ErrVersionNotFound)
	})
	for _, pair := range [][2]*View{{first, newest}, {newest, first}, {nil, first}} {
		if err := pair[1].Changes(ctx, pair[0], none); !errors.Is(err, ErrVersionNotFound) {
			t.Errorf("of a version that was purged: %v", err)
		}
	}
	must(t, first.Close())
	if err := newest.Changes(ctx, first, none); !errors.Is(err, ErrClosed) {
		t.Errorf("against a view that is closed: %v", err)
	}
	calls := 0
	must(t, newest.Changes(ctx, nil, func(Change) bool { calls++; return calls < 3 }))
	if calls != 3 {
		t.Errorf("%d calls, the last of which had enough", calls)
	}
	func() {
		defer func() {
			if recover() != "enough" {
				t.Error("the panic of the function was lost")
			}
		}()
		newest.Changes(ctx, nil, func(Change) bool { panic("enough") })
	}()
}

// When the version is purged after some of its changes were told, what was told is right, and the error says that it is not all.
func TestView_ChangesOnARemotePurgedMeanwhile(t *testing.T) {
	r := onRemote(t, 2, 6_000) // more than is kept in memory
	first := r.newest - 1
	w, err := OpenRemote(context.Background(), r.remote, first, &Options{MemoryBytes: MinMemoryBytes})
	must(t, err)
	defer w.Close()
	told := 0
	err = w.Changes(context.Background(), nil, func(c Change) bool {
		if want := r.versions[first][string(c.Key)]; c.Deleted || string(c.Value) != want {
			t.Errorf("%q is %q, want %q", c.Key, c.Value, want)
		}
		if told++; told > 1 {
			return true
		}
		for range 3 { // and KeepVersions is 2
			for i := range 6_000 {
				must(t, r.store.Set(fmt.Appendf(nil, "key %06d", i), []byte("new")))
			}
			must(t, r.store.Compact(context.Background()))
			commit(t, r.store)
		}
		must(t, r.store.Close()) // what was purged is gone then
		return true
	})
	if said := fmt.Sprintf("after %d of them", told); told == 0 || !errors.Is(err, ErrVersionNotFound) || !strings.Contains(err.Error(), said) {
		t.Errorf("%d changes were told of %d, and then: %v", told, len(r.versions[first]), err)
	}
}

// onRemoteOtherStore returns a remote with another store.
func onRemoteOtherStore(t testing.TB) checkpoint.Remote {
	t.Helper()
	r, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	o := tiny()
	o.Remote = r
	s := mustOpen(t, "other", o)
	must(t, s.Set([]byte("key"), nil))
	commit(t, s)
	return r
}

// Whoever waits for a remote that does not answer leaves when the context ends.
func TestView_ChangesOnARemoteThatHangs(t *testing.T) {
	r := onRemote(t, 2, 10_000) // more than the view has memory
	synctest.Test(t, func(t *testing.T) {
		w, err := OpenRemote(context.Background(), r.remote, r.newest, &Options{OpenTimeout: time.Hour, MemoryBytes: MinMemoryBytes})
		must(t, err)
		r.remote.Inject(remotetest.Fault{Verb: remotetest.Get, Mode: remotetest.Block, Match: "extents", Sticky: true})
		defer r.remote.Clear()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := w.Changes(ctx, nil, func(Change) bool { return true }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that has ended while the remote hangs: %v", err)
		}
		must(t, w.Close())
	})
}

// Closing one of the views ends a call of Changes that waits for the remote to say whether they are related.
func TestView_ChangesOnARemoteThatHangsEndWithTheViews(t *testing.T) {
	r := versionsOnRemote(t, false, 2)
	for _, what := range []string{"the later view", "the earlier view", "the only view"} {
		remote := &silent{Remote: r.remote}
		open := func(v checkpoint.Version) *View {
			w, err := OpenRemote(context.Background(), remote, v, &Options{OpenTimeout: -1})
			must(t, err)
			t.Cleanup(func() { w.Close() })
			return w
		}
		from, to := open(r.newest-1), open(r.newest)
		closes := to
		switch what {
		case "the earlier view":
			closes = from
		case "the only view":
			from = nil
		}
		remote.now.Store(true)
		ended := make(chan error, 1)
		go func() { ended <- to.Changes(context.Background(), from, func(Change) bool { return true }) }()
		eventually(t, "the remote to be asked", func() bool { return remote.asked.Load() > 0 })
		within(t, "close of "+what, func() { must(t, closes.Close()) })
		within(t, "changes after "+what+" was closed", func() {
			if err := <-ended; !errors.Is(err, ErrClosed) {
				t.Errorf("changes after %s was closed: %v", what, err)
			}
		})
	}
}

// The same where the remote of the earlier view is the silent one, and the later view is closed.
func TestView_ChangesOnARemoteThatHangsForOneEndWithTheOther(t *testing.T) {
	r := versionsOnRemote(t, false, 2)
	remote := &silent{Remote: r.remote}
	from, err := OpenRemote(context.Background(), remote, r.newest-1, &Options{OpenTimeout: -1})
	must(t, err)
	to := openedRemotely(t, r.remote, r.newest)
	remote.now.Store(true)
	ended := make(chan error, 1)
	go func() { ended <- to.Changes(context.Background(), from, func(Change) bool { return true }) }()
	eventually(t, "the remote to be asked", func() bool { return remote.asked.Load() > 0 })
	within(t, "close of the later view", func() { must(t, to.Close()) })
	within(t, "changes after it was closed", func() {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("changes after the later view was closed: %v", err)
		}
	})
	must(t, from.Close())
}
