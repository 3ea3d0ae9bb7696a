package checkpoint_test

import (
	"context"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// forest uploads a small tree of versions that share log and images.
func forest(t testing.TB) (m *machine, remote *remotetest.Faulty) {
	m, remote = story(t)
	m.commit(4, delta{log: 4096})
	m.ok(m.d.SetHead(2))
	m.commit(5, delta{log: 16384})
	m.commit(6, delta{log: 4096, image: 5000, trim: 8192})
	m.upload(remote, 3, 4, 5, 6)
	return m, remote
}

// fetchable requires that an empty machine gets each of the versions, whole, and no other.
func fetchable(t testing.TB, m *machine, remote checkpoint.Remote, versions ...checkpoint.Version) {
	t.Helper()
	for v := checkpoint.Version(1); v <= m.d.MaxID(); v++ {
		empty := newMachine(t, 2)
		_, err := empty.mirror(remote).Fetch(t.Context(), v, checkpoint.FetchOptions{})
		if !slices.Contains(versions, v) {
			wantErr(t, err, checkpoint.ErrNotFound)
			continue
		}
		m.ok(err)
		if empty.content(v) != m.content(v) {
			t.Fatalf("version %d differs", v)
		}
	}
}

func TestRetain_DeletesWhatNothingNeeds(t *testing.T) {
	for keep, want := range map[int][]checkpoint.Version{
		0: {6}, 1: {6}, 2: {5, 6}, 3: {4, 5, 6}, 5: {2, 3, 4, 5, 6}, 6: {1, 2, 3, 4, 5, 6}, 9: {1, 2, 3, 4, 5, 6},
	} {
		m, remote := forest(t)
		mirror := m.mirror(remote)
		gone, err := mirror.Retain(t.Context(), keep)
		m.ok(err)
		if len(gone) != 6-len(want) || !reflect.DeepEqual(mirror.Known(), want) {
			t.Errorf("keep %d: gone %v, known %v", keep, gone, mirror.Known())
		}
		fetchable(t, m, remote, want...)
		if n, err := m.mirror(remote).Sweep(t.Context()); n != 0 || err != nil {
			t.Errorf("keep %d: %d objects were left, %v", keep, n, err)
		}
		if got := mirror.Missing(); len(got) != 6-len(want) {
			t.Errorf("keep %d: missing %v", keep, got)
		}
	}
}

func TestRetain_PinnedStays(t *testing.T) {
	m, remote := forest(t)
	_, err := m.d.Pin(1)
	m.ok(err)
	mirror := m.mirror(remote)
	gone, err := mirror.Retain(t.Context(), 2)
	m.ok(err)
	if want := []checkpoint.Version{2, 3, 4}; !reflect.DeepEqual(gone, want) {
		t.Errorf("gone %v, want %v", gone, want)
	}
	wantErr(t, mirror.Purge(t.Context(), 1), checkpoint.ErrInUse)
	m.d.Unpin(1)
	m.ok(mirror.Purge(t.Context(), 1))
	wantErr(t, mirror.Purge(t.Context(), 1), checkpoint.ErrNotFound)
	fetchable(t, m, remote, 5, 6)
}

// TestRetain_InterruptedAtEveryCall: what is still a version is whole, and Sweep finds the rest.
func TestRetain_InterruptedAtEveryCall(t *testing.T) {
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After} {
		for k := 1; ; k += testkit.UnderRace(5, 1) {
			m, remote := forest(t)
			mirror := m.mirror(remote)
			remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: mode, Nth: k, Sticky: true})
			_, err := mirror.Retain(t.Context(), 2)
			fired := remote.Clear()
			if (err != nil) != (fired > 0) {
				t.Fatalf("call %d: %v, fired %d", k, err, fired)
			}
			left := m.mirror(remote)
			_, err = left.Pull(t.Context())
			m.ok(err)
			there := left.Known()
			fetchable(t, m, remote, there...)
			if k%2 == 0 {
				mirror = m.mirror(remote)
			}
			_, err = mirror.Retain(t.Context(), 2)
			m.ok(err)
			_, err = mirror.Sweep(t.Context())
			m.ok(err)
			fetchable(t, m, remote, 5, 6)
			if n := besideEntries(t, remote); n != leastObjects(t) {
				t.Fatalf("call %d: %d objects are left, want %d", k, n, leastObjects(t))
			}
			if fired == 0 {
				break
			}
		}
	}
}

