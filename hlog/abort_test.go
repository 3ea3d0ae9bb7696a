package hlog

import (
	"context"
	"maps"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
)

// Abort commits nothing but the checkpoints that have begun, and waits neither for units nor for a remote that does not answer.
func TestAbort_CommitsNothing(t *testing.T) {
	r := onRemote(t, 2, 50)
	s := r.store
	want := maps.Clone(r.versions[r.newest])
	must(t, s.Set([]byte("begun"), []byte("v")))
	want["begun"] = "v"
	r.remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: remotetest.Block, Sticky: true})
	pending, err := s.BeginCheckpoint()
	must(t, err)
	must(t, s.Set([]byte("half"), []byte("of a batch")))
	x := s.NewSession()
	inside, aborted := make(chan struct{}), make(chan struct{})
	unit := make(chan error, 1)
	go func() {
		unit <- x.Unit(func() error {
			close(inside)
			<-aborted
			return x.Set([]byte("unit"), nil)
		})
	}()
	<-inside
	within(t, "Abort", func() { must(t, s.Abort()) })
	close(aborted)
	if err := <-unit; err != ErrClosed {
		t.Errorf("the unit that was under way: %v", err)
	}
	for what, err := range map[string]error{"Abort": s.Abort(), "Close": s.Close(), "Set": s.Set([]byte("k"), nil)} {
		if err != ErrClosed {
			t.Errorf("%s afterwards: %v", what, err)
		}
	}
	if _, err := pending.Wait(context.Background()); err == nil {
		t.Error("the version that had begun is said to be on the remote")
	}
	r.remote.Clear()
	o := s.opts
	o.Remote = nil
	s = mustOpen(t, "store", &o)
	if got := live(t, s); !maps.Equal(got, want) {
		t.Errorf("opened again there are %d keys, want %d", len(got), len(want))
	}
	must(t, s.Set([]byte("k"), nil)) // a log with a gap goes on
	commit(t, s)
	must(t, s.Close())
	want["k"] = ""
	if got := live(t, mustOpen(t, "store", &o)); !maps.Equal(got, want) {
		t.Errorf("in the end there are %d keys, want %d", len(got), len(want))
	}
}

// Abort of a store that is being filled waits for nothing, and loses what was written early.
func TestAbort_WhileTheDirectoryIsFilled(t *testing.T) {
	r := onRemote(t, 2, 50)
	must(t, r.store.Close())
	g := newGated(r.remote)
	s := mustOpen(t, "elsewhere", filledFrom(g))
	must(t, s.Set([]byte("early"), nil))
	within(t, "Abort", func() { must(t, s.Abort()) })
	if _, err := s.Get(nil, []byte("early")); err != ErrClosed {
		t.Errorf("a read afterwards: %v", err)
	}
	close(g.open)
	if got := live(t, mustOpen(t, "elsewhere", filledFrom(g))); !maps.Equal(got, r.versions[r.newest]) {
		t.Errorf("opened again there are %d keys, want %d", len(got), len(r.versions[r.newest]))
	}
}
