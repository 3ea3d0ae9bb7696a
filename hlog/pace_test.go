package hlog

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// resting returns a pace whose pieces are over when it is asked, and which counts its rests.
func resting(s *Store, haste func() bool) (p *pace, rests *int) {
	p, rests = s.newPace(haste), new(int)
	p.rest = func(_ context.Context, d time.Duration) {
		if *rests++; d > maxRest {
			panic("a rest that is too long")
		}
	}
	return p, rests
}

// turnAfter is a turn after a long piece in which operations have read so often.
func turnAfter(t *testing.T, p *pace, reads int) {
	t.Helper()
	for range reads {
		p.s.counters.coldReads.Inc()
	}
	p.began = p.began.Add(-time.Hour)
	must(t, p.turn(t.Context()))
}

// Background work rests when operations read from disk meanwhile, and at no other time; not when there is haste (T36).
func TestPace_RestsForReadersOnly(t *testing.T) {
	s := demoted(t, "/store", tiny()) // or the background says itself whether there is haste
	defer s.Close()
	p, rests := resting(s, nil)
	own := false
	hasty, hastyRests := resting(s, func() bool { return own })
	for _, c := range []struct {
		name  string
		reads int
		begin func() (end func())
		rests int
	}{
		{"nobody reads", 0, nil, 0},
		{"somebody reads", 1, nil, 1},
		{"somebody waits for the lock", 1, s.compactor.haste.begin, 0},
		{"entries are made fast", 1, func() func() {
			s.relief.hurried.Store(true)
			return func() { s.relief.hurried.Store(false) }
		}, 0},
		{"operations wait for room", 1, func() func() {
			s.relief.behind.Store(true)
			return func() { s.relief.behind.Store(false) }
		}, 0},
		{"somebody reads again", 1, nil, 1},
	} {
		*rests = 0
		end := func() {}
		if c.begin != nil {
			end = c.begin()
		}
		turnAfter(t, p, c.reads)
		end()
		if *rests != c.rests {
			t.Errorf("%s: %d rests, want %d", c.name, *rests, c.rests)
		}
	}
	for own = range map[bool]bool{false: true, true: true} {
		*hastyRests = 0
		turnAfter(t, hasty, 1)
		if (*hastyRests == 0) != own {
			t.Errorf("a reason of the work's own is %v: %d rests", own, *hastyRests)
		}
	}
}

// A rest ends with the store and with its context, however long it would take (T36).
func TestPace_RestEndsWithTheStore(t *testing.T) {
	for _, byContext := range []bool{false, true} {
		s := mustOpen(t, "/store", tiny())
		ctx, cancel := context.WithCancel(context.Background())
		rested := make(chan struct{})
		go func() {
			s.rest(ctx, time.Hour)
			close(rested)
		}()
		if byContext {
			cancel()
		} else {
			must(t, s.Close())
		}
		within(t, "the rest", func() { <-rested })
		cancel()
		s.Close()
	}
}

// A demotion rests while it walks over the log, looks at newer records, and writes; what it does is the same.
func TestPace_DemotionRests(t *testing.T) {
	o := crowdedOptions(fsx.NewCrash(fsx.CrashOptions{}))
	o.ColdAfter, o.NoCompaction = math.MaxInt64/2, true
	s := mustOpen(t, "/store", o)
	defer s.Close()
	const keys = 40_000
	loadWords(t, s, 0, keys, 1)
	commit(t, s)
	loadWords(t, s, 0, keys, 2)
	evict(t, s)
	var now time.Time
	rests := 0
	slow := func() *demotion {
		d := s.newDemotion()
		d.limit, d.probes.Limit = 16<<20, 64<<10
		d.pace.clock = func() time.Time {
			now = now.Add(time.Second)
			s.counters.coldReads.Inc() // somebody reads all the while
			return now
		}
		d.pace.rest = func(context.Context, time.Duration) { rests++ }
		d.pace.began, d.pace.reads = now, -1
		return d
	}
	s.compactor.running.Lock()
	hold, _ := s.hold("a test")
	d := slow()
	end, err := d.collect(t.Context(), hold.Extents(s.log.Head()), hold.Begin(), s.log.Head())
	must(t, err)
	collected := rests
	switched, err := d.write(t.Context(), end)
	must(t, err)
	d.close()
	hold.Release()
	s.compactor.running.Unlock()
	if !switched || collected == 0 || rests == collected {
		t.Errorf("%d rests while records were collected, %d while they were written; the tier was switched: %v", collected, rests-collected, switched)
	}
	sameWords(t, s, 0, keys, 2)
}

// While somebody waits for Compact or Restore nothing rests (T36).
func TestPace_CallersMakeHaste(t *testing.T) {
	o := tiny()
	hooks := &readHookFS{FS: o.FS}
	o.FS, o.NoCompaction = hooks, true
	s := mustOpen(t, "/store", o)
	defer s.Close()
	x := s.NewSession()
	defer x.Close()
	spill(t, x, 600<<10)
	v := commit(t, s)
	spill(t, x, 600<<10)
	evict(t, s)
	commit(t, s)
	var reads, hasty atomic.Int64
	counts := func(name string, call func()) {
		t.Helper()
		reads.Store(0)
		hasty.Store(0)
		hooks.set(func(string) {
			reads.Add(1)
			if s.compactor.haste.reasons.Load() > 0 {
				hasty.Add(1)
			}
		})
		call()
		hooks.set(nil)
		if hasty.Load() == 0 || s.compactor.haste.reasons.Load() != 0 {
			t.Errorf("%s: haste at %d of %d reads, and %d reasons afterwards", name, hasty.Load(), reads.Load(), s.compactor.haste.reasons.Load())
		}
	}
	counts("Compact", func() { must(t, s.Compact(t.Context())) })
	counts("Restore", func() {
		_, err := s.Restore(t.Context(), v)
		must(t, err)
	})
}
