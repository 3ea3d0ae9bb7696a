package hlog

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// remoteBed is a remote in memory, and stores that use it.
type remoteBed struct {
	t *testing.T
	*remotetest.Faulty
}

func newRemoteBed(t *testing.T) remoteBed {
	t.Helper()
	r, err := checkpoint.NewDirRemoteOn(fsx.NewCrash(fsx.CrashOptions{}), "remote")
	if err != nil {
		t.Fatal(err)
	}
	return remoteBed{t, remotetest.NewFaulty(r)}
}

func (b remoteBed) options(epoch uint64) *Options {
	return &Options{MemoryBytes: MinMemoryBytes, KeepVersions: 3, Remote: b, RemoteEpoch: epoch}
}

func (b remoteBed) open(dir string, epoch uint64) *Store {
	b.t.Helper()
	s, err := Open(dir, b.options(epoch))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Close() })
	return s
}

// commitValue commits a version that holds value under "k".
func commitValue(t *testing.T, s *Store, value string, opts ...CheckpointOption) (checkpoint.Info, error) {
	t.Helper()
	if err := s.Set([]byte("k"), []byte(value)); err != nil {
		t.Fatal(err)
	}
	return s.Checkpoint(t.Context(), opts...)
}

func (b remoteBed) must(_ any, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// want requires that an empty machine opens the remote at a value, without writing to it.
func (b remoteBed) want(value string) {
	b.t.Helper()
	s, err := Open(b.t.TempDir(), b.options(0))
	if err != nil {
		b.t.Fatal(err)
	}
	got, err := s.Get(nil, []byte("k"))
	if err != nil || string(got) != value {
		b.t.Fatalf("an empty machine has %q, %v, want %q", got, err, value)
	}
	if err := s.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// A paused worker goes on after another has taken over: it is told so every time, and the other's versions stay.
func TestRemote_TwoWriters(t *testing.T) {
	for _, c := range []struct {
		name   string
		epochs [2]uint64
		want   error
	}{{"without epochs", [2]uint64{0, 0}, ErrDiverged}, {"with epochs", [2]uint64{1, 2}, ErrFenced}} {
		t.Run(c.name, func(t *testing.T) {
			b := newRemoteBed(t)
			dir := t.TempDir()
			first := b.open(dir, c.epochs[0])
			b.must(commitValue(t, first, "a1"))
			second := b.open(t.TempDir(), c.epochs[1])
			for _, v := range []string{"b2", "b3", "b4"} {
				b.must(commitValue(t, second, v))
			}
			for _, v := range []string{"a2", "a3", "a4", "a5", "a6", "a7", "a8"} {
				if _, err := commitValue(t, first, v); !errors.Is(err, c.want) || !errors.Is(err, ErrRemote) {
					t.Fatalf("%s: %v", v, err)
				}
			}
			b.want("b4")
			b.must(commitValue(t, second, "b5"))
			if _, err := second.Restore(t.Context(), 4); err != nil {
				t.Fatalf("a version of the one that has taken over: %v", err)
			}
			b.want("b4")
			if err := first.Close(); !errors.Is(err, ErrRemote) {
				t.Errorf("close: %v", err)
			}
			if _, err := Open(dir, b.options(c.epochs[0])); !errors.Is(err, c.want) || !errors.Is(err, ErrRemote) {
				t.Errorf("opened anew: %v", err)
			}
			if s, err := Open(dir, nil); err != nil {
				t.Errorf("opened without the remote: %v", err)
			} else {
				s.Close()
			}
			b.must(commitValue(t, second, "b6"))
			b.want("b6")
		})
	}
}

// A store without anything of its own follows the remote when it is opened anew; also back.
func TestRemote_FollowsWhoTookOver(t *testing.T) {
	b := newRemoteBed(t)
	dir := t.TempDir()
	first := b.open(dir, 0)
	b.must(commitValue(t, first, "a1"))
	b.must(commitValue(t, first, "a2"))
	b.must(nil, first.Close())
	second := b.open(t.TempDir(), 0)
	b.must(second.Restore(t.Context(), 1))
	first = b.open(dir, 0)
	if got, err := first.Get(nil, []byte("k")); err != nil || string(got) != "a1" {
		t.Fatalf("%q, %v after another machine's rollback", got, err)
	}
	b.must(commitValue(t, first, "a3"))
	b.want("a3")
	if _, err := commitValue(t, second, "b4"); !errors.Is(err, ErrDiverged) {
		t.Errorf("beside another: %v", err)
	}
}

// A rollback is that of every machine, also when the remote could not be reached at first.
func TestRestore_Travels(t *testing.T) {
	b := newRemoteBed(t)
	s := b.open(t.TempDir(), 0)
	b.must(commitValue(t, s, "one"))
	b.must(commitValue(t, s, "two"))
	b.must(s.Restore(t.Context(), 1))
	b.want("one")
	b.must(s.Restore(t.Context(), 2))
	b.want("two")

	down := &brokenRemote{Remote: b}
	o := b.options(0)
	o.Remote = down
	b.must(nil, s.Close())
	dir := t.TempDir()
	s, err := Open(dir, o)
	b.must(nil, err)
	down.down.Store(true)
	info, err := s.Restore(t.Context(), 1)
	if !errors.Is(err, ErrRemote) || info.Version != 1 {
		t.Fatalf("remote down: %v, %v", info, err)
	}
	if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "one" {
		t.Fatalf("not rolled back here: %q, %v", got, err)
	}
	if err := s.Close(); !errors.Is(err, ErrRemote) {
		t.Errorf("close: %v", err)
	}
	b.want("two")
	down.down.Store(false)
	s, err = Open(dir, o)
	b.must(nil, err)
	b.must(nil, s.Close()) // tries again
	b.want("one")
	if s, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	b.must(commitValue(t, s, "three"))
	b.must(nil, s.Close())
	b.want("three")
}

// A remote that hangs keeps nobody from opening a directory that is whole, nor from closing it.
func TestOpen_RemoteHangs(t *testing.T) {
	b := newRemoteBed(t)
	dir := t.TempDir()
	s := b.open(dir, 0)
	b.must(commitValue(t, s, "one"))
	b.must(nil, s.Close())
	for _, match := range []string{"", "/entries/"} {
		b.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: remotetest.Block, Match: match, Sticky: true})
		o := b.options(0)
		o.OpenTimeout = 20 * time.Millisecond
		if _, err := Open(t.TempDir(), o); !errors.Is(err, context.Canceled) {
			t.Fatalf("an empty directory: %v", err)
		}
		s, err := Open(dir, o)
		b.must(nil, err)
		if s.Metrics().RemoteError == "" {
			t.Error("metrics do not say that the remote could not be reached")
		}
		if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "one" {
			t.Fatalf("%q, %v", got, err)
		}
		s.copies.bound = 20 * time.Millisecond
		if err := s.Close(); !errors.Is(err, ErrRemote) {
			t.Fatalf("close: %v", err)
		}
		b.Clear()
	}
	s = b.open(dir, 0)
	b.must(commitValue(t, s, "two"))
	if e := s.Metrics().RemoteError; e != "" {
		t.Error(e)
	}
}

