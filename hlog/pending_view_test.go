package hlog

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

func versionIDs(t *testing.T, s *Store) (ids []checkpoint.Version) {
	t.Helper()
	all, err := s.Versions()
	must(t, err)
	for _, i := range all {
		ids = append(ids, i.Version)
	}
	return ids
}

// However many versions are committed between the cut and the call, the view is there; when it is closed, its version goes.
func TestPendingCheckpoint_ViewIsPinnedSinceTheCut(t *testing.T) {
	o := tiny()
	o.KeepVersions = 1
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	key := []byte("k")
	set := func(i int) { must(t, s.Set(key, key8(i))) }
	set(1)
	p, err := s.BeginCheckpoint()
	must(t, err)
	for i := range 5 {
		set(2 + i)
		commit(t, s)
	}
	must(t, s.ledger.Retain(1))
	if err := s.Purge(ctx, p.Version()); !errors.Is(err, ErrVersionInUse) {
		t.Fatalf("purge of a version that nobody has waited for: %v", err)
	}
	v, err := p.View(ctx)
	must(t, err)
	if _, err := p.Wait(ctx); err != nil { // only the view keeps it now
		t.Fatal(err)
	}
	must(t, s.ledger.Retain(1))
	if got, err := v.Get(nil, key); err != nil || !bytes.Equal(got, key8(1)) || v.Info().Version != p.Version() {
		t.Fatalf("the view of version %d, opened at %d: %x, %v", p.Version(), v.Info().Version, got, err)
	}
	must(t, v.Close())
	eventually(t, "the version's end", func() bool { return !slices.Contains(versionIDs(t, s), p.Version()) })
	if _, err := p.View(ctx); !errors.Is(err, ErrVersionNotFound) {
		t.Fatalf("a view of what was purged: %v", err)
	}
}

// What was waited for, or was given up, is kept no longer than any other version.
func TestPendingCheckpoint_WaitLetsGo(t *testing.T) {
	o := tiny()
	o.KeepVersions = 1
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	must(t, s.Set([]byte("k"), key8(1)))
	p, err := s.BeginCheckpoint()
	must(t, err)
	for i := range 3 {
		must(t, s.Set([]byte("k"), key8(2+i)))
		commit(t, s)
	}
	must(t, s.ledger.Retain(1))
	if !slices.Contains(versionIDs(t, s), p.Version()) {
		t.Fatal("the version was purged before it was waited for")
	}
	ended, end := context.WithCancel(ctx)
	end()
	if v, err := p.View(ended); err == nil { // it is there: the context does not matter
		must(t, v.Close())
	}
	_, err = p.Wait(ctx)
	must(t, err)
	eventually(t, "the version's end", func() bool { return !slices.Contains(versionIDs(t, s), p.Version()) })
}

func TestPendingCheckpoint_ViewOfWhatFailed(t *testing.T) {
	o := tiny()
	disk := o.FS.(*fsx.CrashFS)
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	must(t, s.Set([]byte("k"), []byte("v")))
	kept := commit(t, s)
	must(t, s.Set([]byte("k"), []byte("w")))
	disk.FailSync(fsx.SyncFailOnce, "*.seg")
	p, err := s.BeginCheckpoint()
	must(t, err)
	if _, err := p.View(ctx); !errors.Is(err, syscall.EIO) {
		t.Fatalf("a view of a version that failed: %v", err)
	}
	if _, err := p.Wait(ctx); !errors.Is(err, syscall.EIO) {
		t.Fatalf("its Wait: %v", err)
	}
	disk.FailSync(fsx.SyncHonest, "")
	_, err = s.Restore(ctx, kept)
	must(t, err)
	p, err = s.BeginCheckpoint()
	must(t, err)
	must(t, s.Close())
	if _, err := p.View(ctx); !errors.Is(err, ErrClosed) {
		t.Fatalf("a view of a closed store: %v", err)
	}
}

