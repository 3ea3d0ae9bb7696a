package hlog

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Pages are opened as compaction goes over log, one after maxHeld without, and all of them when compaction or a cut needs one (K6).
func TestSpace_PagesAreHeldUpByCompaction(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	now := time.Now()
	p := &s.compactor.space
	page := int64(s.log.PageBytes())
	asked := func(what string, want int64) {
		t.Helper()
		if got := s.mayOpen(3 * page); got != want {
			t.Errorf("%s: %d bytes may be opened of %d, want %d", what, got, 3*page, want)
		}
	}
	asked("no compaction is behind", 3*page)

	// The pager must not ask meanwhile.
	s.log.Kick()
	p.clock = func() time.Time { return now }
	p.opened = now
	p.held.Store(1024)
	defer p.held.Store(0)
	asked("compaction has done nothing", 0)
	s.wentOver(page + page/2)
	asked("a page and a half was gone over", page)
	asked("half a page is left", 0)
	s.wentOver(page / 2)
	asked("the other half", page)
	s.wentOver(5 * page)
	asked("more than enough", 3*page)
	asked("what was left", 2*page)
	asked("nothing is left", 0)

	p.hold(true, 2*heldAt)
	s.wentOver(2 * page)
	asked("two pages of a log twice as long", page)
	asked("which were good for one", 0)

	now = now.Add(maxHeld)
	asked("held up for long enough", page)
	asked("and held up again", 0)

	done := p.urgently()
	asked("compaction waits for a page", 3*page)
	done()
	asked("it has it", 0)
	if err := s.units.shut(time.Second, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	asked("a cut waits for units", 3*page)
	s.units.Open()
	asked("the cut is done", 0)
}

// A page that is held up is opened, although compaction does nothing and no version comes (K6).
func TestSpace_HeldUpIsNotForEver(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	s.compactor.space.held.Store(1024)
	held := 0
	for i := 0; held < 3 && i < 1<<14; i++ {
		must(t, s.Set(key8(i), make([]byte, 1000)))
		n, _ := s.log.Stalls()
		held = int(n)
	}
	if held < 3 {
		t.Errorf("%d operations were held up", held)
	}
}

// Of a log that is far beyond its budget compaction takes what it may without waiting for another version.
func TestSpace_CompactionGoesOnWhileTheLogIsFarTooLong(t *testing.T) {
	o := tiny()
	o.NoCompaction = true // but by this test
	s := mustOpen(t, "/store", o)
	for range 60 {
		for i := range 500 {
			must(t, s.Set(key8(i), make([]byte, 200)))
		}
		commit(t, s)
	}
	s.disk.WriteRuns()
	eventually(t, "the merges", func() bool { return !mergeDue(s) }) // which find out what is dead
	target, size := s.compactTarget()
	if target == 0 || size < 1.5*hastyAt {
		t.Fatalf("the log is %.1f times its budget, which is too little for this test", size)
	}
	rounds := 0
	for more := true; more; rounds++ {
		var err error
		if more, err = s.compactIfDue(context.Background()); err != nil || rounds > 1000 {
			t.Fatal(rounds, err)
		}
	}
	if target, left := s.compactTarget(); target != 0 || left > hastyAt {
		t.Errorf("after %d rounds the log that is left is %.1f times its budget, and to be compacted to %d", rounds, left, target)
	}
	if rounds < 2 {
		t.Errorf("one round has compacted it from %.1f times its budget", size)
	}
}

// Updates of a state that is larger than memory, with a version after every 50,000: what the disk holds at the most for each byte
// that is live.
func BenchmarkSpace_UpdatesWithoutPause(b *testing.B) {
	const keys, size, every = 200_000, 100, 50_000
	s, err := Open(b.TempDir(), &Options{MemoryBytes: 16 << 20, KeepVersions: 2})
	must(b, err)
	defer s.Close()
	x := s.NewSession()
	rnd := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, size)
	most, n := int64(0), 0
	for b.Loop() {
		must(b, x.Set(key8(rnd.IntN(keys)), value))
		if n++; n%every == 0 {
			_, err := s.Checkpoint(context.Background())
			must(b, err)
			most = max(most, s.Metrics().DiskBytes)
		}
	}
	b.ReportMetric(float64(most)/(keys*(size+32)), "disk/live")
}

