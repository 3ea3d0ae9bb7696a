package epoch

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/internal/mem"
)

const (
	// linePair is the padding that keeps two cells from disturbing each other: lines of 64 bytes, fetched in pairs.
	linePair = 128
	// chunkCells makes a chunk exactly 4 KiB, which the allocator aligns to a page, hence every cell to a line pair.
	chunkCells = 4096 / linePair

	// spins is how often a waiting Synchronize yields before it sleeps: a guard is inside for well under a microsecond
	// unless its goroutine was descheduled.
	spins = 64
	// looks is how often it looks before it yields for the first time, some microseconds. A guard whose goroutine runs leaves
	// meanwhile. One whose goroutine does not has to be yielded to; but where goroutines that are ready never yield, that
	// takes a time slice of each of them.
	looks = 1000
	// Sleeping begins at minSleep and doubles up to maxSleep.
	minSleep = 20 * time.Microsecond
	maxSleep = 200 * time.Microsecond
)

// cell is where a guard says whether it is inside (E1), where its holder counts (E7), and where somebody asks to be told when
// it leaves (E8).
type cell struct {
	local  mem.Cell
	tally  Tally
	marked atomic.Bool
	_      [linePair - (1+tallyWords)*mem.WordBytes - 4]byte
}

const tallyWords = 4

// Tally is a few counters for the holder of a guard. They lie on the line that Enter and Exit write, so that counting there
// brings no other line into the cache. Only the goroutine that uses the guard may change them, with AddAlone.
type Tally [tallyWords]mem.Cell

type chunk [chunkCells]cell

// Manager is an epoch and its guards. All methods are safe from any goroutine.
type Manager struct {
	_ [linePair]byte
	// current is the epoch. Every Enter reads it, so that nothing that changes often may share its line.
	current mem.Cell
	_       [linePair - mem.WordBytes]byte

	// asymmetric says that Enter may store plainly, because barrier makes up for it.
	asymmetric bool
	// barrier makes every thread of the process execute a full memory barrier. It does nothing unless asymmetric.
	barrier func()

	// chunks holds every cell there is. Replaced under mu, never changed; cells are reused, not freed.
	chunks atomic.Pointer[[]*chunk]
	mu     sync.Mutex
	free   []*cell // cells without a guard, all 0 (E4)

	drain drain
}

// New returns a manager without guards. [Manager.Close] ends it.
func New() *Manager { return NewOn(nil) }

// NewOn is [New] with a function that has the actions of [Manager.Defer] run in the background, whenever it likes but
// before Close; nil: by a goroutine.
func NewOn(spawn func(func())) *Manager {
	m := newManager(membarrierWorks(), fenceThreads)
	m.drain.spawn = spawn
	return m
}

func newManager(asymmetric bool, barrier func()) *Manager {
	m := &Manager{asymmetric: asymmetric, barrier: barrier}
	if !asymmetric {
		m.barrier = func() {}
	}
	m.chunks.Store(&[]*chunk{})
	m.current.Store(1) // not 0, which means outside
	m.drain.idle.L = &m.drain.mu
	return m
}

// Synchronize adds one to the epoch and returns when every guard that was inside has left, or has left and entered
// again (E2). It must not be called by a goroutine that is inside: it would wait for itself. It takes about 10 µs
// when nobody is inside.
func (m *Manager) Synchronize() { m.SynchronizeUnless(nap) }

// nap does nothing at first, then yields, and sleeps when that has not helped.
func nap(try int) error {
	switch try -= looks; {
	case try < 0:
	case try < spins:
		runtime.Gosched()
	default:
		time.Sleep(min(minSleep<<min(try-spins, 8), maxSleep))
	}
	return nil
}

// SynchronizeUnless is [Manager.Synchronize] for a caller who knows better how to wait, or who may give up: pause is called
// whenever a guard has been looked at and is still inside, with how often it was called before for this guard. The first
// error that it returns ends the wait and is returned. E2 holds only if the result is nil.
func (m *Manager) SynchronizeUnless(pause func(try int) error) error {
	target := m.current.Add(1)
	if len(*m.chunks.Load()) == 0 {
		return nil // a guard that is registered from now on sees what was done before the call, without a barrier
	}
	m.barrier()
	// The list is loaded after the barrier: a guard of a chunk that is missing here has entered after it.
	for _, ch := range *m.chunks.Load() {
		for i := range ch {
			if err := ch[i].wait(target, pause); err != nil {
				return err
			}
		}
	}
	return nil
}

// Totals returns the sums of the tallies of all guards there are and ever were. They only grow (E7). It may be called from
// any goroutine; what is counted meanwhile is in it or not.
func (m *Manager) Totals() (sums [tallyWords]uint64) {
	for _, ch := range *m.chunks.Load() {
		for i := range ch {
			for k := range sums {
				sums[k] += ch[i].tally[k].Load()
			}
		}
	}
	return sums
}

// wait returns when the guard of c is outside or inside an epoch no older than target, or with the error of pause.
func (c *cell) wait(target uint64, pause func(try int) error) error {
	for try := 0; ; try++ {
		if e := c.local.Load(); e == 0 || e >= target {
			return nil
		}
		if err := pause(try); err != nil {
			return err
		}
	}
}

// acquire returns a cell that has no guard.
func (m *Manager) acquire() *cell {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.free) == 0 {
		ch := new(chunk)
		old := *m.chunks.Load()
		all := append(old[:len(old):len(old)], ch)
		m.chunks.Store(&all)
		for i := range ch {
			m.free = append(m.free, &ch[i])
		}
	}
	c := m.free[len(m.free)-1]
	m.free = m.free[:len(m.free)-1]
	return c
}

// giveBack clears c, whose guard is gone, and makes it available (E4).
func (m *Manager) giveBack(c *cell) {
	c.local.Store(0)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = append(m.free, c)
}