// After the remote was out of reach for longer than versions are kept, nothing is copied that would be removed at once.
func TestRemote_NothingIsSentInCircles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the pauses between attempts take no time
		b := newRemoteBed(t)
		s := b.open(t.TempDir(), 0)
		b.must(commitValue(t, s, "0"))
		b.Inject(remotetest.Fault{Verb: remotetest.Write, Sticky: true, Match: "/"})
		for _, v := range []string{"1", "2", "3", "4", "5"} {
			if _, err := commitValue(t, s, v); !errors.Is(err, ErrRemote) {
				t.Fatalf("%s: %v", v, err)
			}
		}
		w, err := s.OpenVersion(t.Context(), 4) // which the remote will not keep
		b.must(nil, err)
		defer w.Close()
		b.Clear()
		b.must(commitValue(t, s, "6"))
		b.must(commitValue(t, s, "7"))
		if lag := s.Metrics().RemoteLagVersions; lag != 0 {
			t.Fatalf("the remote lacks %d versions", lag)
		}
		// A round may have something left to purge. What goes round in circles never ends.
		for rounds := 1; ; rounds++ {
			before := b.Calls(remotetest.Write)
			s.copies.round(s)
			changes := b.Calls(remotetest.Write) - before
			if changes == 0 {
				break
			}
			if rounds == 5 {
				t.Fatalf("round %d makes %d calls that change the remote when nothing has changed", rounds, changes)
			}
		}
		b.want("7")
	})
}

// A version that only the remote has, with an id above all that are here, can be looked at without becoming the store's.
func TestOpenVersion_FromTheRemoteAboveAll(t *testing.T) {
	b := newRemoteBed(t)
	first := b.open(t.TempDir(), 0)
	b.must(commitValue(t, first, "one"))
	second := b.open(filepath.Join(t.TempDir(), "second"), 0)
	b.must(second.Checkpoint(t.Context(), WithVersion(9)))
	w, err := first.OpenVersion(t.Context(), 9)
	b.must(nil, err)
	defer w.Close()
	if got, err := w.Get(nil, []byte("k")); err != nil || string(got) != "one" {
		t.Fatalf("%q, %v", got, err)
	}
	info, err := commitValue(t, first, "two")
	if !errors.Is(err, ErrDiverged) || info.Version != 10 || info.Parent != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	if vs, err := first.Versions(); err != nil || len(vs) != 3 || !vs[2].Current {
		t.Fatalf("%+v, %v", vs, err)
	}
}
