package reclog

import (
	"testing"
	"testing/synctest"
)

// What fills pages does not wait while a checkpoint has the flusher: pages that were written before make room. Nor does
// it take more than that: the frames of what is not written are not used again until the flusher is free.
func TestPager_OpensPagesWhileAFlushIsUnderWay(t *testing.T) {
	const pages = 64
	k := newKit(t, pages)
	k.fill(2 * pages * kitPage) // memory is full
	must(t, k.turn())           // and half of it written
	k.flushMu.Lock()
	written := k.Durability().Written()
	k.fill(pages / 4 * kitPage)
	for { // up to where the pager would have to wait for the flusher
		window := k.windowPages()
		wantLimit := k.pageStart(k.Tail()) + (k.aheadPages(window)+1)*kitPage
		if written < wantLimit-window*kitPage {
			break
		}
		if _, ok := k.try(1000); !ok {
			must(t, k.turn())
		}
	}
	if k.Head() > written || k.limit.Load()-k.pageStart(k.Head()) > pages*kitPage {
		t.Errorf("head %#x, limit %#x, written up to %#x: more than memory holds", k.Head(), k.limit.Load(), written)
	}
	turned := make(chan error)
	go func() { turned <- k.turn() }()
	k.flushMu.Unlock()
	must(t, <-turned)
	if k.Durability().Written() == written {
		t.Error("nothing was written when the flusher was free")
	}
	k.fill(pages * kitPage)
}

// The regions move in two steps: what was inside at the first has left before the second.
func TestRegions_DrainedBeforeTheSecondStep(t *testing.T) {
	// drains runs work while an operation is inside.
	drains := func(t *testing.T, k *kit, work func(), first, second func() bool) {
		k.guard.Enter()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			work()
		}()
		synctest.Wait() // until it waits, or has ended
		if !first() {
			t.Error("it has not taken the first step")
		}
		if second() {
			t.Error("it has not waited for an operation that is inside")
		}
		k.guard.Exit()
		<-ended
		if !second() {
			t.Error("it has not taken the second step")
		}
	}
	t.Run("H2", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKit(t, 16)
			k.fill(5 * kitPage)
			target := k.pageStart(k.Tail())
			drains(t, k, func() { k.ShiftReadOnly(target) },
				func() bool { return k.ReadOnly() >= target }, func() bool { return k.SafeReadOnly() >= target })
		})
	})
	t.Run("H3", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKit(t, 16)
			k.fill(5 * kitPage)
			target := k.pageStart(k.Tail())
			k.ShiftReadOnly(target)
			must(t, k.SyncTo(target))
			dropped := false
			k.pageMu.Lock()
			defer k.pageMu.Unlock()
			drains(t, k, func() { k.Log.evict(target, k.windowPages()); dropped = true },
				func() bool { return k.Head() >= target }, func() bool { return dropped })
		})
	})
}
