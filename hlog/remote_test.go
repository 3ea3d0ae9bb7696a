package hlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// A hundred versions go to a remote as deltas; an empty machine opens at the newest and can go back to an older one.
func TestRemote_EmptyDirectoryOpensAtTheNewestVersion(t *testing.T) {
	ctx := context.Background()
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	opts := &Options{MemoryBytes: MinMemoryBytes, Remote: remote, KeepVersions: 4}
	s, err := Open(t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	const keys, versions = 2000, 100
	value := func(v int) []byte { return fmt.Appendf(nil, "value of version %d", v) }
	for k := range keys {
		s.Set(k8(uint64(k)), value(0))
	}
	var last checkpoint.Info
	for v := 1; v <= versions; v++ {
		for k := range 10 {
			if err := s.Set(k8(uint64(v*10+k)), value(v)); err != nil {
				t.Fatal(err)
			}
		}
		if last, err = s.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		if v > 1 && last.DeltaBytes > 64<<10 {
			t.Fatalf("version %d: delta of %d bytes for 10 changes", v, last.DeltaBytes)
		}
	}
	if lag := s.Metrics().RemoteLagVersions; lag != 0 {
		t.Fatalf("the remote lacks %d versions", lag)
	}
	sent := s.copies.mirror.SentBytes()
	s.Set([]byte("after"), value(0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if most := int64(versions)*(16<<10) + 1<<20; sent > most {
		t.Fatalf("sent %d bytes, at most %d expected", sent, most)
	}

	s, err = Open(filepath.Join(t.TempDir(), "elsewhere"), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	check := func(upTo int) {
		t.Helper()
		for k := range keys {
			want := 0
			if v := k / 10; v >= 1 && v <= upTo {
				want = v
			}
			if got, err := s.Get(nil, k8(uint64(k))); err != nil || string(got) != string(value(want)) {
				t.Fatalf("key %d: %q, %v, want %q", k, got, err, value(want))
			}
		}
	}
	check(versions)
	if _, err := s.Get(nil, []byte("after")); err != nil {
		t.Fatalf("what Close committed is not there: %v", err)
	}
	if _, err := s.Restore(ctx, last.Version-1); err != nil {
		t.Fatal(err)
	}
	check(versions - 1)
	if _, err := s.Get(nil, []byte("after")); !errors.Is(err, ErrNotFound) {
		t.Fatalf("after the rollback: %v", err)
	}
	if _, err := s.Restore(ctx, 1); !errors.Is(err, ErrVersionNotFound) {
		t.Fatalf("a version that retention removed: %v", err)
	}
}

func TestRemote_AnotherStoresRemoteIsRefused(t *testing.T) {
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	first, err := Open(t.TempDir(), &Options{Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	first.Set([]byte("k"), []byte("v"))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	other, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	other.Set([]byte("k"), []byte("other"))
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, &Options{Remote: remote}); !errors.Is(err, checkpoint.ErrStoreMismatch) {
		t.Fatalf("opened with another store's remote: %v", err)
	}
	other, err = Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got, err := other.Get(nil, []byte("k")); err != nil || string(got) != "other" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestRemote_DamagedDirectoryIsFilled(t *testing.T) {
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := Open(dir, &Options{Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	s.Set([]byte("k"), []byte("v"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	manifests, _ := filepath.Glob(filepath.Join(dir, "versions", "*"))
	if len(manifests) == 0 {
		t.Fatal("no manifest")
	}
	for _, m := range manifests {
		if err := os.WriteFile(m, []byte("damage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir, nil); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("damaged and without a remote: %v", err)
	}
	s, err = Open(dir, &Options{Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "v" {
		t.Fatalf("%q, %v", got, err)
	}
}

// brokenRemote fails every call while it is down.
type brokenRemote struct {
	checkpoint.Remote
	down atomic.Bool
}

var errDown = fmt.Errorf("down: %w", os.ErrPermission) // final: not tried again

func (r *brokenRemote) PutIfAbsent(ctx context.Context, name string, data []byte) (bool, error) {
	if r.down.Load() {
		return false, errDown
	}
	return r.Remote.PutIfAbsent(ctx, name, data)
}

func (r *brokenRemote) Put(ctx context.Context, name string, data []byte) error {
	if r.down.Load() {
		return errDown
	}
	return r.Remote.Put(ctx, name, data)
}

func TestRemote_DownWhileCheckpointing(t *testing.T) {
	ctx := context.Background()
	inner, err := checkpoint.NewDirRemote(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	remote := &brokenRemote{Remote: inner}
	dir := t.TempDir()
	s, err := Open(dir, &Options{Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	remote.down.Store(true)
	s.Set([]byte("k"), []byte("1"))
	info, err := s.Checkpoint(ctx)
	if !errors.Is(err, ErrRemote) || info.Version != 1 {
		t.Fatalf("remote down: %v, %v", info, err)
	}
	if vs, err := s.Versions(); err != nil || len(vs) != 1 {
		t.Fatalf("not durable here: %v, %v", vs, err)
	}
	if lag := s.Metrics().RemoteLagVersions; lag != 1 {
		t.Fatalf("lag %d", lag)
	}
	remote.down.Store(false)
	s.Set([]byte("k"), []byte("2"))
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	if lag := s.Metrics().RemoteLagVersions; lag != 0 {
		t.Fatalf("lag %d after the remote came back", lag)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// damageLog flips a byte in the last record of the log that holds needle.
func damageLog(t *testing.T, dir, needle string) {
	t.Helper()
	segments, _ := filepath.Glob(filepath.Join(dir, "log", "*"))
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.LastIndex(b, []byte(needle)); i >= 0 {
			b[i] ^= 1
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%q is not in the log", needle)
}

func TestOpen_DamagedTail(t *testing.T) {
	ctx := context.Background()
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := Open(dir, &Options{Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	for v := 1; v <= 3; v++ {
		s.Set([]byte("k"), fmt.Appendf(nil, "value-%d", v))
		if _, err := s.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damageLog(t, dir, "value-3")
	var c *CorruptionError
	if _, err := Open(dir, nil); !errors.As(err, &c) || filepath.Base(c.File) != "000000000000.seg" {
		t.Fatalf("damaged: %v", err)
	}
	if _, err := Open(dir, &Options{Version: 9}); !errors.Is(err, ErrVersionNotFound) {
		t.Fatalf("a version that never was: %v", err)
	}
	get := func(o *Options, want string) {
		t.Helper()
		s, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != want {
			t.Fatalf("%q, %v, want %s", got, err, want)
		}
	}
	get(&Options{Version: 2, ReadOnly: true}, "value-2")
	get(&Options{Remote: remote}, "value-3") // repaired
	get(nil, "value-3")
	damageLog(t, dir, "value-3")
	get(&Options{Version: 2}, "value-2")
	get(nil, "value-2")
}

// Versions shows what lies here, on the remote, or both.
func TestVersions_SayWhereTheyLie(t *testing.T) {
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	ctx := context.Background()
	o := &Options{MemoryBytes: MinMemoryBytes, Remote: remote}
	s := mustOpen(t, t.TempDir(), o)
	for i := range 3 {
		must(t, s.Set([]byte("k"), key8(i)))
		commit(t, s, WithCookie(key8(i)))
	}
	places := func(s *Store) (all string) {
		t.Helper()
		infos, err := s.Versions()
		must(t, err)
		for i, info := range infos {
			if !bytes.Equal(info.Cookie, key8(i)) {
				t.Errorf("version %d has cookie %x", info.Version, info.Cookie)
			}
			all += info.Place.String() + " "
		}
		return all
	}
	if p := places(s); p != "both both both " {
		t.Errorf("with a remote: %s", p)
	}
	must(t, s.Close())
	s = mustOpen(t, t.TempDir(), o)
	if p := places(s); p != "remote remote both " {
		t.Errorf("in a directory that was filled from the remote: %s", p)
	}
	_, err = s.Restore(ctx, 1)
	must(t, err)
	if p := places(s); p != "both remote both " {
		t.Errorf("after a restore of the first: %s", p)
	}
	must(t, s.Close())
	s = mustOpen(t, s.path, &Options{MemoryBytes: MinMemoryBytes})
	infos, err := s.Versions()
	must(t, err)
	for _, i := range infos {
		if i.Place != checkpoint.Here {
			t.Errorf("without a remote version %d lies %v", i.Version, i.Place)
		}
	}
}

// A remote with a part of an identity is nobody's to take, whatever else is there, until it has been emptied.
func TestOpen_RemoteWasPutInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the pauses between attempts take no time
		r := onRemote(t, 1, 10)
		must(t, r.store.Close())
		store := filepath.Join(r.dir, "STORE")
		whole, err := os.ReadFile(store)
		must(t, err)
		must(t, os.WriteFile(store, whole[:40], 0o600))
		o := tiny()
		o.Remote = r.remote
		if _, err := Open("other", o); !errors.Is(err, checkpoint.ErrUnfinished) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("a store whose identity is there in part: %v", err)
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "STORE"), whole[:40], 0o600))
		if o.Remote, err = checkpoint.NewDirRemote(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("other", o); !errors.Is(err, checkpoint.ErrUnfinished) {
			t.Errorf("a part of an identity, and nothing else: %v", err)
		}
		must(t, os.Remove(filepath.Join(dir, "STORE")))
		must(t, mustOpen(t, "other", o).Close())
	})
}
