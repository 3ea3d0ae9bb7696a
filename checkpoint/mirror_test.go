package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// TestMirror_HundredVersions uploads a history with rollbacks, compaction, images, runs and purges. Each upload sends
// the delta, an image, a run or a share if there is a new one, and little else; an empty machine gets every version back.
func TestMirror_HundredVersions(t *testing.T) {
	const perVersion, perPiece = 500, 24 + 72 // manifest, and what names a piece, or a share
	remote := newRemote(t)
	m := newMachine(t, 1)
	mirror := m.mirror(remote)
	contents := map[checkpoint.Version]string{}
	var logBytes, overhead int64
	for v := checkpoint.Version(1); v <= 100; v++ {
		c := delta{log: 4096 * m.rng.Uint64N(6)}
		if v%10 == 3 {
			c.image = 1 + m.rng.IntN(30000)
		}
		if v%10 > 4 {
			c.run, c.merge = 1+m.rng.IntN(3000), m.rng.IntN(4)
		}
		if v%3 == 0 {
			c.share = 1 + m.rng.IntN(3000)
		}
		if current := m.d.Current(); v%15 == 0 {
			first := current.Extents[0].Start
			c.trim = first + (current.Cut-first)/3&^4095
		}
		if v%12 == 0 {
			m.ok(m.d.SetHead(m.d.Versions()[m.rng.IntN(len(m.d.Versions()))].Version))
		}
		m.commit(v, c)
		contents[v] = m.content(v)
		before := remote.PutBytes()
		sent, err := mirror.Upload(t.Context(), v)
		m.ok(err)
		if put := remote.PutBytes() - before; v > 1 && put != sent {
			t.Fatalf("version %d: says %d bytes were sent, it was %d", v, sent, put)
		}
		logBytes += int64(c.log) + int64(c.image+c.run+c.share)
		overhead += sent - int64(c.log) - int64(c.image+c.run+c.share)
		if limit := int64(c.log) + int64(c.image+c.run+c.share) + perVersion + perPiece*300; sent > limit {
			t.Fatalf("version %d: %d bytes sent for a delta of %d and index files of %d", v, sent, c.log, c.image+c.run+c.share)
		}
		for _, old := range m.d.Retain(8) {
			_, err := m.d.Purge(old)
			m.ok(err)
		}
	}
	t.Logf("100 uploads: %d bytes of log and images, %d bytes besides", logBytes, overhead)

	empty := newMachine(t, 2)
	got, err := empty.mirror(remote).Pull(t.Context())
	m.ok(err)
	if want := int64(len(contents[100])); empty.current() != 100 || empty.content(100) != contents[100] || got > 2*want+40000 {
		t.Fatalf("an empty machine is at %d, fetched %d bytes for %d", empty.current(), got, want)
	}
	mirror = empty.mirror(remote)
	for v, want := range contents {
		_, err := mirror.Fetch(t.Context(), v, checkpoint.FetchOptions{})
		m.ok(err)
		if empty.content(v) != want {
			t.Fatalf("version %d differs", v)
		}
	}
	empty.open()
	if empty.current() != 100 || len(empty.versions()) != 100 {
		t.Errorf("reopened at %d with %d versions", empty.current(), len(empty.versions()))
	}
	if n, err := mirror.Fetch(t.Context(), 50, checkpoint.FetchOptions{}); n != 0 || err != nil {
		t.Errorf("fetched again: %d bytes, %v", n, err)
	}
	_, err = mirror.Fetch(t.Context(), 101, checkpoint.FetchOptions{})
	wantErr(t, err, checkpoint.ErrNotFound)
}

