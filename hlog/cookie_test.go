package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// What Options.Cookie tells of units describes the version exactly (U7): each unit of a worker raises a counter in the store
// and one in memory, the cookie has those in memory, and every version has the same in the store.
func TestOptions_CookieAgreesWithUnits(t *testing.T) {
	const workers = 4
	type place struct { // the workers' counters lie apart
		n atomic.Uint64
		_ [64]byte
	}
	var done [workers]place
	dir, o := t.TempDir(), tiny()
	o.KeepVersions = 1000
	o.Cookie = func() []byte {
		var b []byte
		for w := range done {
			b = binary.NativeEndian.AppendUint64(b, done[w].n.Load())
		}
		return b
	}
	s := mustOpen(t, dir, o)
	s.units.patience = time.Hour
	var ended atomic.Bool
	var all sync.WaitGroup
	for w := range uint64(workers) {
		all.Go(func() {
			x := s.NewSession()
			defer x.Close()
			counts, err := NewTable[uint64, uint64](x)
			must(t, err)
			for i := uint64(0); !ended.Load(); i++ {
				must(t, x.Unit(func() error {
					done[w].n.Add(i & 1)
					err := counts.Update(w, func(n *uint64, _ bool) { *n++ })
					done[w].n.Add(1 - i&1)
					return err
				}))
			}
		})
	}
	rounds := testkit.Scaled(20, 100, 1000, 5000)
	for range rounds {
		eventually(t, "a change", s.changed)
		s.checkpointIfChanged()
	}
	ended.Store(true)
	all.Wait()
	must(t, s.Set([]byte("last"), nil)) // a version for Close
	must(t, s.Close())

	s = mustOpen(t, dir, o)
	infos, err := s.Versions()
	must(t, err)
	if len(infos) < rounds {
		t.Fatalf("%d versions after %d rounds that each had something to commit", len(infos), rounds)
	}
	for _, info := range infos {
		w, err := s.OpenVersion(context.Background(), info.Version)
		must(t, err)
		for k := range uint64(workers) {
			b, err := w.Get(nil, binary.NativeEndian.AppendUint64(nil, k))
			if errors.Is(err, ErrNotFound) {
				b, err = make([]byte, 8), nil
			}
			must(t, err)
			if is, says := binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(info.Cookie[8*k:]); is != says {
				t.Fatalf("version %d has %d units of worker %d, its cookie says %d", info.Version, is, k, says)
			}
		}
		must(t, w.Close())
	}
}

// Whatever Options.Cookie waits for goes on after a while: then there is no version, and units go on (U4).
func TestOptions_CookieThatWaitsForWhoWaitsForTheGate(t *testing.T) {
	waits := map[string]func(s *Store) error{
		"a unit": func(s *Store) error {
			x := s.NewSession()
			defer x.Close()
			return x.Unit(func() error { return x.Set(key8(2), nil) })
		},
		"a checkpoint": func(s *Store) error { _, err := s.Checkpoint(context.Background()); return err },
		"a restore":    func(s *Store) error { _, err := s.Restore(context.Background(), 0); return err },
		"reads":        func(s *Store) error { _, err := s.Get(nil, key8(1)); return err },
	}
	for name, wait := range waits {
		t.Run(name, func(t *testing.T) {
			var s *Store
			var returned chan error // of the call that waits
			o := tiny()
			o.Cookie = func() []byte {
				if returned != nil {
					returned <- wait(s)
				}
				return []byte("cookie")
			}
			s = mustOpen(t, t.TempDir(), o)
			must(t, s.Set(key8(1), []byte("before")))
			commit(t, s)
			must(t, s.Set(key8(1), []byte("after")))
			returned = make(chan error, 1)
			s.units.patience = 20 * time.Millisecond
			if name == "reads" {
				s.units.patience = time.Hour // they wait for nothing
			}
			within(t, "a cookie that waits for "+name, s.checkpointIfChanged)
			must(t, <-returned)
			want := uint64(1)
			if name == "reads" {
				want = 0
			}
			if n := s.counters.checkpointErrors.Load(); n != want {
				t.Errorf("%d attempts have failed, want %d", n, want)
			}
			s.units.patience, returned = time.Hour, nil
			must(t, s.Set(key8(1), []byte("later")))
			eventually(t, "a version with a cookie", func() bool {
				s.background.pause = time.Time{}
				s.checkpointIfChanged()
				info, ok := s.Current()
				return ok && string(info.Cookie) == "cookie"
			})
		})
	}
}

// A call of Options.Cookie that never returns keeps nobody from anything but these versions: nobody else is asked to wait for
// it, and Close ends.
func TestOptions_CookieThatDoesNotReturn(t *testing.T) {
	dir, o := t.TempDir(), tiny()
	var calls atomic.Int64
	never := make(chan struct{})
	o.Cookie = func() []byte { calls.Add(1); <-never; return nil }
	s := mustOpen(t, dir, o)
	defer close(never)
	must(t, s.Set(key8(1), []byte("committed")))
	s.units.patience = 10 * time.Millisecond
	s.checkpointIfChanged()
	s.background.pause = time.Time{}
	s.units.patience = time.Hour
	lost := s.units.lost.Load()
	within(t, "the next round", s.checkpointIfChanged)
	if n, now := calls.Load(), s.units.lost.Load(); n != 1 || now != lost {
		t.Errorf("%d calls at the same time, the gate was shut for another %v", n, time.Duration(now-lost))
	}
	commit(t, s)
	must(t, s.Set(key8(1), []byte("not committed")))
	s.units.patience = 10 * time.Millisecond
	within(t, "Close", func() {
		if err := s.Close(); !errors.Is(err, ErrUnitBusy) {
			t.Errorf("Close: %v", err)
		}
	})
	o.Cookie = nil
	s = mustOpen(t, dir, o)
	if got, _ := s.Get(nil, key8(1)); string(got) != "committed" {
		t.Errorf("%q after reopening", got)
	}
}
