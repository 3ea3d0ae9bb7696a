package lock

import (
	"strings"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/internal/invariant"
)

// panicOf returns what f panics with, "" if it does not.
func panicOf(f func()) (message string) {
	defer func() {
		if r := recover(); r != nil {
			message = r.(string)
		}
	}()
	f()
	return ""
}

// mustPanic demands that f panics with all the parts when invariants are compiled in, and runs f only then: without
// them what is wrong would wait for ever.
func mustPanic(t *testing.T, f func(), parts ...string) {
	t.Helper()
	if !invariant.Enabled {
		return
	}
	m := panicOf(f)
	for _, p := range parts {
		if !strings.Contains(m, p) {
			t.Fatalf("panic %q does not say %q", m, p)
		}
	}
}

func TestMutex_OrderIsKept(t *testing.T) {
	var outer Mutex[Cut]
	var inner Mutex[Flush]
	var leaf Mutex[Leaf]
	outer.Lock()
	inner.Lock()
	leaf.Lock()
	outer.Unlock() // in any order
	leaf.Unlock()
	inner.Unlock()

	inner.Lock()
	mustPanic(t, outer.Lock, "O1: Cut is taken while Flush is held", "lock_test.go:")
	inner.Unlock()
	outer.Lock() // nothing of the attempt is left
	defer outer.Unlock()
}

func TestMutex_SameRankIsOutOfOrder(t *testing.T) {
	var one, two Mutex[Leaf]
	one.Lock()
	mustPanic(t, one.Lock, "O1: Leaf is taken while Leaf is held")
	mustPanic(t, two.Lock, "O1: Leaf is taken while Leaf is held")
	one.Unlock()
}

func TestMutex_TryLockCountsAsHeld(t *testing.T) {
	var outer Mutex[Cut]
	var inner, other Mutex[Flush]
	inner.Lock()
	if !outer.TryLock() {
		t.Fatal("TryLock of a free lock fails")
	}
	mustPanic(t, other.Lock, "O1: Flush is taken while Flush is held", "held: Cut")
	if outer.TryLock() {
		t.Fatal("TryLock of a held lock succeeds")
	}
	outer.Unlock()
	inner.Unlock()
}

func TestMutex_IsGivenBackByItsHolder(t *testing.T) {
	var m Mutex[Cut]
	m.Lock()
	m.AssertHeld()
	var wg sync.WaitGroup
	wg.Go(func() {
		mustPanic(t, m.Unlock, "O2: Cut is given back")
		mustPanic(t, m.AssertHeld, "Cut is not held")
	})
	wg.Wait()
	m.Unlock()
	mustPanic(t, m.AssertHeld, "Cut is not held")
}

func TestRWMutex_ReadersKeepTheOrder(t *testing.T) {
	var table RWMutex[Table]
	var inner Mutex[Page]
	var outer Mutex[Cut]
	table.RLock()
	inner.Lock()
	mustPanic(t, table.RLock, "O1: Table is taken while Table is held")
	mustPanic(t, outer.Lock, "O1: Cut is taken while Table is held")
	inner.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { // another goroutine holds nothing
		table.RLock()
		defer table.RUnlock()
	})
	wg.Wait()
	table.RUnlock()
	table.Lock()
	mustPanic(t, table.RLock, "O1: Table is taken while Table is held")
	table.Unlock()
}

func TestMutex_ServesACondition(t *testing.T) {
	var m Mutex[Leaf]
	c := sync.Cond{L: &m}
	ready := false
	var wg sync.WaitGroup
	wg.Go(func() {
		m.Lock()
		defer m.Unlock()
		for !ready {
			c.Wait()
		}
	})
	m.Lock()
	ready = true
	m.Unlock()
	c.Broadcast()
	wg.Wait()
}