// TestMirror_ManyPieces makes enough checkpoints for pieces to move into lists.
func TestMirror_ManyPieces(t *testing.T) {
	remote := newRemote(t)
	m := newMachine(t, 1)
	mirror := m.mirror(remote)
	const last = 800
	worst := int64(0)
	for v := checkpoint.Version(1); v <= last; v++ {
		c := delta{log: 4096}
		if v == 600 {
			c.trim = 4096 * 200 // in the middle of a list
		}
		m.commit(v, c)
		sent, err := mirror.Upload(t.Context(), v)
		m.ok(err)
		worst = max(worst, sent-4096)
		for _, old := range m.d.Retain(2) {
			_, err := m.d.Purge(old)
			m.ok(err)
		}
		_, err = mirror.Retain(t.Context(), 3)
		m.ok(err)
	}
	lists := 0
	for _, name := range objects(t, remote) {
		if strings.Contains(name, "/lists/") {
			lists++
		}
	}
	t.Logf("%d uploads: at most %d bytes beside the delta, %d lists", last, worst, lists)
	if worst > 24*400 || lists == 0 || lists > 8 {
		t.Errorf("at most %d bytes beside the delta, %d lists", worst, lists)
	}
	if n, err := m.mirror(remote).Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("swept %d objects, %v, where nothing was interrupted", n, err)
	}
	empty := newMachine(t, 2)
	_, err := empty.mirror(remote).Pull(t.Context())
	m.ok(err)
	if empty.current() != last || empty.content(last) != m.content(last) {
		t.Errorf("an empty machine is at %d, or differs", empty.current())
	}
}

func TestUpload_Repeated(t *testing.T) {
	remote := newRemote(t)
	m := newMachine(t, 1)
	m.commit(1, delta{log: 40960, image: 20000})
	m.commit(2, delta{log: 4096})
	first := m.upload(remote, 1, 2)
	if first < 40960+20000+4096 {
		t.Errorf("%d bytes sent", first)
	}
	puts := remote.Calls(remotetest.Put | remotetest.PutIfAbsent)
	mirror := m.mirror(remote)
	for range 2 {
		for _, v := range []checkpoint.Version{1, 2} {
			if n, err := mirror.Upload(t.Context(), v); n != 0 || err != nil {
				t.Errorf("version %d again: %d bytes, %v", v, n, err)
			}
		}
	}
	if n := remote.Calls(remotetest.Put|remotetest.PutIfAbsent) - puts; n != 0 {
		t.Errorf("%d puts", n)
	}
	if got := mirror.Known(); !reflect.DeepEqual(got, []checkpoint.Version{1, 2}) || mirror.Missing() != nil {
		t.Errorf("known %v, missing %v", got, mirror.Missing())
	}
	_, err := mirror.Upload(t.Context(), 7)
	wantErr(t, err, checkpoint.ErrNotFound)
}

// TestUpload_AfterGap uploads only what the remote lacks though the versions in between never got there, and the ones
// that did are gone locally.
func TestUpload_AfterGap(t *testing.T) {
	remote := newRemote(t)
	m := newMachine(t, 1)
	m.commit(1, delta{log: 65536})
	m.upload(remote, 1)
	m.commit(2, delta{log: 4096})
	for _, c := range []struct {
		purge checkpoint.Version // before the upload
		limit int64
	}{{0, 2 * 4096}, {1, 2 * 4096}, {2, 2 * 4096}} {
		copied, again := m.copyOf(3), newRemote(t)
		m.upload(again, 1)
		if c.purge == 1 { // the parent's checksum proves the history
			_, err := copied.d.Purge(1)
			m.ok(err)
		}
		next := checkpoint.Version(2)
		if c.purge == 2 { // nothing proves it but the bytes
			copied.commit(3, delta{log: 4096})
			next = 3
			for _, v := range []checkpoint.Version{1, 2} {
				_, err := copied.d.Purge(v)
				m.ok(err)
			}
			c.limit += 4096
		}
		if sent := copied.upload(again, next); sent > c.limit {
			t.Errorf("purged %d: %d bytes sent", c.purge, sent)
		}
		empty := newMachine(t, 2)
		_, err := empty.mirror(again).Pull(t.Context())
		m.ok(err)
		if empty.content(next) != copied.content(next) {
			t.Errorf("purged %d: version %d differs", c.purge, next)
		}
	}
}

// TestUpload_ImageIDOfAnotherImage: an image that was purged here, but is on the remote, has the id of a new one.
func TestUpload_ImageIDOfAnotherImage(t *testing.T) {
	for _, bytes := range []int{5000, 6000} {
		remote := newRemote(t)
		m := newMachine(t, 1)
		m.commit(1, delta{log: 4096})
		m.commit(2, delta{log: 4096, image: 5000})
		id := m.d.Current().Image.ID
		m.upload(remote, 2)
		m.ok(m.d.SetHead(1))
		_, err := m.d.Purge(2)
		m.ok(err)
		m.commitImage(3, delta{log: 4096, image: bytes}, id)
		m.upload(remote, 3)
		wholeAt(t, m, remote, 3)
		_, err = m.mirror(remote).Fetch(t.Context(), 2, checkpoint.FetchOptions{})
		wantErr(t, err, checkpoint.ErrDiverged) // there is one place for an image of this id
	}
}