// leastObjects returns how many objects an uninterrupted Retain of two versions leaves.
func leastObjects(t *testing.T) int {
	m, remote := forest(t)
	_, err := m.mirror(remote).Retain(t.Context(), 2)
	m.ok(err)
	return besideEntries(t, remote)
}

// besideEntries returns how many objects there are that are not entries of the sequence.
func besideEntries(t *testing.T, remote checkpoint.Remote) int {
	return len(slices.DeleteFunc(objects(t, remote), func(name string) bool { return strings.Contains(name, "/entries/") }))
}

// TestRetain_DamageKeepsEverything: beside a version that cannot be read nothing is deleted, until it is purged.
func TestRetain_DamageKeepsEverything(t *testing.T) {
	m, remote := forest(t)
	name := ""
	for _, name = range objects(t, remote) {
		if strings.HasSuffix(name, "4.manifest") {
			break
		}
	}
	m.ok(remote.Put(t.Context(), name, []byte("rubbish")))
	before := objects(t, remote)
	mirror := m.mirror(remote)
	_, err := mirror.Retain(t.Context(), 1)
	wantErr(t, err, checkpoint.ErrCorrupt)
	_, err = mirror.Sweep(t.Context())
	wantErr(t, err, checkpoint.ErrCorrupt)
	if after := objects(t, remote); !reflect.DeepEqual(after, before) {
		t.Errorf("objects %v, before %v", after, before)
	}
	m.ok(mirror.Purge(t.Context(), 4))
	_, err = mirror.Retain(t.Context(), 2)
	m.ok(err)
	if n, err := mirror.Sweep(t.Context()); n == 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	fetchable(t, m, remote, 5, 6)
}

// TestDestroy removes the store and nothing else, also in several attempts.
func TestDestroy(t *testing.T) {
	foreign := []string{"readme", "00/versions/0000000000000001.manifest", "abcd/extents/x", "STOREroom"}
	for k := 1; ; k++ {
		m, remote := forest(t)
		for _, name := range foreign {
			m.ok(remote.Put(t.Context(), name, []byte("mine")))
		}
		remote.Inject(remotetest.Fault{Verb: remotetest.Delete, Nth: k, Mode: remotetest.Block, Sticky: true})
		done := k > 60
		if !done {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for remote.Calls(remotetest.Delete) < k && ctx.Err() == nil {
					runtime.Gosched()
				}
				cancel()
			}()
			err := checkpoint.Destroy(ctx, identity, remote)
			cancel()
			done = remote.Clear() == 0
			if (err == nil) != done {
				t.Fatalf("call %d: %v", k, err)
			}
		}
		for range 2 {
			m.ok(checkpoint.Destroy(t.Context(), identity, remote))
		}
		if got := objects(t, remote); len(got) != len(foreign) {
			t.Fatalf("call %d: left are %v", k, got)
		}
		other := identity
		other.StoreID[0]++
		d, err := checkpoint.OpenDir(fsx.NewCrash(fsx.CrashOptions{}), "store", other, false)
		m.ok(err)
		m.ok(d.Commit(&checkpoint.Manifest{Version: 1}))
		mirror, err := checkpoint.NewMirror(d, remote, fast)
		m.ok(err)
		_, err = mirror.Upload(t.Context(), 1) // free for another store
		m.ok(err)
		if done {
			break
		}
	}
}
