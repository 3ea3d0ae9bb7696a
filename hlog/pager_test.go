package hlog

import (
	"sync"
	"testing"
	"time"
)

// What fills pages does not wait while a checkpoint has the flusher: pages that were written before make room. Nor does
// it take more than that: it waits then, until the flusher is free.
func TestPager_OpensPagesWhileAFlushIsUnderWay(t *testing.T) {
	o := tiny()
	o.MemoryBytes, o.MutableFraction, o.NoCompaction = 8<<20, 0.5, true
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	defer x.Close()
	spill(t, x, 16<<20) // memory is full, and half of it written
	l := s.log
	window := l.windowPages()
	for {
		target := l.readOnlyTarget(l.tail.Load(), window, l.aheadPages(window))
		if l.flushed.Load() >= target {
			break
		}
		time.Sleep(time.Millisecond)
	}
	l.flushMu.Lock()
	free := sync.OnceFunc(l.flushMu.Unlock)
	defer free()
	within(t, "what fills pages that there is room for", func() { spill(t, x, 2<<20) })
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		spill(t, x, 8<<20)
	}()
	select {
	case <-filled:
		t.Error("pages were opened though nothing could be written")
	case <-time.After(50 * time.Millisecond):
	}
	if head, flushed := l.head.Load(), l.flushed.Load(); head > flushed {
		t.Errorf("the head is at %#x, beyond what is written, %#x", head, flushed)
	}
	free()
	within(t, "what fills the rest", func() { <-filled })
}