// story is two versions on the remote and one that is being uploaded.
func story(t testing.TB) (m *machine, remote *remotetest.Faulty) {
	m, remote = newMachine(t, 1), newRemote(t)
	m.commit(1, delta{log: 20480, image: 9000})
	m.commit(2, delta{log: 8192})
	m.upload(remote, 1, 2)
	m.ok(m.d.SetHead(1))
	m.commit(3, delta{log: 20480, image: 17000})
	return m, remote
}

// wholeAt requires that an empty machine ends at version v, whole, or at one of the others.
func wholeAt(t testing.TB, m *machine, remote checkpoint.Remote, versions ...checkpoint.Version) {
	t.Helper()
	empty := newMachine(t, 2)
	_, err := empty.mirror(remote).Pull(t.Context())
	m.ok(err)
	if v := empty.current(); !slices.Contains(versions, v) || empty.content(v) != m.content(v) {
		t.Fatalf("an empty machine is at %d (want %v), or differs", v, versions)
	}
}

// TestUpload_InterruptedAtEveryCall: the remote's newest version is whole at any time, and the next attempt, by the
// same process or a new one, sends what is missing.
func TestUpload_InterruptedAtEveryCall(t *testing.T) {
	interrupted := 0
	const aPiece, entries = 8192, 2000
	m, remote := story(t)
	whole := m.upload(remote, 3)
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After, remotetest.Partial, remotetest.Truncate} {
		for _, sameProcess := range []bool{true, false} {
			for k := 1; ; k += testkit.UnderRace(5, 1) {
				m, remote := story(t)
				mirror, start := m.mirror(remote), remote.PutBytes()
				remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: mode, Nth: k, Sticky: true})
				_, err := mirror.Upload(t.Context(), 3)
				fired := remote.Clear()
				if (err != nil) != (fired > 0) {
					t.Fatalf("mode %d, call %d: %v, fired %d", mode, k, err, fired)
				}
				if fired == 0 {
					break
				}
				interrupted++
				before := remote.PutBytes()
				if mode != remotetest.Partial { // a part of a version's object: tested below
					wholeAt(t, m, remote, 1, 2, 3) // it was at 2; the rollback to 1 comes first
				}
				if !sameProcess {
					mirror = m.mirror(remote)
				}
				if _, err := mirror.Upload(t.Context(), 3); err != nil {
					t.Fatalf("mode %d, call %d, again: %v", mode, k, err)
				}
				for _, v := range mirror.Missing() { // one whose object could not be read in the first attempt
					if n, err := mirror.Upload(t.Context(), v); n != 0 || err != nil || v == 3 {
						t.Errorf("mode %d, call %d: version %d was missing: %d bytes, %v", mode, k, v, n, err)
					}
				}
				if mirror.Missing() != nil {
					t.Errorf("missing %v", mirror.Missing())
				}
				wholeAt(t, m, remote, 3)
				if all := remote.PutBytes() - start; sameProcess && all > whole+aPiece+entries {
					t.Errorf("mode %d, call %d: %d bytes were sent, of which %d after it, where %d are enough", mode, k, all, remote.PutBytes()-before, whole)
				}
			}
		}
	}
	t.Logf("%d interruptions", interrupted)
}

// TestUpload_Retries: passing errors of every kind are not noticed.
func TestUpload_Retries(t *testing.T) {
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After, remotetest.Partial, remotetest.Truncate} {
		for k := 1; ; k += testkit.UnderRace(5, 1) {
			m, remote := story(t)
			opts := fast
			opts.Attempts = 3
			mirror, err := checkpoint.NewMirror(m.d, remote, opts)
			m.ok(err)
			remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: mode, Nth: k})
			if _, err := mirror.Upload(t.Context(), 3); err != nil {
				t.Fatalf("mode %d, call %d: %v", mode, k, err)
			}
			fired := remote.Clear()
			wholeAt(t, m, remote, 3)
			if fired == 0 {
				break
			}
		}
	}
}

