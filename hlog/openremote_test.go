package hlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// remoteState is what a store on a remote had at its versions.
type remoteState struct {
	remote   *remotetest.Faulty
	dir      string // of the remote
	store    *Store
	versions map[checkpoint.Version]map[string]string
	newest   checkpoint.Version
}

// onRemote makes a store with some versions on a remote, in which keys come, change and go.
func onRemote(t testing.TB, versions, keys int) *remoteState {
	t.Helper()
	return onRemoteWith(t, tiny(), versions, keys)
}

func onRemoteWith(t testing.TB, o *Options, versions, keys int) *remoteState {
	t.Helper()
	dir := t.TempDir()
	inner, err := checkpoint.NewDirRemote(dir)
	must(t, err)
	r := &remoteState{remote: remotetest.NewFaulty(inner), dir: dir, versions: map[checkpoint.Version]map[string]string{}}
	o.Remote, o.KeepVersions = r.remote, max(versions, 2)
	r.store = mustOpen(t, "store", o)
	state := map[string]string{}
	for v := range versions {
		for i := v % 2; i < keys; i += 1 + 3*v {
			key := fmt.Sprintf("key %06d", i)
			if (i+v)%7 == 6 {
				must(t, r.store.Delete([]byte(key)))
				delete(state, key)
				continue
			}
			state[key] = fmt.Sprintf("%d of %d %s", v, i, strings.Repeat("x", i%900))
			must(t, r.store.Set([]byte(key), []byte(state[key])))
		}
		r.newest = commit(t, r.store)
		r.versions[r.newest] = maps.Clone(state)
	}
	must(t, r.store.copies.mirror.PutHint(context.Background())) // the copier is in no hurry
	return r
}

// The first read of a version takes few round trips that wait for each other, and few requests, whatever its size, with a hint
// of where the sequence ends or without.
func TestOpenRemote_FirstRead(t *testing.T) {
	for i, keys := range []int{100, 100, testkit.UnderRace(3_000, 10_000), testkit.UnderRace(3_000, 10_000)} {
		r := onRemote(t, 4, keys)
		hint := i%2 == 0
		if !hint {
			must(t, r.remote.Delete(t.Context(), "HINT"))
		}
		t.Run(fmt.Sprintf("keys=%d/hint=%v", keys, hint), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := remotetest.NewDistant(r.remote)
				began := time.Now()
				v, err := OpenRemote(context.Background(), d, 0, nil)
				must(t, err)
				opened := time.Since(began) / remotetest.Trip
				value, err := v.Get(nil, []byte("key 000004"))
				must(t, err)
				trips, calls := time.Since(began)/remotetest.Trip, d.Calls()
				t.Logf("%d keys: %d round trips to open, %d to the first read, %d requests", keys, opened, trips, calls)
				if trips > 8 || calls > 64 {
					t.Errorf("%d keys: %d round trips, %d requests", keys, trips, calls)
				}
				if want := r.versions[r.newest]["key 000004"]; string(value) != want {
					t.Errorf("%q, want %q", value, want)
				}
				must(t, v.Close())
			})
		})
	}
}

// contents returns what a scan of a view finds.
func contents(t testing.TB, v *View) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, v.Scan(context.Background(), func(key, value []byte) bool {
		if _, twice := all[string(key)]; twice {
			t.Errorf("%q is visited twice", key)
		}
		all[string(key)] = string(value)
		return true
	}))
	return all
}

// Every version that a remote keeps is read where it lies, with little memory, too, while the store that writes goes on.
func TestOpenRemote_EveryVersion(t *testing.T) {
	keys := testkit.UnderRace(1_000, 6_000)
	r := onRemote(t, 4, keys)
	for v, want := range r.versions {
		for _, memory := range []int64{MinMemoryBytes, 64 << 20} {
			w, err := OpenRemote(context.Background(), r.remote, v, &Options{MemoryBytes: memory})
			must(t, err)
			if got := w.Info(); got.Version != v || got.Place != checkpoint.OnRemote {
				t.Errorf("version %d is described as %+v", v, got)
			}
			if got := contents(t, w); !maps.Equal(got, want) {
				t.Errorf("version %d with %d bytes of memory: %d keys, want %d", v, memory, len(got), len(want))
			}
			for i := 0; i < keys; i += 97 {
				key := fmt.Sprintf("key %06d", i)
				got, err := w.Get(nil, []byte(key))
				value, there := want[key]
				if there && (err != nil || string(got) != value) || !there && err != ErrNotFound {
					t.Fatalf("%s at version %d: %q, %v, want %q, %v", key, v, got, err, value, there)
				}
			}
			must(t, w.Close())
			if _, err := w.Get(nil, []byte("key 000001")); err != ErrClosed {
				t.Errorf("a get of a closed view: %v", err)
			}
		}
	}
	for v, want := range map[checkpoint.Version]error{r.newest + 1: ErrVersionNotFound, 0: nil} {
		w, err := OpenRemote(context.Background(), r.remote, v, nil)
		if !errors.Is(err, want) {
			t.Errorf("version %d: %v, want %v", v, err, want)
		}
		if err == nil {
			must(t, w.Close())
		}
	}
	empty, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	if _, err := OpenRemote(context.Background(), empty, 0, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a remote that is empty: %v", err)
	}
}