// Where a scan keeps compaction from its work there is no other round at once, and no page is held up: it may take long (K6).
func TestSpace_AScanDoesNotKeepPagesHeldUp(t *testing.T) {
	o := tiny()
	o.NoCompaction = true // but by this test
	s := mustOpen(t, "/store", o)
	must(t, s.Set([]byte("cold"), make([]byte, 100)))
	evict(t, s)
	commit(t, s)
	must(t, s.demoteTo(context.Background(), s.log.Head()))
	if s.cold.standing.Load() == nil {
		t.Fatal("there is no tier")
	}
	for range 240 {
		for i := range 500 {
			must(t, s.Set(key8(i), make([]byte, 200)))
		}
		commit(t, s)
	}
	s.disk.WriteRuns()
	eventually(t, "the merges", func() bool { return !mergeDue(s) })
	if _, size := s.compactTarget(); size <= heldAt {
		t.Fatalf("the log is %.1f times its budget", size)
	}
	must(t, s.Scan(context.Background(), func(_, _ []byte) bool {
		more, err := s.compactIfDue(context.Background())
		if more || err != nil {
			t.Errorf("another round is to follow at once: %v, %v", more, err)
		}
		if n := s.compactor.space.held.Load(); n != 0 {
			t.Errorf("pages are held up, %d bytes for each KiB, while nothing is compacted", n)
		}
		return false
	}))
	if more, err := s.compactIfDue(context.Background()); !more || err != nil {
		t.Errorf("behind the scan: %v, %v", more, err)
	}
}

// All log that was gone over counts, however short the walk was and however long its records.
func TestSpace_WhatWasGoneOverCounts(t *testing.T) {
	s := mustOpen(t, "/store", &Options{
		MemoryBytes: 32 << 20, PageBytes: 2 << 20, SegmentBytes: 4 << 20, NoCompaction: true, FS: tiny().FS,
	})
	for _, size := range []int{100, 1 << 20} {
		from := s.log.Tail()
		for s.log.Tail() < from+pieceBytes/2 {
			must(t, s.Set(key8(size), make([]byte, size)))
			s.log.ShiftReadOnly(s.log.Tail()) // the next is a record of its own
		}
		must(t, s.Set(key8(size), make([]byte, size)))
		end := s.log.Tail()
		p := &s.compactor.space
		p.held.Store(1024)
		p.credit.Store(0)
		w := s.log.NewWalker()
		err := s.newPace(nil).walk(context.Background(), w, from, end, func(word.Address, record.Bytes, record.Shape, bool) (bool, error) {
			return true, nil
		})
		w.Close()
		p.held.Store(0)
		must(t, err)
		if got, all := p.credit.Load(), int64(end-from); got < all/4 || got > all {
			t.Errorf("records of %d bytes: %d bytes of %d count", size, got, all)
		}
	}
}

// A unit that waits for a page gets it at once when a cut waits for the unit (K6).
func TestSpace_ACutDoesNotWaitForHeldUpPages(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	p, past := &s.compactor.space, time.Now().Add(-time.Hour)
	page := int64(s.log.PageBytes())
	s.log.Kick()
	p.clock = func() time.Time { return past } // no page is opened because it was held up for long enough
	p.opened = past.Add(time.Hour)
	p.held.Store(1024)
	defer p.held.Store(0)
	begun, x := make(chan struct{}), s.NewSession()
	unit := make(chan error, 1)
	go func() {
		unit <- x.Unit(func() error {
			close(begun)
			for i, tail := 0, s.log.Tail(); s.log.Tail() < tail+uint64(64*page); i++ {
				if err := x.Set(key8(i), make([]byte, 1000)); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	<-begun
	eventually(t, "the unit to wait for a page", func() bool { n, _ := s.log.Stalls(); return n > 0 })
	testkit.Pause(20 * time.Millisecond) // the pager has found by now that it may open none
	commit(t, s)
	must(t, <-unit)
}

// Who waits for a page that is held up sleeps, and so does the pager: they do not ask each other without pause.
func TestSpace_WhoIsHeldUpSleeps(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	p, past := &s.compactor.space, time.Now().Add(-time.Hour)
	var asked atomic.Int64
	s.log.Kick()
	p.clock = func() time.Time {
		asked.Add(1)
		return past
	}
	p.opened = past.Add(time.Hour)
	p.held.Store(1024)
	written := make(chan error, 1)
	go func() {
		for i, tail := 0, s.log.Tail(); s.log.Tail() < tail+uint64(64*s.log.PageBytes()); i++ {
			if err := s.Set(key8(i), make([]byte, 1000)); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	eventually(t, "somebody to wait for a page", func() bool { n, _ := s.log.Stalls(); return n > 0 })
	testkit.Pause(50 * time.Millisecond)
	if n := asked.Load(); n > 100 {
		t.Errorf("the pager was asked %d times", n)
	}
	s.holdPages(false, 0)
	must(t, <-written)
}