func TestUpload_GivesUp(t *testing.T) {
	m, remote := story(t)
	opts := fast
	opts.Attempts = 4
	mirror, err := checkpoint.NewMirror(m.d, remote, opts)
	m.ok(err)
	remote.Inject(remotetest.Fault{Verb: remotetest.Put, Sticky: true})
	before := remote.Calls(remotetest.Put)
	_, err = mirror.Upload(t.Context(), 3)
	wantErr(t, err, remotetest.ErrInjected)
	if n := remote.Calls(remotetest.Put) - before; n != 4 {
		t.Errorf("%d attempts", n)
	}
	if got := mirror.Missing(); !reflect.DeepEqual(got, []checkpoint.Version{3}) {
		t.Errorf("missing %v", got)
	}
	remote.Clear()
	_, err = mirror.Upload(t.Context(), 3)
	m.ok(err)
	wholeAt(t, m, remote, 3)
}

// TestMirror_BlockedRemote: every method returns when its context ends, also those that wait for their turn.
func TestMirror_BlockedRemote(t *testing.T) {
	m, remote := story(t)
	mirror := m.mirror(remote)
	remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: remotetest.Block, Sticky: true})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, call := range []func() error{
		func() error { _, err := mirror.Upload(ctx, 3); return err },
		func() error { _, err := mirror.Pull(ctx); return err },
		func() error { _, err := mirror.Fetch(ctx, 2, checkpoint.FetchOptions{}); return err },
		func() error { _, err := mirror.Retain(ctx, 1); return err },
		func() error { _, err := mirror.Sweep(ctx); return err },
		func() error { return mirror.Purge(ctx, 1) },
		func() error { return checkpoint.Destroy(ctx, identity, remote) },
	} {
		wg.Go(func() {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want context.Canceled", err)
			}
		})
	}
	mirror.Missing() // these do not wait
	mirror.Known()
	mirror.SentBytes()
	cancel()
	wg.Wait()
	remote.Clear()
	_, err := mirror.Upload(t.Context(), 3)
	m.ok(err)

	// The pause between attempts ends with the context, too.
	opts := fast
	opts.Attempts, opts.Backoff = 100, time.Hour
	slow, err := checkpoint.NewMirror(m.d, remote, opts)
	m.ok(err)
	remote.Inject(remotetest.Fault{Verb: remotetest.Any, Sticky: true})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := slow.Upload(ctx, 3)
		ended <- err
	}()
	testkit.Eventually(t, "the pause behind the first attempt", func() bool { return testkit.Stands("[select", ".(*Mirror).retry(") })
	cancel()
	err = <-ended
	wantErr(t, err, context.Canceled)
	wantErr(t, err, remotetest.ErrInjected)
}

func TestMirror_AnotherStore(t *testing.T) {
	m, remote := story(t)
	other := identity
	other.StoreID[5] = 1
	seeded := identity
	seeded.HashSeed++
	for _, id := range []checkpoint.Identity{other, seeded} {
		before := objects(t, remote)
		d, err := checkpoint.OpenDir(fsx.NewCrash(fsx.CrashOptions{}), "store", id, false)
		m.ok(err)
		m.ok(d.Commit(&checkpoint.Manifest{Version: 1}))
		mirror, err := checkpoint.NewMirror(d, remote, fast)
		m.ok(err)
		_, err = mirror.Upload(t.Context(), 1)
		wantErr(t, err, checkpoint.ErrStoreMismatch)
		_, err = mirror.Pull(t.Context())
		wantErr(t, err, checkpoint.ErrStoreMismatch)
		if after := objects(t, remote); !reflect.DeepEqual(after, before) {
			t.Errorf("objects %v, before %v", after, before)
		}
	}
	wantErr(t, checkpoint.Destroy(t.Context(), other, remote), checkpoint.ErrStoreMismatch)
	if id, err := checkpoint.RemoteIdentity(t.Context(), remote); id != identity || err != nil {
		t.Errorf("%v, %v", id, err)
	}
	_, err := checkpoint.RemoteIdentity(t.Context(), newRemote(t))
	wantErr(t, err, fs.ErrNotExist)
}

