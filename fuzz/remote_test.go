package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// traveller plays a script on a store whose versions go to a remote, beside a model of what the store holds and of what each
// version held. No call may say what is not so; one that fails says why.
type traveller struct {
	dir    string
	remote *remotetest.Faulty
	rand   *rand.Rand
	store  *hlog.Store
	now    map[string]string
	at     map[checkpoint.Version]map[string]string
	acked  checkpoint.Version // the newest that Wait or Restore has acknowledged to be where machines open
	failed int                // calls
}

func (tr *traveller) options() *hlog.Options {
	return &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, Remote: tr.remote, KeepVersions: 3, OpenTimeout: time.Minute}
}

// soon is a context that ends, since a remote may never answer.
func (tr *traveller) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 5*time.Minute)
}

// may returns err unless it says that the remote has failed, and no more than that.
func (tr *traveller) may(what string, err error) error {
	if err == nil {
		return nil
	}
	tr.failed++
	more := errors.Is(err, hlog.ErrDiverged) || errors.Is(err, hlog.ErrFenced) || errors.Is(err, hlog.ErrCorrupt)
	if late := errors.Is(err, context.DeadlineExceeded); (late || errors.Is(err, hlog.ErrRemote)) && !more {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// open opens the store, again when it fails, but not for ever: then the fault is over.
func (tr *traveller) open() (err error) {
	if tr.store, err = hlog.Open(tr.dir, tr.options()); err == nil {
		return nil
	}
	if err := tr.may("open", err); err != nil {
		return err
	}
	tr.remote.Clear()
	if tr.store, err = hlog.Open(tr.dir, tr.options()); err != nil {
		return fmt.Errorf("opened again after the fault: %w", err)
	}
	return nil
}

func (tr *traveller) change() error {
	for range 40 {
		k, v := fmt.Sprintf("key %d", tr.rand.IntN(100)), fmt.Sprintf("value %d", tr.rand.Uint32())
		if err := tr.store.Set([]byte(k), []byte(v)); err != nil {
			return err
		}
		tr.now[k] = v
	}
	return nil
}

func (tr *traveller) checkpoint() error {
	p, err := tr.store.BeginCheckpoint()
	if err != nil {
		return err
	}
	tr.at[p.Version()] = maps.Clone(tr.now)
	ctx, cancel := tr.soon()
	defer cancel()
	_, err = p.Wait(ctx)
	if err == nil {
		tr.acked = p.Version()
	}
	return tr.may("checkpoint", err)
}

// play is the script: versions, a rollback, another branch, and a purge.
func (tr *traveller) play() error {
	if err := tr.open(); err != nil {
		return err
	}
	for range 3 {
		if err := errors.Join(tr.change(), tr.checkpoint()); err != nil {
			return err
		}
	}
	all, err := tr.store.Versions()
	if err != nil {
		return err
	}
	back := all[0].Version
	ctx, cancel := tr.soon()
	defer cancel()
	_, err = tr.store.Restore(ctx, back)
	if err == nil {
		tr.acked = back
	} else {
		tr.acked = min(tr.acked, back)
	}
	if info, _ := tr.store.Current(); err == nil || info.Version == back { // rolled back here, if not there
		tr.now = maps.Clone(tr.at[back])
	}
	if err := errors.Join(tr.may("restore", err), tr.change(), tr.checkpoint(), tr.change(), tr.checkpoint()); err != nil {
		return err
	}
	if err := tr.may("purge", tr.store.Purge(ctx, back)); err != nil && !errors.Is(err, hlog.ErrVersionNotFound) {
		return err
	}
	if err := errors.Join(tr.readElsewhere(), tr.change()); err != nil {
		return err
	}
	return tr.may("close", tr.store.Close())
}

// readElsewhere reads what the remote has: in an empty directory, and where it lies. What is read is a version as it was.
func (tr *traveller) readElsewhere() error {
	dir, err := os.MkdirTemp(filepath.Dir(tr.dir), "elsewhere")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := tr.soon()
	defer cancel()
	v, err := hlog.OpenRemote(ctx, tr.remote, 0, tr.options())
	if err == nil {
		err = errors.Join(tr.wantVersion(v.Info().Version, func(fn func(k, v []byte) bool) error { return v.Scan(ctx, fn) }), v.Close())
	}
	if errors.Is(err, fs.ErrNotExist) && tr.acked == 0 || errors.Is(err, hlog.ErrVersionNotFound) && tr.acked == 0 {
		err = nil // nothing was acknowledged
	}
	if err := tr.may("read where it lies", err); err != nil {
		return err
	}
	s, err := hlog.Open(dir, tr.options())
	if err != nil {
		return tr.may("open elsewhere", err)
	}
	if info, _ := s.Current(); info.Version != 0 || tr.acked != 0 {
		err = tr.wantVersion(info.Version, func(fn func(k, v []byte) bool) error { return s.Scan(ctx, fn) })
	}
	return errors.Join(tr.may("read elsewhere", err), tr.may("close elsewhere", s.Abort()))
}

// wantVersion compares what scan shows with the version, which must not be older than what was acknowledged.
func (tr *traveller) wantVersion(v checkpoint.Version, scan func(func(k, v []byte) bool) error) error {
	want := tr.at[v]
	if want == nil || v < tr.acked {
		return fmt.Errorf("the remote opens at version %d; acknowledged is %d", v, tr.acked)
	}
	got := map[string]string{}
	if err := scan(func(k, v []byte) bool { got[string(k)] = string(v); return true }); err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("version %d has %d keys, or others than it had, which were %d", v, len(got), len(want))
	}
	return nil
}

// goOn is what has to work when the fault is over: the store opens with all that it held, and its next version reaches machines.
func (tr *traveller) goOn() error {
	tr.remote.Clear()
	failed := tr.failed
	if err := tr.open(); err != nil {
		return err
	}
	got := map[string]string{}
	if err := tr.store.Scan(context.Background(), func(k, v []byte) bool { got[string(k)] = string(v); return true }); err != nil {
		return err
	}
	if !maps.Equal(got, tr.now) {
		return fmt.Errorf("opened again it has %d keys, or others than it had, which were %d", len(got), len(tr.now))
	}
	err := errors.Join(tr.change(), tr.checkpoint(), tr.readElsewhere(), tr.store.Close())
	if err == nil && tr.failed > failed {
		err = errors.New("calls fail after the fault")
	}
	return err
}

// travels plays the script with a fault in a directory of its own, and returns how often it fired and how many calls failed.
func travels(t *testing.T, seed uint64, fault remotetest.Fault) (fired, failed int, err error) {
	t.Helper()
	root, err := os.MkdirTemp(t.TempDir(), "travel")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(root)
	inner, err := checkpoint.NewDirRemote(filepath.Join(root, "remote"))
	if err != nil {
		return 0, 0, err
	}
	synctest.Test(t, func(*testing.T) { // the pauses between two attempts take no time
		tr := &traveller{dir: filepath.Join(root, "store"), remote: remotetest.NewFaulty(inner), rand: rand.New(rand.NewPCG(seed, 1)),
			now: map[string]string{}, at: map[checkpoint.Version]map[string]string{}}
		tr.remote.Inject(fault)
		err = tr.play()
		fired, failed = tr.remote.Clear(), tr.failed
		if err == nil {
			err = tr.goOn()
		} else if tr.store != nil {
			_ = tr.store.Close()
		}
	})
	return fired, failed, err
}

// TestFault_EveryVerb fails every call of a remote, or one in so many unless the counts are full, in every way: nothing that was
// acknowledged is lost, nothing wrong is read, each call that fails says that the remote did, and the next try works.
func TestFault_EveryVerb(t *testing.T) {
	t.Parallel()
	runs, failed := 0, 0
	for _, verb := range []remotetest.Verb{remotetest.Put, remotetest.PutIfAbsent, remotetest.Get, remotetest.List, remotetest.Delete} {
		for _, f := range []remotetest.Fault{
			{Mode: remotetest.Before}, {Mode: remotetest.After}, {Mode: remotetest.Partial},
			{Mode: remotetest.Before, Sticky: true}, {Mode: remotetest.After, Sticky: true}, {Mode: remotetest.Block, Sticky: true},
		} {
			f.Verb = verb
			for f.Nth = 1; ; f.Nth += sparse(testkit.Scaled(97, 41, 5, 1)) {
				fired, calls, err := travels(t, uint64(f.Nth), f)
				if err != nil {
					t.Errorf("fault %+v: %v", f, err)
				}
				if runs, failed = runs+1, failed+calls; fired == 0 {
					break
				}
			}
		}
	}
	if failed == 0 {
		t.Error("no call has failed")
	}
	testkit.Counted(t, "%d runs, %d calls failed", runs, failed)
}

// TestCorrupt_EveryObject damages every object of a remote: what is read is right or ErrCorrupt, and once the object is whole
// again all is read.
func TestCorrupt_EveryObject(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	inner, err := checkpoint.NewDirRemote(filepath.Join(root, "remote"))
	if err != nil {
		t.Fatal(err)
	}
	tr := &traveller{dir: filepath.Join(root, "store"), remote: remotetest.NewFaulty(inner), rand: rand.New(rand.NewPCG(1, 1)),
		now: map[string]string{}, at: map[checkpoint.Version]map[string]string{}}
	if err := errors.Join(tr.open(), tr.change(), tr.checkpoint(), tr.change(), tr.checkpoint(), tr.store.Close()); err != nil {
		t.Fatal(err)
	}
	names, contents := []string{}, map[string][]byte{}
	err = filepath.WalkDir(filepath.Join(root, "remote"), func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, name)
			contents[name], err = os.ReadFile(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	corrupt, states := 0, 0
	for _, name := range names {
		whole := contents[name]
		other := contents[names[tr.rand.IntN(len(names))]]
		damages := [][]byte{nil, whole[:len(whole)/2], append(bytes.Clone(whole), 0), other}
		for i := 0; i < len(whole); i += max(len(whole)/testkit.Scaled(2, 4, 40, 400), 1) {
			b := bytes.Clone(whole)
			b[i] ^= 1 << (i % 8)
			damages = append(damages, b)
		}
		for _, b := range damages {
			if bytes.Equal(b, whole) {
				continue
			}
			states++
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				err := tr.readElsewhere()
				switch {
				case errors.Is(err, hlog.ErrCorrupt) || errors.Is(err, hlog.ErrFormat):
					corrupt++
				case err != nil:
					t.Errorf("%s damaged, %d bytes of %d: %v", filepath.Base(name), len(b), len(whole), err)
				}
			})
		}
		if err := os.WriteFile(name, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.goOn(); err != nil {
		t.Errorf("whole again: %v", err)
	}
	if corrupt < states/3 {
		t.Errorf("%d of %d damages were found", corrupt, states)
	}
	testkit.Counted(t, "%d damages of %d objects, %d found", states, len(names), corrupt)
}
