package step

import (
	"sync"
	"sync/atomic"
	"testing"
)

// gated is a round that says when it begins and ends when it may.
type gated struct {
	began, goOn chan struct{}
	rounds      atomic.Int64
	inside      atomic.Int64
	overlapped  atomic.Bool
}

func newGated() *gated { return &gated{began: make(chan struct{}), goOn: make(chan struct{})} }

func (g *gated) round() {
	if g.inside.Add(1) > 1 {
		g.overlapped.Store(true)
	}
	g.rounds.Add(1)
	g.began <- struct{}{}
	<-g.goOn
	g.inside.Add(-1)
}

func TestJob_RoundsFollowEachOtherAndWakesDoNotAddUp(t *testing.T) {
	g := newGated()
	b := NewJobs(nil).Add("test", Pager, g.round)
	b.Start()
	b.Wake()
	<-g.began
	for range 5 {
		b.Wake() // during the round: another one, and only one
	}
	g.goOn <- struct{}{}
	<-g.began
	g.goOn <- struct{}{}
	b.Stop()
	if n := g.rounds.Load(); n != 2 || g.overlapped.Load() {
		t.Fatalf("%d rounds, some at a time: %v", n, g.overlapped.Load())
	}
}

func TestJob_WakesOfManyGoroutinesAreNotLost(t *testing.T) {
	var wanted, done atomic.Int64
	b := NewJobs(nil).Add("test", Pager, func() { done.Store(wanted.Load()) })
	b.Start()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				wanted.Add(1)
				b.Wake()
			}
		})
	}
	wg.Wait()
	b.Finish()
	if done.Load() != 8000 {
		t.Fatalf("the last round has seen %d of 8000", done.Load())
	}
}

func TestJob_BeginsAfterStart(t *testing.T) {
	var rounds atomic.Int64
	count := func() { rounds.Add(1) }
	never := NewJobs(nil).Add("test", Pager, count)
	never.Wake()
	never.Finish()
	if rounds.Load() != 0 {
		t.Fatal("a job that was never started has done a round")
	}
	b := NewJobs(nil).Add("test", Pager, count)
	b.Wake() // is remembered
	b.Start()
	b.Finish()
	b.Start()
	b.Wake()
	b.Stop()
	if rounds.Load() != 1 {
		t.Fatalf("%d rounds", rounds.Load())
	}
}

// Stop waits for the round that is under way, and for nothing else.
func TestJob_StopAndFinish(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*Job)
		want int64 // rounds, of which one is under way and one is asked for
	}{{"Stop", (*Job).Stop, 1}, {"Finish", (*Job).Finish, 2}} {
		g := newGated()
		b := NewJobs(nil).Add("test", Pager, g.round)
		b.Start()
		b.Wake()
		<-g.began
		b.Wake()
		ended := make(chan struct{})
		go func() {
			c.end(b)
			close(ended)
		}()
		for i := int64(1); ; i++ {
			select {
			case <-ended:
				t.Fatalf("%s has returned during a round", c.name)
			default:
			}
			if i < c.want {
				g.goOn <- struct{}{}
				<-g.began
				continue
			}
			break
		}
		waitForPhase(b, ending)
		b.Wake() // too late
		g.goOn <- struct{}{}
		<-ended
		if n := g.rounds.Load(); n != c.want {
			t.Errorf("%s: %d rounds", c.name, n)
		}
	}
}

// waitForPhase returns when b is in a phase, or past it.
func waitForPhase(b *Job, p phase) {
	for {
		b.mu.Lock()
		there := b.phase >= p
		b.mu.Unlock()
		if there {
			return
		}
	}
}

func TestJob_NilDoesNothing(t *testing.T) {
	var b *Job
	b.Start()
	b.Every(1)
	b.Wake()
	b.Finish()
	b.Stop()
}

func TestJob_EveryAsksUntilItIsStopped(t *testing.T) {
	rounds := make(chan struct{})
	ended := make(chan struct{})
	b := NewJobs(nil).Add("test", Pager, func() {
		select {
		case rounds <- struct{}{}:
		case <-ended:
		}
	})
	b.Start()
	b.Every(1)
	for range 5 {
		<-rounds
	}
	close(ended)
	b.Stop()
	b.Every(1)
	if b.timer.Stop() {
		t.Fatal("the clock still runs")
	}
}

func TestJobs_EndWaitsAndRefuses(t *testing.T) {
	j := NewJobs(nil)
	g := newGated()
	j.Once("test", Other, g.round)
	<-g.began
	ended := make(chan struct{})
	go func() {
		j.End()
		close(ended)
	}()
	for over := false; !over; {
		j.mu.Lock()
		over = j.ended
		j.mu.Unlock()
	}
	j.Once("test", Other, func() { t.Error("begun after End") })
	select {
	case <-ended:
		t.Fatal("End has not waited")
	default:
	}
	g.goOn <- struct{}{}
	<-ended
}

// A job of a store that works step by step does its rounds in the goroutine that gives it time.
func TestJob_StepByStep(t *testing.T) {
	w := New(1)
	jobs := NewJobs(w)
	rounds, once := 0, 0
	var b *Job
	b = jobs.Add("test", Chores, func() {
		if rounds++; rounds < 3 {
			b.Wake()
		}
	})
	b.Wake()
	w.Rest()
	if rounds != 0 {
		t.Fatal("a round before Start")
	}
	b.Start()
	b.Wake()
	jobs.Once("test", Other, func() { once++ })
	if rounds != 0 || once != 0 {
		t.Fatal("done outside a step")
	}
	w.One(Chores)
	if rounds != 1 {
		t.Fatalf("%d rounds in one step", rounds)
	}
	w.Rest()
	if rounds != 3 || once != 1 {
		t.Fatalf("%d rounds, %d", rounds, once)
	}
	b.Wake()
	b.Finish()
	b.Wake()
	w.Rest()
	if rounds != 4 {
		t.Fatalf("%d rounds after Finish", rounds)
	}
	jobs.Once("test", Other, func() { once++ })
	jobs.End()
	if once != 2 {
		t.Fatal("End has left something")
	}
}