func TestMirror_Options(t *testing.T) {
	m := newMachine(t, 1)
	for _, bad := range []checkpoint.MirrorOptions{{PieceBytes: -1}, {PieceBytes: 1 << 30}, {Attempts: -1}, {Backoff: -1}} {
		if _, err := checkpoint.NewMirror(m.d, newRemote(t), bad); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
	told := map[string]int64{}
	opts := fast
	opts.Progress = func(name string, n int64) { told[name] += n }
	remote := newRemote(t)
	mirror, err := checkpoint.NewMirror(m.d, remote, opts)
	m.ok(err)
	m.commit(1, delta{log: 20480, image: 9000})
	sent, err := mirror.Upload(t.Context(), 1)
	m.ok(err)
	sum := int64(0)
	for _, n := range told {
		sum += n
	}
	if sum != sent || len(told) != 3+2+1+2+1 { // pieces, the version, its entry and the claim, STORE
		t.Errorf("told of %v, %d bytes were sent", told, sent)
	}
}

func TestMirror_ReadOnlyDirectory(t *testing.T) {
	m, remote := story(t)
	d, err := checkpoint.OpenDir(m.fs, "store", identity, true)
	m.ok(err)
	empty := newRemote(t)
	mirror, err := checkpoint.NewMirror(d, empty, fast)
	m.ok(err)
	_, err = mirror.Pull(t.Context())
	wantErr(t, err, fs.ErrNotExist) // nothing is claimed
	if got := objects(t, empty); got != nil {
		t.Errorf("objects %v", got)
	}
	mirror, err = checkpoint.NewMirror(d, remote, fast)
	m.ok(err)
	_, err = m.d.Purge(2)
	m.ok(err)
	_, err = mirror.Fetch(t.Context(), 3, checkpoint.FetchOptions{})
	wantErr(t, err, checkpoint.ErrNotFound)
	older, err := checkpoint.OpenDir(m.fs, "store", identity, true)
	m.ok(err)
	mirror, err = checkpoint.NewMirror(older, remote, fast)
	m.ok(err)
	_, err = mirror.Fetch(t.Context(), 2, checkpoint.FetchOptions{})
	wantErr(t, err, checkpoint.ErrReadOnly)
}

// A version is uploaded after its child, whose log went up with its own as one piece, which goes on in a segment that the
// version does not need.
func TestMirror_FetchOfAParentThatWentUpLater(t *testing.T) {
	m, remote := newMachine(t, 1), newRemote(t)
	mirror := m.mirror(remote)
	m.commit(1, delta{log: segmentBytes - 4096}) // to the end of the first segment
	m.commit(2, delta{log: 4096})
	for _, v := range []checkpoint.Version{2, 1} {
		_, err := mirror.Upload(t.Context(), v)
		m.ok(err)
	}
	empty := newMachine(t, 2)
	_, err := empty.mirror(remote).Fetch(t.Context(), 1, checkpoint.FetchOptions{})
	m.ok(err)
	if _, err := empty.d.Manifest(1); err != nil {
		t.Error(err)
	}
}

// TestMirror_Concurrent: uploads, fetches, retention and local purges at once; run with the race detector.
func TestMirror_Concurrent(t *testing.T) {
	remote := newRemote(t)
	m := newMachine(t, 1)
	mirror := m.mirror(remote)
	m.commit(1, delta{log: 8192})
	var wg sync.WaitGroup
	work := make(chan checkpoint.Version, 100)
	for range 3 {
		wg.Go(func() {
			for v := range work {
				if _, err := mirror.Upload(t.Context(), v); err != nil && !errors.Is(err, checkpoint.ErrNotFound) {
					t.Errorf("upload %d: %v", v, err)
				}
				if _, err := mirror.Retain(t.Context(), 4); err != nil {
					t.Errorf("retain: %v", err)
				}
				mirror.Missing()
				mirror.Known()
			}
		})
	}
	for v := checkpoint.Version(2); v < 40; v++ {
		m.commit(v, delta{log: 4096, image: int(v%5) * 100})
		work <- v
		for _, old := range m.d.Retain(3) {
			if _, err := m.d.Purge(old); err != nil && !errors.Is(err, checkpoint.ErrInUse) {
				t.Errorf("purge %d: %v", old, err)
			}
		}
	}
	close(work)
	wg.Wait()
	if _, err := mirror.Upload(t.Context(), 39); err != nil {
		t.Fatal(err)
	}
	wholeAt(t, m, remote, 39)
	if n, err := mirror.Sweep(t.Context()); err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	for _, v := range mirror.Known() {
		empty := newMachine(t, 2)
		if _, err := empty.mirror(remote).Fetch(t.Context(), v, checkpoint.FetchOptions{}); err != nil {
			t.Errorf("version %d: %v", v, fmt.Errorf("after the sweep: %w", err))
		}
	}
}