// A version moves from a remote into a directory as a stream.
func TestOpenRemote_WriteTo(t *testing.T) {
	r := onRemote(t, 3, 1_000)
	w, err := OpenRemote(context.Background(), r.remote, 0, nil)
	must(t, err)
	defer w.Close()
	var stream bytes.Buffer
	n, err := w.WriteTo(&stream)
	must(t, err)
	if n != w.Size() || n != int64(stream.Len()) {
		t.Errorf("%d bytes were written, %d are there, %d were said to be", n, stream.Len(), w.Size())
	}
	o := tiny()
	_, err = importInto(context.Background(), o.FS, "copy", &stream)
	must(t, err)
	v, err := mustOpen(t, "copy", o).OpenVersion(context.Background(), 0)
	must(t, err)
	if got := contents(t, v); !maps.Equal(got, r.versions[r.newest]) {
		t.Errorf("the copy has %d keys, the remote %d", len(got), len(r.versions[r.newest]))
	}
}

// A remote that fails, whenever it does, is an error of the read and never a wrong value; the next read works.
func TestOpenRemote_RemoteFails(t *testing.T) {
	r := onRemote(t, 3, 300)
	synctest.Test(t, func(t *testing.T) { remoteFails(t, r) }) // pauses and time-outs take no time
}

func remoteFails(t *testing.T, r *remoteState) {
	want := r.versions[r.newest]
	read := func() error {
		w, err := OpenRemote(context.Background(), r.remote, 0, &Options{OpenTimeout: 20 * time.Millisecond})
		if err != nil {
			return err
		}
		defer w.Close()
		for _, key := range []string{"key 000003", "key 000004", "key 000006"} {
			got, err := w.Get(nil, []byte(key))
			value, there := want[key]
			if err == nil && string(got) != value || err == ErrNotFound && there {
				t.Errorf("%s: %q, %v, want %q", key, got, err, value)
			}
			if err != nil && err != ErrNotFound {
				return err
			}
		}
		return nil
	}
	before := r.remote.Calls(remotetest.Get)
	must(t, read())
	calls := r.remote.Calls(remotetest.Get) - before
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After, remotetest.Partial, remotetest.Truncate, remotetest.Block} {
		for nth := 1; nth <= calls; nth++ {
			r.remote.Inject(remotetest.Fault{Verb: remotetest.Get, Mode: mode, Nth: nth})
			if err := read(); err != nil && !(errors.Is(err, ErrRemote) && mode == remotetest.Block) {
				t.Errorf("mode %d, call %d: %v", mode, nth, err) // what passes is tried again
			}
			r.remote.Clear()
		}
	}
	for nth := 1; nth <= calls; nth += testkit.UnderRace(4, 2) {
		mode := []remotetest.Mode{remotetest.Before, remotetest.Truncate, remotetest.Block}[nth%3]
		r.remote.Inject(remotetest.Fault{Verb: remotetest.Get, Mode: mode, Nth: nth, Sticky: true})
		if err := read(); err != nil && !errors.Is(err, ErrRemote) && !errors.Is(err, ErrCorrupt) {
			t.Errorf("mode %d, from call %d on: %v", mode, nth, err)
		} else if err == nil && r.remote.Clear() > 0 && mode != remotetest.Truncate {
			t.Errorf("mode %d, from call %d on: no error", mode, nth)
		}
		r.remote.Clear()
	}
	must(t, read())
}

// A context that its owner has ended for a cause of his own is the error that a context without one is.
func TestOpenRemote_ContextEndedForACause(t *testing.T) {
	r := onRemote(t, 1, 10)
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("for a cause"))
	if _, err := OpenRemote(ctx, r.remote, 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the error of the context", err)
	}
}

