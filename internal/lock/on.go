//go:build invariants

package lock

import (
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// Mutex is a mutual exclusion lock of rank R.
type Mutex[R Rank] struct{ mu sync.Mutex }

// Lock takes the lock (O1).
func (m *Mutex[R]) Lock() {
	t := thisGoroutine()
	t.check(rankOf[R]())
	m.mu.Lock()
	t.push(m, rankOf[R]())
}

// TryLock takes the lock if nobody has it.
func (m *Mutex[R]) TryLock() bool {
	if !m.mu.TryLock() {
		return false
	}
	thisGoroutine().push(m, rankOf[R]())
	return true
}

// Unlock gives the lock back (O2).
func (m *Mutex[R]) Unlock() {
	thisGoroutine().pop(m, rankOf[R]())
	m.mu.Unlock()
}

// AssertHeld panics unless the calling goroutine holds the lock.
func (m *Mutex[R]) AssertHeld() {
	if t := thisGoroutine(); t.find(m) < 0 {
		t.fail("%s is not held", name(rankOf[R]()))
	}
}

// RWMutex is a reader/writer lock of rank R.
type RWMutex[R Rank] struct{ mu sync.RWMutex }

// Lock takes the lock for itself (O1).
func (m *RWMutex[R]) Lock() {
	t := thisGoroutine()
	t.check(rankOf[R]())
	m.mu.Lock()
	t.push(m, rankOf[R]())
}

// Unlock gives back what Lock took (O2).
func (m *RWMutex[R]) Unlock() {
	thisGoroutine().pop(m, rankOf[R]())
	m.mu.Unlock()
}

// RLock takes the lock together with others (O1): a goroutine that took it twice would wait for a writer that waits for
// the goroutine.
func (m *RWMutex[R]) RLock() {
	t := thisGoroutine()
	t.check(rankOf[R]())
	m.mu.RLock()
	t.push(m, rankOf[R]())
}

// RUnlock gives back what RLock took (O2).
func (m *RWMutex[R]) RUnlock() {
	thisGoroutine().pop(m, rankOf[R]())
	m.mu.RUnlock()
}

// rankOf returns the place of R in the order.
func rankOf[R Rank]() int {
	var r R
	for i, o := range order {
		if o == any(r) {
			return i
		}
	}
	panic(fmt.Sprintf("lock: %T is not in the order", r))
}

func name(rank int) string { return strings.TrimPrefix(fmt.Sprintf("%T", order[rank]), "lock.") }

// holder is a goroutine with the locks that it holds, in the order in which it took them. Only that goroutine uses it.
type holder struct {
	goroutine uintptr
	held      []taken
}

type taken struct {
	lock any
	rank int
	at   string // the place that took it
}

// holders has those goroutines that hold a lock, by their numbers.
var holders sync.Map

// thisGoroutine returns what is known of the calling goroutine.
func thisGoroutine() *holder {
	n := mem.Goroutine()
	if t, ok := holders.Load(n); ok {
		return t.(*holder)
	}
	return &holder{goroutine: n}
}

// check panics when a lock of a rank would break the order.
func (t *holder) check(rank int) {
	for _, h := range t.held {
		if h.rank >= rank {
			t.fail("O1: %s is taken while %s is held", name(rank), name(h.rank))
		}
	}
}

func (t *holder) push(lock any, rank int) {
	if len(t.held) == 0 {
		holders.Store(t.goroutine, t)
	}
	_, file, line, _ := runtime.Caller(2)
	t.held = append(t.held, taken{lock, rank, fmt.Sprintf("%s:%d", file, line)})
}

func (t *holder) pop(lock any, rank int) {
	i := t.find(lock)
	if i < 0 {
		t.fail("O2: %s is given back by a goroutine that does not hold it", name(rank))
	}
	t.held = append(t.held[:i], t.held[i+1:]...)
	if len(t.held) == 0 {
		holders.Delete(t.goroutine)
	}
}

// find returns where a lock is among those held, or -1.
func (t *holder) find(lock any) int {
	for i, h := range t.held {
		if h.lock == lock {
			return i
		}
	}
	return -1
}

// fail panics with the message and the locks that are held.
func (t *holder) fail(format string, args ...any) {
	var b strings.Builder
	fmt.Fprintf(&b, "invariant violated: "+format, args...)
	for _, h := range t.held {
		fmt.Fprintf(&b, "\n\theld: %s, taken at %s", name(h.rank), h.at)
	}
	panic(b.String())
}

// order is that of O1: the outermost first.
var order = [...]any{
	Merging{}, Compacting{}, Cut{}, Tier{}, DirCollecting{}, LedgerWriting{}, DirWriting{}, Mirror{}, Table{}, Flush{}, Page{},
	Ledger{}, SyncAside{}, View{}, Segments{}, Submit{}, Leaf{}, Waking{},
}
