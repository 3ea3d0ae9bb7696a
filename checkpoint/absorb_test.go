package checkpoint_test

import (
	"context"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
)

// Pieces below 64 KiB are small for these mirrors, and those below 8 KiB of the lower class.
var wide = checkpoint.MirrorOptions{PieceBytes: 1 << 20, Attempts: 1}

// logPieces returns how many pieces of log lie on a remote.
func logPieces(t testing.TB, remote checkpoint.Remote) (n int) {
	for _, name := range objects(t, remote) {
		if strings.Contains(name, "/extents/") {
			n++
		}
	}
	return n
}

// TestUpload_SmallVersions uploads a long history of versions that are mostly small, with rollbacks: what the newest one
// consists of becomes few pieces, at a cost that follows the log; every version is there whole, and what none needs goes.
func TestUpload_SmallVersions(t *testing.T) {
	remote := newRemote(t)
	m := newMachine(t, 1)
	mirror, err := checkpoint.NewMirror(m.d, remote, wide)
	m.ok(err)
	contents := map[checkpoint.Version]string{}
	const last, manifest, perPiece = 200, 500, 32
	var log, sent int64
	for v := checkpoint.Version(1); v <= last; v++ {
		c := delta{log: 4096 * (1 + m.rng.Uint64N(2))}
		if v%50 == 0 {
			c.log = 4096 * (1 + m.rng.Uint64N(100))
		}
		if v%31 == 0 {
			all := m.d.Versions()
			m.ok(m.d.SetHead(all[len(all)-1-m.rng.IntN(4)].Version))
		}
		m.commit(v, c)
		if v%20 == 1 || v > last-3 {
			contents[v] = m.content(v)
		}
		n, err := mirror.Upload(t.Context(), v)
		m.ok(err)
		if most := int64(c.log) + 8*8192 + 8*65536 + manifest + 256*perPiece; n > most {
			t.Errorf("version %d: %d bytes sent for a delta of %d", v, n, c.log)
		}
		log += int64(c.log)
		sent += n - manifest
	}
	for v, want := range contents {
		empty := newMachine(t, 2)
		_, err := empty.mirror(remote).Fetch(t.Context(), v, checkpoint.FetchOptions{})
		m.ok(err)
		if empty.content(v) != want {
			t.Errorf("version %d differs", v)
		}
	}
	all := logPieces(t, remote)
	_, err = mirror.Retain(t.Context(), 1)
	m.ok(err)
	kept := logPieces(t, remote)
	t.Logf("%d bytes of log, %d sent; %d pieces of all versions, %d of the newest", log, sent, all, kept)
	if kept > 100 || sent > 5*log {
		t.Errorf("%d bytes of log, %d sent; %d pieces of the newest version", log, sent, kept)
	}
	if n, err := mirror.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("swept %d objects, %v, where nothing was interrupted", n, err)
	}
	wholeAt(t, m, remote, last)
}

// TestUpload_SmallVersionsInterrupted interrupts, at every call, an upload that puts small pieces again as one.
func TestUpload_SmallVersionsInterrupted(t *testing.T) {
	const last = 8
	begin := func() (*machine, *remotetest.Faulty) {
		m, remote := newMachine(t, 1), newRemote(t)
		for v := checkpoint.Version(1); v <= last; v++ {
			m.commit(v, delta{log: 4096})
			if v < last {
				mirror, err := checkpoint.NewMirror(m.d, remote, wide)
				m.ok(err)
				_, err = mirror.Upload(t.Context(), v)
				m.ok(err)
			}
		}
		return m, remote
	}
	m, remote := begin()
	before, pieces := remote.Calls(remotetest.Any), logPieces(t, remote)
	mirror, err := checkpoint.NewMirror(m.d, remote, wide)
	m.ok(err)
	_, err = mirror.Upload(t.Context(), last)
	m.ok(err)
	calls := remote.Calls(remotetest.Any) - before
	if got := logPieces(t, remote); pieces != last-1 || got != last {
		t.Fatalf("%d pieces before, %d afterwards", pieces, got)
	}
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After, remotetest.Partial} {
		for nth := 1; nth <= calls; nth++ {
			m, remote := begin()
			remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: mode, Nth: nth})
			mirror, err := checkpoint.NewMirror(m.d, remote, wide)
			m.ok(err)
			_, _ = mirror.Upload(t.Context(), last)
			remote.Clear()
			wholeAt(t, m, remote, last-1, last)
			_, err = mirror.Upload(t.Context(), last)
			m.ok(err)
			wholeAt(t, m, remote, last)
			_, err = mirror.Retain(context.Background(), 1)
			m.ok(err)
			_, err = mirror.Sweep(t.Context())
			m.ok(err)
			if got := logPieces(t, remote); got != 1 {
				t.Errorf("mode %d, call %d: the last version consists of %d pieces", mode, nth, got)
			}
			wholeAt(t, m, remote, last)
		}
	}
}

