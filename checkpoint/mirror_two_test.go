package checkpoint_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// TestMirror_CarriesOverTheOldLayout: a remote of an older release is read, its pieces are used, and it gets a sequence.
func TestMirror_CarriesOverTheOldLayout(t *testing.T) {
	m, remote := forest(t)
	old := newRemote(t)
	m.ok(checkpoint.OldLayout(t.Context(), m.d, remote, old))
	before := objects(t, old)
	wholeAt(t, m, old, 6)
	fetchable(t, m, old, 1, 2, 3, 4, 5, 6)
	if after := objects(t, old); !reflect.DeepEqual(after, before) {
		t.Fatalf("reading has changed it: %v, before %v", after, before)
	}
	m.commit(7, delta{log: 4096})
	for _, v := range []remotetest.Mode{remotetest.Before, remotetest.After} { // at the first of all writes
		old.Inject(remotetest.Fault{Verb: remotetest.Write, Mode: v})
		if _, err := m.mirror(old).Upload(t.Context(), 7); !errors.Is(err, remotetest.ErrInjected) {
			t.Fatal(err)
		}
		wholeAt(t, m, old, 6)
	}
	if sent := m.upload(old, 7); sent > 4096+3000 {
		t.Errorf("%d bytes sent for a delta of 4096", sent)
	}
	wholeAt(t, m, old, 7)
	_, err := m.mirror(old).Retain(t.Context(), 2)
	m.ok(err)
	m.ok(m.d.SetHead(6))
	if current, err := m.mirror(old).MoveHead(t.Context()); !current || err != nil {
		t.Errorf("current %v, %v", current, err)
	}
	wholeAt(t, m, old, 6)
	_, err = m.mirror(old).Sweep(t.Context())
	m.ok(err)
	fetchable(t, m, old, 6, 7)
}

// TestMirror_EntriesAreRemoved: the sequence stays short, whoever has written it.
func TestMirror_EntriesAreRemoved(t *testing.T) {
	m, remote := newMachine(t, 1), newRemote(t)
	mirror := m.mirror(remote)
	for v := checkpoint.Version(1); v <= 300; v++ {
		if v%50 == 0 {
			mirror = m.mirror(remote)
		}
		m.commit(v, delta{log: 4096 * uint64(v%2)})
		_, err := mirror.Upload(t.Context(), v)
		m.ok(err)
		_, err = mirror.Retain(t.Context(), 3)
		m.ok(err)
	}
	entries := 0
	for _, name := range objects(t, remote) {
		if strings.Contains(name, "/entries/") {
			entries++
		}
	}
	if entries > 220 {
		t.Errorf("%d entries after 300 versions", entries)
	}
	gets := remote.Calls(remotetest.Get)
	reader := m.mirror(remote)
	_, err := reader.Pull(t.Context())
	m.ok(err)
	if n := remote.Calls(remotetest.Get) - gets; n > 120 {
		t.Errorf("%d gets to open", n)
	}
	wholeAt(t, m, remote, 300)
}

// writer is one of two machines, and what it was told.
type writer struct {
	*machine
	mirror *checkpoint.Mirror
}

// TestMirror_TwoWritersAtRandom has two machines write to one remote, with calls that fail and answers that are lost. What
// was acknowledged last is what an empty machine gets, whatever the other one does, and what it was told.
func TestMirror_TwoWritersAtRandom(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	steps, refused := 0, 0
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 2))
		remote := newRemote(t)
		first := newMachine(t, 2*seed+1)
		first.commit(1, delta{log: 8192, image: 3000})
		first.upload(remote, 1)
		second := first.copyOf(2*seed + 2)
		writers := []*writer{{first, first.mirror(remote)}, {second, second.mirror(remote)}}
		next, head, content := checkpoint.Version(2), checkpoint.Version(1), first.content(1)
		for range 40 {
			w := writers[rng.IntN(2)]
			steps++
			if rng.IntN(3) == 0 {
				mode := []remotetest.Mode{remotetest.Before, remotetest.After, remotetest.Partial}[rng.IntN(3)]
				remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: mode, Nth: 1 + rng.IntN(12), Sticky: rng.IntN(2) == 0})
			}
			var err error
			moved := false
			op := rng.IntN(6)
			switch op {
			case 0, 1:
				w.commit(next, delta{log: 4096 * (1 + rng.Uint64N(3)), image: rng.IntN(2) * 2000})
				moved = true
				_, err = w.mirror.Upload(t.Context(), next)
				next++
			case 2:
				vs := w.d.Versions()
				w.ok(w.d.SetHead(vs[rng.IntN(len(vs))].Version))
				moved = true
				if _, err = w.mirror.Upload(t.Context(), w.current()); err == nil {
					_, err = w.mirror.MoveHead(t.Context())
				}
			case 3:
				_, err = w.mirror.Retain(t.Context(), 1+rng.IntN(3))
			case 4:
				_, err = w.mirror.Sweep(t.Context())
			case 5:
				w.mirror = w.machine.mirror(remote)
				if _, err = w.mirror.Pull(t.Context()); errors.Is(err, checkpoint.ErrDiverged) {
					w.machine = newMachine(t, rng.Uint64()) // gives its own versions up
					w.mirror = w.machine.mirror(remote)
					_, err = w.mirror.Pull(t.Context())
				}
			}
			fired := remote.Clear()
			switch {
			case err == nil && moved:
				head, content = w.current(), w.content(w.current())
			case errors.Is(err, checkpoint.ErrDiverged):
				refused++
			case err != nil && fired == 0:
				t.Fatalf("seed %d: %v", seed, err)
			}
			empty := newMachine(t, 1<<40)
			_, got := empty.mirror(remote).Pull(t.Context())
			w.ok(got)
			if empty.current() == head && empty.content(head) != content {
				t.Fatalf("seed %d: version %d differs", seed, head)
			}
			if empty.current() != head {
				if err == nil || !moved { // the entry of a call that failed may stand
					t.Fatalf("seed %d: an empty machine is at %d, %d was acknowledged (operation %d, %v)", seed, empty.current(), head, op, err)
				}
				head, content = empty.current(), empty.content(empty.current())
			}
		}
	}
	testkit.Counted(t, fmt.Sprintf("%d steps of two writers on one remote, %d refused", steps, refused))
	if refused == 0 {
		t.Error("nobody was ever refused")
	}
}

// TestMirror_RemoteIsEmptied: a remote directory that somebody empties and makes again gets everything anew, by the same
// objects that were using it.
func TestMirror_RemoteIsEmptied(t *testing.T) {
	root := filepath.Join(t.TempDir(), "remote")
	remote, err := checkpoint.NewDirRemote(root)
	must(t, err)
	m := newMachine(t, 1)
	mirror := m.mirror(remote)
	for v := checkpoint.Version(1); v <= 30; v++ { // with entries enough for some to be kept as witnesses
		m.commit(v, delta{log: 4096})
		_, err := mirror.Upload(t.Context(), v)
		m.ok(err)
		if v%14 == 0 {
			must(t, os.RemoveAll(root))
			must(t, os.Mkdir(root, 0o700))
			continue
		}
		wholeAt(t, m, remote, v)
	}
}