// When the version is purged, what is not in memory cannot be read any more, and that is said.
func TestOpenRemote_PurgedUnderIt(t *testing.T) {
	r := onRemote(t, 2, 6_000) // more than is kept in memory
	first := r.newest - 1
	w, err := OpenRemote(context.Background(), r.remote, first, &Options{MemoryBytes: MinMemoryBytes})
	must(t, err)
	defer w.Close()
	for range 3 { // and KeepVersions is 2
		for i := range 6_000 {
			must(t, r.store.Set(fmt.Appendf(nil, "key %06d", i), []byte("new")))
		}
		must(t, r.store.Compact(context.Background()))
		r.newest = commit(t, r.store)
	}
	must(t, r.store.Close()) // what was purged is gone then
	if _, err := OpenRemote(context.Background(), r.remote, first, nil); !errors.Is(err, ErrVersionNotFound) {
		t.Errorf("the version is opened: %v", err)
	}
	err = w.Scan(context.Background(), func(key, value []byte) bool {
		if want := r.versions[first][string(key)]; string(value) != want {
			t.Errorf("%q is %q, want %q", key, value, want)
		}
		return true
	})
	if !errors.Is(err, ErrVersionNotFound) {
		t.Errorf("a scan: %v", err)
	}
}

// Damage of any object is ErrCorrupt, or is nothing that was needed, and never a wrong value.
func TestOpenRemote_Damage(t *testing.T) {
	o := tiny()
	o.indexPace = shares.Pace{Uncovered: shareTestCut} // opening replays little log, so that reads get parts of pieces
	r := onRemoteWith(t, o, 2, 600)
	must(t, r.store.Close())
	want := r.versions[r.newest]
	found := 0
	damage := func(t *testing.T, name string) {
		w, err := OpenRemote(context.Background(), r.remote, 0, nil)
		for key := range want {
			if err != nil {
				break
			}
			var value []byte
			if value, err = w.Get(nil, []byte(key)); err == nil && string(value) != want[key] {
				t.Errorf("%s: %q is %q, want %q", name, key, value, want[key])
			}
		}
		if w != nil && err != nil {
			must(t, w.Close())
		} else if err == nil {
			err = w.Scan(context.Background(), func(key, value []byte) bool {
				if string(value) != want[string(key)] {
					t.Errorf("%s: %q is %q, want %q", name, key, value, want[string(key)])
				}
				return true
			})
			must(t, w.Close())
		}
		if errors.Is(err, ErrCorrupt) {
			found++
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, filepath.WalkDir(r.dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		whole, err := os.ReadFile(name)
		if err != nil || len(whole) == 0 {
			return err
		}
		for i := range 3 {
			b := bytes.Clone(whole)
			b[len(b)*(2*i+1)/6] ^= 16
			must(t, os.WriteFile(name, b, 0o600))
			synctest.Test(t, func(t *testing.T) { damage(t, name) }) // pauses take no time
		}
		return os.WriteFile(name, whole, 0o600)
	}))
	if found < 9 {
		t.Errorf("only %d damages were found", found)
	}
}

// However many versions lie behind the last run, each with log of its own: the first read of the newest one takes few requests,
// and those before stay whole.
func TestOpenRemote_FirstReadBehindManySmallVersions(t *testing.T) {
	o := tiny()
	o.MemoryBytes = 64 << 20 // so that it takes much log for a run
	const versions, keep = 100, 10
	r := onRemoteWith(t, o, keep, 0)
	for v := range versions {
		must(t, r.store.Set([]byte("key 000001"), []byte(fmt.Sprint(v))))
		r.newest = commit(t, r.store)
	}
	must(t, r.store.copies.mirror.PutHint(context.Background()))
	synctest.Test(t, func(t *testing.T) {
		for v := range keep {
			if v == keep/2 {
				must(t, r.remote.Delete(t.Context(), "HINT"))
			}
			d := remotetest.NewDistant(r.remote)
			began := time.Now()
			w, err := OpenRemote(context.Background(), d, r.newest-checkpoint.Version(v), nil)
			must(t, err)
			value, err := w.Get(nil, []byte("key 000001"))
			must(t, err)
			trips, calls := time.Since(began)/remotetest.Trip, d.Calls()
			t.Logf("%d versions back: %d round trips to the first read, %d requests", v, trips, calls)
			if trips > 8 || calls > 64 {
				t.Errorf("%d versions back: %d round trips, %d requests", v, trips, calls)
			}
			if want := fmt.Sprint(versions - 1 - v); string(value) != want {
				t.Errorf("%d versions back: %q, want %q", v, value, want)
			}
			must(t, w.Close())
		}
	})
}
