package checkpoint_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
)

// aside returns a mirror that copies versions of the machine, which is another's.
func (m *machine) aside(r checkpoint.Remote) *checkpoint.Mirror {
	m.t.Helper()
	d, err := checkpoint.OpenDirWith(m.fs, "store", checkpoint.OpenOptions{Aside: true})
	m.ok(err)
	mirror, err := checkpoint.NewMirror(d, r, fast)
	m.ok(err)
	return mirror
}

// copyTo copies all versions, and returns the bytes that this took.
func (m *machine) copyTo(r checkpoint.Remote) (sent int64, err error) {
	mirror := m.aside(r)
	for _, v := range m.versions() {
		n, err := mirror.Upload(context.Background(), v)
		if sent += n; err != nil {
			return sent, err
		}
	}
	return sent, mirror.Follow(context.Background())
}

// wantHead looks where a remote opens, and which versions it has.
func wantHead(t *testing.T, r checkpoint.Remote, head checkpoint.Version, versions ...checkpoint.Version) {
	t.Helper()
	reader, err := checkpoint.NewRemoteReader(t.Context(), r, checkpoint.RemoteReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if reader.Head() != head || !slices.Equal(reader.Versions(), versions) {
		t.Errorf("the remote opens at version %d of %v, want %d of %v", reader.Head(), reader.Versions(), head, versions)
	}
}

// A directory that is rolled back, and goes on along another branch, takes the copies of its versions with it: at once, later,
// there and back.
func TestAside_FollowsRollbacks(t *testing.T) {
	m, r := newMachine(t, 1), newRemote(t)
	follow := func() {
		t.Helper()
		_, err := m.copyTo(r)
		m.ok(err)
	}
	for v := range checkpoint.Version(3) {
		m.commit(v+1, delta{log: 3000})
	}
	follow()
	wantHead(t, r, 3, 1, 2, 3)
	m.ok(m.d.SetHead(2))
	follow()
	wantHead(t, r, 2, 1, 2, 3)
	m.ok(m.d.SetHead(3))
	follow()
	wantHead(t, r, 3, 1, 2, 3)
	m.ok(m.d.SetHead(1))
	m.commit(4, delta{log: 3000})
	m.commit(5, delta{log: 3000})
	follow()
	wantHead(t, r, 5, 1, 2, 3, 4, 5)
	m.ok(m.d.SetHead(3))
	m.commit(6, delta{log: 3000})
	follow()
	wantHead(t, r, 6, 1, 2, 3, 4, 5, 6)

	other := newRemote(t) // which gets all of it at once
	_, err := m.copyTo(other)
	m.ok(err)
	wantHead(t, other, 6, 1, 2, 3, 4, 5, 6)
}

// A copy of the directory that has stayed behind does not take the remote back; one that has gone on elsewhere is refused.
func TestAside_RemoteHasGoneOn(t *testing.T) {
	m, r := newMachine(t, 1), newRemote(t)
	m.commit(1, delta{log: 3000})
	m.commit(2, delta{log: 3000})
	behind, back, elsewhere := m.copyOf(2), m.copyOf(3), m.copyOf(4)
	m.commit(3, delta{log: 3000})
	m.commit(4, delta{log: 3000})
	_, err := m.copyTo(r)
	m.ok(err)
	if sent, err := behind.copyTo(r); sent != 0 || err != nil {
		t.Errorf("%d bytes, %v", sent, err)
	}
	back.ok(back.d.SetHead(1)) // from a version that the remote has gone on from
	elsewhere.commit(3, delta{log: 3000})
	_, err = back.copyTo(r)
	m.ok(err)
	_, err = elsewhere.copyTo(r)
	wantErr(t, err, checkpoint.ErrDiverged)
	wantHead(t, r, 4, 1, 2, 3, 4)
}

// A copy that is interrupted at any put, in a process that ends, is gone on with by the next one: no piece goes up twice. What
// has changed on the remote meanwhile, so that a piece may go, is put again.
func TestAside_GoesOnWhereItWasInterrupted(t *testing.T) {
	m := newMachine(t, 1)
	m.commit(1, delta{log: 100_000, image: 50_000})
	m.commit(2, delta{log: 3000, share: 20_000})
	whole, err := m.copyTo(newRemote(t))
	m.ok(err)
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After, remotetest.Partial} {
		for nth := 1; ; nth++ {
			r := newRemote(t)
			r.Inject(remotetest.Fault{Verb: remotetest.Put, Mode: mode, Nth: nth, Sticky: true, Match: "/"})
			_, err := m.copyTo(r)
			if r.Clear() == 0 {
				m.ok(err)
				break
			}
			_, err = m.copyTo(r)
			m.ok(err)
			// What was cut off, or was there without an answer, is a piece; claims and the root are small.
			if extra := r.PutBytes() - whole; extra > int64(fast.PieceBytes)+1500 {
				t.Errorf("interrupted at put %d, mode %v: %d bytes more went up than without", nth, mode, extra)
			}
			wantHead(t, r, 2, 1, 2)
			m.wantWhole(r, 2)
		}
	}
}

// wantWhole pulls from a remote into an empty directory, and compares the version that it opens at.
func (m *machine) wantWhole(r checkpoint.Remote, v checkpoint.Version) {
	m.t.Helper()
	to := newMachine(m.t, 9)
	_, err := to.mirror(r).Pull(context.Background())
	m.ok(err)
	if to.current() != v || to.content(v) != m.content(v) {
		m.t.Errorf("the remote opens at version %d, which is not the version %d that was copied", to.current(), v)
	}
}

// Pieces that a sweep may be about to remove are not named again.
func TestAside_PiecesThatMayGo(t *testing.T) {
	m, r := newMachine(t, 1), newRemote(t)
	m.commit(1, delta{log: 3000})
	_, err := m.copyTo(r)
	m.ok(err)
	named := objects(t, r)
	m.commit(2, delta{log: 60_000})
	r.Inject(remotetest.Fault{Verb: remotetest.Put, Nth: 5, Sticky: true})
	if _, err := m.copyTo(r); err == nil {
		t.Fatal("nothing was interrupted")
	}
	r.Clear()
	doomed := slices.DeleteFunc(objects(t, r), func(name string) bool {
		return slices.Contains(named, name) || !strings.Contains(name, "/extents/")
	})
	if len(doomed) < 4 {
		t.Fatalf("the interruption has left %v", doomed)
	}
	r.Inject(remotetest.Fault{Verb: remotetest.Delete, Sticky: true}) // its deletions are under way for long
	if _, err := m.aside(r).Sweep(t.Context()); err == nil {
		t.Fatal("nothing was swept")
	}
	r.Clear()
	_, err = m.copyTo(r)
	m.ok(err)
	for _, name := range doomed {
		m.ok(r.Delete(t.Context(), name))
	}
	m.wantWhole(r, 2)
}