// TestUpload_SmallPieceDamagedHere: log that is damaged here does not take the place of what is whole on the remote.
func TestUpload_SmallPieceDamagedHere(t *testing.T) {
	m, remote := newMachine(t, 1), newRemote(t)
	for v := checkpoint.Version(1); v <= 7; v++ {
		m.commit(v, delta{log: 4096})
	}
	mirror, err := checkpoint.NewMirror(m.d, remote, wide)
	m.ok(err)
	for v := checkpoint.Version(1); v <= 7; v++ {
		_, err = mirror.Upload(t.Context(), v)
		m.ok(err)
	}
	m.commit(8, delta{log: 4096})
	want := m.content(8)
	damaged := m.copyOf(1)
	damaged.writeLog(4*4096, 5*4096) // some page of version 4
	if damaged.content(8) == want {
		t.Fatal("nothing is damaged")
	}
	mirror, err = checkpoint.NewMirror(damaged.d, remote, wide)
	m.ok(err)
	_, err = mirror.Upload(t.Context(), 8)
	m.ok(err)
	empty := newMachine(t, 2)
	_, err = empty.mirror(remote).Pull(t.Context())
	m.ok(err)
	if empty.content(8) != want {
		t.Error("an empty machine gets the damage")
	}
}

// TestFetch_PieceThatHoldsMore: the pieces of a version on the remote hold log that other versions have in pieces of their
// own. What is here already stays, in use or not, and what is damaged here is mended.
func TestFetch_PieceThatHoldsMore(t *testing.T) {
	m, remote := newMachine(t, 1), newRemote(t)
	upload := func(from, to checkpoint.Version) {
		mirror, err := checkpoint.NewMirror(m.d, remote, wide)
		m.ok(err)
		for v := from; v <= to; v++ {
			m.commit(v, delta{log: 4096})
			_, err = mirror.Upload(t.Context(), v)
			m.ok(err)
		}
	}
	upload(1, 7)
	behind := m.copyOf(1)
	upload(8, 8)
	fetch := func(t *testing.T, on *machine, v checkpoint.Version, live checkpoint.Live) int64 {
		t.Helper()
		mirror, err := checkpoint.NewMirror(on.d, remote, wide)
		m.ok(err)
		fetched, err := mirror.Fetch(t.Context(), v, checkpoint.FetchOptions{Live: live})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range on.versions() {
			if on.content(v) != m.content(v) {
				t.Errorf("version %d differs", v)
			}
		}
		return fetched
	}
	t.Run("log in use", func(t *testing.T) {
		current := behind.d.Current()
		live := checkpoint.Live{LogFrom: checkpoint.NoLiveLog, Log: checkpoint.Log(current.Extents)}
		if n := fetch(t, behind.copyOf(1), 8, live); n != 4096 {
			t.Errorf("%d bytes were fetched, 4096 are new", n)
		}
	})
	t.Run("damage", func(t *testing.T) {
		damaged := behind.copyOf(1)
		damaged.writeLog(4*4096, 5*4096)
		fetch(t, damaged, 8, checkpoint.Live{LogFrom: checkpoint.NoLiveLog})
	})
	t.Run("damage, of a version with the longer piece", func(t *testing.T) {
		damaged := m.copyOf(1)
		for v := checkpoint.Version(1); v < 8; v++ {
			_, err := damaged.d.Purge(v)
			m.ok(err)
		}
		damaged.writeLog(4*4096, 5*4096)
		fetch(t, damaged, 4, checkpoint.Live{LogFrom: checkpoint.NoLiveLog})
	})
	t.Run("another log", func(t *testing.T) {
		other := newMachine(t, 3)
		other.commit(9, delta{log: 4 * 4096})
		want := other.content(9)
		mirror, err := checkpoint.NewMirror(other.d, remote, wide)
		m.ok(err)
		_, err = mirror.Fetch(t.Context(), 8, checkpoint.FetchOptions{})
		wantErr(t, err, checkpoint.ErrDiverged)
		if other.content(9) != want {
			t.Error("it is overwritten")
		}
	})
}
