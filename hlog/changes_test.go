package hlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/hlog/internal/view"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// changed returns what Changes says.
func changed(t testing.TB, s *Store, from, to checkpoint.Version) map[string]Change {
	t.Helper()
	got := map[string]Change{}
	must(t, s.Changes(context.Background(), from, to, func(c Change) bool {
		k := string(c.Key)
		if _, ok := got[k]; ok {
			t.Fatalf("from %d to %d: key %q is reported twice", from, to, k)
		}
		got[k] = Change{Value: append([]byte(nil), c.Value...), Deleted: c.Deleted}
		return true
	}))
	return got
}

// changes compares what has changed between two versions, 0 for none, with what the model says.
func (m *modelRun) changes(from, to checkpoint.Version) {
	m.t.Helper()
	if to == 0 {
		return
	}
	old, now := m.versions[from], m.versions[to]
	got := changed(m.t, m.s, from, to)
	for k, c := range got {
		is, has := now[k]
		was, had := old[k]
		if has == c.Deleted || is != string(c.Value) || has == had && is == was {
			m.t.Fatalf("from %d to %d: key %q had %q (%v), has %q (%v); reported: %q, deleted %v", from, to, k, was, had, is, has, c.Value, c.Deleted)
		}
	}
	want := 0
	for k, v := range now {
		if was, had := old[k]; !had || was != v {
			want++
		}
	}
	for k := range old {
		if _, has := now[k]; !has {
			want++
		}
	}
	if len(got) != want {
		m.t.Fatalf("from %d to %d: %d keys are reported, %d have changed", from, to, len(got), want)
	}
}

// state returns what Scan finds.
func state(t testing.TB, scan func(context.Context, func(key, value []byte) bool) error) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, scan(context.Background(), func(key, value []byte) bool {
		out[string(key)] = string(value)
		return true
	}))
	return out
}

// A second store to which the changes of each version are applied holds what the first does, through rollbacks, compaction
// or demotions and merges, and purges, with little memory.
func TestChanges_KeepASecondStoreEqual(t *testing.T) {
	t.Run("compaction", func(t *testing.T) { keepASecondStoreEqual(t, 0) })
	t.Run("demotion", func(t *testing.T) { keepASecondStoreEqual(t, 1) })
}

func keepASecondStoreEqual(t *testing.T, coldAfter int64) {
	rng := rand.New(rand.NewPCG(5, 5))
	o := tiny()
	o.KeepVersions, o.ColdAfter = 12, coldAfter
	first, second := mustOpen(t, t.TempDir(), o), mustOpen(t, t.TempDir(), tiny())
	var at checkpoint.Version // of first, that second holds
	var held *View            // of that version, so that it is not purged
	var seen, deleted, back int
	versions := testkit.Scaled(testkit.UnderRace(20, 30), 80, 400, 1000)
	for v := range versions {
		for range rng.IntN(400) {
			k := fmt.Appendf(nil, "key %d", int(rng.ExpFloat64()*800))
			switch rng.IntN(4) {
			case 0:
				must(t, first.Delete(k))
			case 1:
				must(t, first.RMW(k, func(old []byte) []byte { return append(old[:len(old):len(old)], byte(v)) }))
			default:
				must(t, first.Set(k, make([]byte, rng.IntN(400))))
			}
		}
		commit(t, first)
		switch rng.IntN(6) {
		case 0:
			infos, err := first.Versions() // retention may be about to take the oldest
			must(t, err)
			infos = infos[max(len(infos)-o.KeepVersions, 0):]
			_, err = first.Restore(context.Background(), infos[rng.IntN(len(infos))].Version)
			must(t, err)
			back++
		case 1:
			must(t, first.Compact(context.Background()))
			commit(t, first)
		case 2:
			evict(t, first)
			if coldAfter > 0 {
				demoteAll(t, first)
			}
			commit(t, first)
		case 3:
			if err := first.Purge(context.Background(), at-1); err != nil && !errors.Is(err, ErrVersionNotFound) && !errors.Is(err, ErrVersionInUse) {
				t.Fatal(err)
			}
		}
		now, _ := first.Current()
		if err := first.Changes(context.Background(), at, now.Version, func(c Change) bool {
			if seen++; c.Deleted {
				deleted++
				must(t, second.Delete(c.Key))
			} else {
				must(t, second.Set(c.Key, c.Value))
			}
			return true
		}); err != nil {
			t.Fatalf("from %d to %d: %v", at, now.Version, err)
		}
		if held != nil {
			must(t, held.Close())
		}
		var err error
		at = now.Version
		held, err = first.OpenVersion(context.Background(), at)
		must(t, err)
		if (v%10 == 9 || v == versions-1) && !maps.Equal(state(t, held.Scan), state(t, second.Scan)) {
			t.Fatalf("version %d: the two stores differ", at)
		}
	}
	if deleted == 0 || back == 0 {
		t.Errorf("%d changes, %d deletions, %d rollbacks: this shows nothing", seen, deleted, back)
	}
	if coldAfter > 0 && (first.cold.demoted.Load() == 0 || first.cold.merged.Load() == 0) {
		t.Errorf("%d bytes were demoted and %d merged: this shows nothing of the tier", first.cold.demoted.Load(), first.cold.merged.Load())
	}
	t.Logf("%d versions, %d rollbacks, %d changes, %d of them deletions", versions, back, seen, deleted)
}