// Options.Cookie is asked for the versions of CheckpointEvery and Close, and for no others.
func TestOptions_Cookie(t *testing.T) {
	o := tiny()
	o.CheckpointEvery = time.Millisecond
	o.Cookie = func() []byte { return []byte("every") }
	s := mustOpen(t, "/store", o)
	must(t, s.Set([]byte("k"), []byte("v")))
	newest := func() checkpoint.Info {
		all, err := s.Versions()
		must(t, err)
		if len(all) == 0 {
			return checkpoint.Info{}
		}
		return all[len(all)-1]
	}
	eventually(t, "a version of CheckpointEvery", func() bool { return newest().Version > 0 })
	if c := newest().Cookie; string(c) != "every" {
		t.Fatalf("cookie of a version of CheckpointEvery: %q", c)
	}
	must(t, s.Close())

	o.CheckpointEvery = 0
	var closing []byte
	o.Cookie = func() []byte { return closing }
	s = mustOpen(t, "/store", o)
	must(t, s.Set([]byte("k"), []byte("w")))
	if info, err := s.Checkpoint(context.Background(), WithCookie([]byte("own"))); err != nil || string(info.Cookie) != "own" {
		t.Fatalf("cookie of a version that was asked for: %q, %v", info.Cookie, err)
	}
	must(t, s.Set([]byte("k"), []byte("x")))
	if info, err := s.Checkpoint(context.Background()); err != nil || info.Cookie != nil {
		t.Fatalf("cookie of a version without one: %q, %v", info.Cookie, err)
	}
	must(t, s.Set([]byte("k"), []byte("y")))
	closing = []byte("at the end")
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	if c := newest().Cookie; string(c) != "at the end" {
		t.Fatalf("cookie of the version of Close: %q", c)
	}
	must(t, s.Set([]byte("k"), []byte("z")))
	closing = make([]byte, checkpoint.MaxCookie+1)
	if err := s.Close(); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("Close with a cookie that is too large: %v", err)
	}
	closing = nil
	s = mustOpen(t, "/store", o)
	if v, err := s.Get(nil, []byte("k")); err != nil || string(v) != "y" {
		t.Fatalf("after a last version that was refused: %q, %v", v, err)
	}
}

// A version without a cookie of its own has its parent's if its state is its parent's: nothing but compaction has written
// since. One change more, in place in a record that compaction has just moved, and it has none.
func TestCheckpoint_CompactionAloneKeepsTheCookie(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	const keys = 300
	fill := func() {
		for i := range keys {
			must(t, s.Set(key8(i), make([]byte, 100)))
		}
	}
	fill()
	commit(t, s)
	fill() // the first version's log is dead, the second one's is what compaction moves
	first := commit(t, s, WithCookie([]byte("offsets")))
	cookie := func() string {
		t.Helper()
		info, err := s.Checkpoint(ctx)
		must(t, err)
		return string(info.Cookie)
	}
	compact := func() {
		t.Helper()
		tail := s.log.Tail()
		must(t, s.Compact(ctx))
		if s.log.Tail() == tail {
			t.Fatal("compaction has moved nothing")
		}
	}
	compact()
	if c := cookie(); c != "offsets" {
		t.Fatalf("only compaction: cookie %q", c)
	}
	compact()
	must(t, s.Close()) // commits what compaction has moved
	s = mustOpen(t, "/store", o)
	if m := s.ledger.Current(); m.Version != first+2 || string(m.Cookie) != "offsets" {
		t.Fatalf("Close after compaction: version %d, cookie %q", m.Version, m.Cookie)
	}
	compact()
	if c := cookie(); c != "offsets" {
		t.Fatalf("only compaction, after reopening: cookie %q", c)
	}
	for name, change := range map[string]func() error{
		"set in place":    func() error { return s.Set(key8(7), make([]byte, 100)) },
		"deleted":         func() error { return s.Delete(key8(8)) },
		"a new key":       func() error { return s.Set([]byte("new"), nil) },
		"a larger value":  func() error { return s.Set(key8(9), make([]byte, 400)) },
		"changed by RMW":  func() error { return s.RMW(key8(10), func(old []byte) []byte { old[0]++; return old }) },
		"before it moves": nil,
	} {
		commit(t, s, WithCookie([]byte("offsets")))
		if change == nil {
			must(t, s.Set(key8(11), make([]byte, 100)))
		}
		compact()
		if change != nil {
			must(t, change())
		}
		if c := cookie(); c != "" {
			t.Errorf("%s: cookie %q", name, c)
		}
	}
	// An explicit cookie counts, an empty one too.
	commit(t, s, WithCookie([]byte("offsets")))
	if info, err := s.Checkpoint(ctx, WithCookie(nil)); err != nil || info.Cookie != nil {
		t.Errorf("an empty cookie: %q, %v", info.Cookie, err)
	}
	// What a restore has undone does not count.
	at := commit(t, s, WithCookie([]byte("offsets")))
	must(t, s.Set(key8(12), make([]byte, 100)))
	_, err := s.Restore(ctx, at)
	must(t, err)
	if c := cookie(); c != "offsets" {
		t.Errorf("after a restore: cookie %q", c)
	}
}
