//go:build !invariants

package lock

import "sync"

// Mutex is a mutual exclusion lock of rank R.
type Mutex[R Rank] struct{ sync.Mutex }

// AssertHeld panics unless the calling goroutine holds the lock; without the tag it does nothing.
func (m *Mutex[R]) AssertHeld() {}

// RWMutex is a reader/writer lock of rank R.
type RWMutex[R Rank] struct{ sync.RWMutex }