// What is dropped with a compaction has changed all the same: no tombstone is left that tells of the deletion.
func TestChanges_DeletionWhoseTombstoneIsGone(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	for i := range 100 {
		must(t, s.Set(key8(i), []byte("value")))
	}
	before := commit(t, s)
	for i := range 50 {
		must(t, s.Delete(key8(i)))
	}
	commit(t, s)
	evict(t, s)
	commit(t, s)
	must(t, s.Compact(context.Background()))
	after := commit(t, s)
	got := changed(t, s, before, after)
	for i := range 100 {
		if c, ok := got[string(key8(i))]; ok != (i < 50) || ok && !c.Deleted {
			t.Fatalf("key %d: reported %v, deleted %v", i, ok, c.Deleted)
		}
	}
	got = changed(t, s, after, before)
	for i := range 50 {
		if c := got[string(key8(i))]; string(c.Value) != "value" {
			t.Fatalf("the way back: key %d is %q", i, c.Value)
		}
	}
}

// Neither version need be an ancestor of the other.
func TestChanges_AcrossBranches(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	must(t, s.Set([]byte("same"), []byte("a")))
	must(t, s.Set([]byte("one"), []byte("a")))
	must(t, s.Set([]byte("gone"), []byte("a")))
	root := commit(t, s)
	must(t, s.Set([]byte("one"), []byte("left")))
	must(t, s.Set([]byte("left"), []byte("l")))
	must(t, s.Set([]byte("both"), []byte("x")))
	must(t, s.Set([]byte("same"), []byte("b")))
	must(t, s.Set([]byte("same"), []byte("a"))) // and back
	left := commit(t, s)
	_, err := s.Restore(context.Background(), root)
	must(t, err)
	must(t, s.Set([]byte("right"), []byte("r")))
	must(t, s.Set([]byte("both"), []byte("y")))
	must(t, s.Delete([]byte("gone")))
	right := commit(t, s)

	for _, c := range []struct {
		from, to checkpoint.Version
		want     map[string]string // "" for a deletion
	}{
		{left, right, map[string]string{"one": "a", "left": "", "right": "r", "gone": "", "both": "y"}},
		{right, left, map[string]string{"one": "left", "left": "l", "right": "", "gone": "a", "both": "x"}},
		{root, left, map[string]string{"one": "left", "left": "l", "both": "x"}},
		{left, left, nil},
		{0, right, map[string]string{"same": "a", "one": "a", "right": "r", "both": "y"}},
		{left, 0, map[string]string{"one": "a", "left": "", "right": "r", "gone": "", "both": "y"}},
	} {
		got := changed(t, s, c.from, c.to)
		for k, v := range c.want {
			if g, ok := got[k]; !ok || string(g.Value) != v || g.Deleted != (v == "") {
				t.Errorf("from %d to %d: %q is %+v (%v), want %q", c.from, c.to, k, g, ok, v)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("from %d to %d: %d changes, want %d", c.from, c.to, len(got), len(c.want))
		}
	}
}

// A record of the next version in the fuzzy end of the one before is in log that both versions have (C4).
func TestChanges_OfAFuzzyEnd(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	for i := range 3 {
		must(t, s.Set(key8(i), []byte("old")))
	}
	operation := s.epochs.Register() // one that is under way when the checkpoint begins
	operation.Enter()
	p, err := s.BeginCheckpoint()
	must(t, err)
	must(t, s.Set(key8(0), []byte("new")))
	must(t, s.Set(key8(3), []byte("new")))
	must(t, s.Delete(key8(1)))
	operation.Release()
	_, err = p.Wait(context.Background())
	must(t, err)
	next := commit(t, s)
	if got := changed(t, s, p.Version(), next); len(got) != 3 || string(got[string(key8(0))].Value) != "new" ||
		string(got[string(key8(3))].Value) != "new" || !got[string(key8(1))].Deleted {
		t.Errorf("forth: %v", got)
	}
	if got := changed(t, s, next, p.Version()); len(got) != 3 || string(got[string(key8(0))].Value) != "old" ||
		string(got[string(key8(1))].Value) != "old" || !got[string(key8(3))].Deleted {
		t.Errorf("and back: %v", got)
	}
}

func TestChanges_ErrorsAndEnds(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	ctx, none := context.Background(), func(Change) bool { t.Error("called"); return false }
	if err := s.Changes(ctx, 0, 0, none); !errors.Is(err, ErrVersionNotFound) {
		t.Errorf("of a store without versions: %v", err)
	}
	for i := range 3 * view.DifferBatch {
		must(t, s.Set(key8(i), nil))
	}
	v := commit(t, s)
	must(t, s.Set(key8(0), []byte("x")))
	last := commit(t, s)
	for _, c := range [][2]checkpoint.Version{{v, last + 7}, {last + 7, v}, {0, last + 7}} {
		if err := s.Changes(ctx, c[0], c[1], none); !errors.Is(err, ErrVersionNotFound) {
			t.Errorf("from %d to %d: %v", c[0], c[1], err)
		}
	}
	calls := 0
	must(t, s.Changes(ctx, 0, v, func(Change) bool { calls++; return calls < view.DifferBatch+7 }))
	if calls != view.DifferBatch+7 {
		t.Errorf("%d calls, the last of which had enough", calls)
	}
	ended, cancel := context.WithCancel(ctx)
	if err := s.Changes(ended, 0, v, func(Change) bool { cancel(); return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	purged := false
	must(t, s.Changes(ctx, v, last, func(Change) bool {
		purged = s.Purge(ctx, v) == nil
		return true
	}))
	if purged {
		t.Error("a version was purged while it was read")
	}
	must(t, s.Purge(ctx, v))
	if err := s.Changes(ctx, v, last, none); !errors.Is(err, ErrVersionNotFound) {
		t.Errorf("from a purged version: %v", err)
	}
	must(t, s.Close())
	if err := s.Changes(ctx, 0, last, none); err != ErrClosed {
		t.Errorf("of a closed store: %v", err)
	}
}

// What two versions share is not read: two that differ in a few keys are compared at a cost that follows those.
func TestChanges_ReadsWhatIsNotShared(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	for i := range 20_000 {
		must(t, s.Set(key8(i), make([]byte, 100)))
	}
	v := commit(t, s)
	for i := range 10 {
		must(t, s.Set(key8(i*7), []byte("new")))
	}
	w := commit(t, s)
	reads := s.Metrics().ColdReadCount
	if got := changed(t, s, v, w); len(got) != 10 {
		t.Errorf("%d changes", len(got))
	}
	if n := s.Metrics().ColdReadCount - reads; n > 200 {
		t.Errorf("%d records were read for 10 changes", n)
	}
}

// Cold files that two versions share are not read either, however much they hold.
func TestChanges_ReadsTheColdFilesThatAreNotShared(t *testing.T) {
	o := tiny()
	o.KeepVersions, o.indexPace = 10, shares.Pace{Uncovered: shareTestCut, ShareLength: 32 << 10}
	s := demoted(t, t.TempDir(), o)
	for i := range 20_000 {
		must(t, s.Set(key8(i), make([]byte, 100)))
	}
	commit(t, s)
	demoteAll(t, s)
	v := commit(t, s)
	files := len(s.current().Index.Cold)
	for i := range 10 {
		must(t, s.Set(key8(i*7), []byte("new")))
		must(t, s.Delete(key8(i*7+1)))
	}
	logged := commit(t, s)
	demoteAll(t, s)
	w := commit(t, s)
	if now := len(s.current().Index.Cold); files < 8 || now <= files {
		t.Fatalf("%d cold files, then %d: this shows nothing", files, now)
	}
	for _, c := range []struct {
		from, to checkpoint.Version
		changes  int
	}{{v, w, 20}, {w, v, 20}, {v, logged, 20}, {logged, w, 0}, {w, logged, 0}} {
		reads := s.Metrics().ColdReadCount
		if got := changed(t, s, c.from, c.to); len(got) != c.changes {
			t.Errorf("from %d to %d: %d changes, want %d", c.from, c.to, len(got), c.changes)
		}
		if n := s.Metrics().ColdReadCount - reads; n > 400 {
			t.Errorf("from %d to %d: %d records were read for %d changes", c.from, c.to, n, c.changes)
		}
	}
}

// A feed that has the changes of each version against the one before, by views, has the state of each.
func TestView_Changes(t *testing.T) {
	s, ctx := mustOpen(t, t.TempDir(), tiny()), context.Background()
	s.opts.KeepVersions = 1
	view := func() *View {
		p, err := s.BeginCheckpoint()
		must(t, err)
		w, err := p.View(ctx)
		must(t, err)
		return w
	}
	var last *View // whose changes the feed has
	feed := map[string]string{}
	for round := range 5 {
		for i := range 20 {
			must(t, s.Set(key8(i), []byte{byte(round * (i % 3))}))
		}
		must(t, s.Delete(key8(round)))
		now := view()
		calls := 0
		must(t, now.Changes(ctx, last, func(c Change) bool {
			if calls++; c.Deleted {
				delete(feed, string(c.Key))
			} else {
				feed[string(c.Key)] = string(c.Value)
			}
			return true
		}))
		if want := state(t, now.Scan); !maps.Equal(feed, want) {
			t.Fatalf("round %d: the feed has %v, the version %v", round, feed, want)
		}
		if round > 0 && calls > 16 { // the 6 or 7 that are always 0 have not changed
			t.Errorf("round %d: %d changes", round, calls)
		}
		if last != nil {
			must(t, now.Changes(ctx, now, func(Change) bool { t.Error("a version has changed against itself"); return false }))
			must(t, last.Close())
		}
		last = now
	}
	none := func(Change) bool { t.Error("called"); return false }
	other := mustOpen(t, t.TempDir(), tiny())
	must(t, other.Set(key8(1), nil))
	commit(t, other)
	w, err := other.OpenVersion(ctx, 0)
	must(t, err)
	if err := last.Changes(ctx, w, none); !errors.Is(err, ErrOtherStore) {
		t.Errorf("against a view of another store: %v", err)
	}
	must(t, w.Close())
	newest := view()
	must(t, last.Close())
	if err := newest.Changes(ctx, last, none); err != ErrClosed {
		t.Errorf("against a view that is closed: %v", err)
	}
	if err := last.Changes(ctx, nil, none); err != ErrClosed {
		t.Errorf("of a view that is closed: %v", err)
	}
	must(t, newest.Close())
}

// Whoever closes the older of two views, or the store, waits for no more than the changes that are being reported.
func TestView_ChangesEndWhenTheOlderViewIsClosed(t *testing.T) {
	s, ctx := mustOpen(t, t.TempDir(), tiny()), context.Background()
	must(t, s.Set(key8(0), nil))
	v := commit(t, s)
	for i := range 4 * view.DifferBatch {
		must(t, s.Set(key8(i), []byte("new")))
	}
	last := commit(t, s)
	old, err := s.OpenVersion(ctx, v)
	must(t, err)
	now, err := s.OpenVersion(ctx, last)
	must(t, err)
	defer now.Close()
	closed, calls := make(chan error, 1), 0
	err = now.Changes(ctx, old, func(Change) bool {
		if calls++; calls == 1 {
			go func() { closed <- old.Close() }()
			eventually(t, "the view to be closed", old.isClosed)
		}
		return true
	})
	if err != ErrClosed || calls > view.DifferBatch {
		t.Errorf("%d changes were reported, then %v", calls, err)
	}
	must(t, <-closed)
}
