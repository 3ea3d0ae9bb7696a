package life

import (
	"sync"
	"sync/atomic"
	"testing"
)

var phases = []Phase{Opening, Filling, Open, Closing, Closed, Failed}

// at returns a Life that has come to a phase.
func at(t *testing.T, p Phase) *Life {
	t.Helper()
	l := New()
	for _, to := range map[Phase][]Phase{
		Filling: {Filling}, Open: {Open}, Closing: {Open, Closing}, Closed: {Open, Closing, Closed}, Failed: {Failed},
	}[p] {
		if !l.Move(to) {
			t.Fatalf("%v does not move to %v", l.Phase(), to)
		}
	}
	return l
}

func TestLife_MovesAlongTheArrowsOnly(t *testing.T) {
	allowed := map[[2]Phase]bool{{Opening, Open}: true, {Opening, Failed}: true, {Opening, Filling}: true, {Filling, Open}: true, {Filling, Failed}: true, {Filling, Closing}: true, {Open, Closing}: true, {Closing, Closed}: true}
	for _, from := range phases {
		for _, to := range phases {
			l := at(t, from)
			if got := l.Move(to); got != allowed[[2]Phase{from, to}] {
				t.Errorf("%v to %v: %v", from, to, got)
			} else if want := map[bool]Phase{true: to, false: from}[got]; l.Phase() != want {
				t.Errorf("%v to %v leaves %v", from, to, l.Phase())
			}
		}
	}
}

func TestLife_ContextEndsWhenTheStoreDoesNotGoOn(t *testing.T) {
	for _, p := range phases {
		l := at(t, p)
		if ended := l.Context().Err() != nil; ended != p.Ends() || p.Over() && !p.Ends() {
			t.Errorf("%v: the context has ended: %v", p, ended)
		}
	}
}

func TestLife_OneOfManyMovesIt(t *testing.T) {
	for range 100 {
		l := at(t, Open)
		var moved atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if l.Move(Closing) {
					moved.Add(1)
				}
			})
		}
		wg.Wait()
		if moved.Load() != 1 {
			t.Fatalf("%d have moved it", moved.Load())
		}
	}
}
