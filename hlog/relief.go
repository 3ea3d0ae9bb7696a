package hlog

import (
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/step"
)

// An index that needs more memory than it may have is relieved by demotion: the entries of the oldest log are cleared. Nothing
// is demoted as long as the index may grow, nor before its entries take nearly half of the memory. Then the log cannot fit into the
// rest: a record takes at least twice as much as its entry.
//
//	memory for the entries, where 1 is indexShare of all that there is
//	   0 ......... relieved ... crowded .......... behind ........
//	               demotion     demotion begins,   operations that make an entry
//	               ends         on disk there is   wait for a round of demotion
//	                            log to demote
//
// How many entries there are is estimated from a sample of the buckets, before each round. Rounds demote what lies on disk, be
// it of a version or not: for a load without versions the memory is bounded, too. A version of the store's own would be a
// moment that nobody has chosen, with a cookie that nobody has given.
//
// Where operations make entries faster than demotion clears them, they wait, outside the epoch, each for as many rounds as
// maxTurns says, at most. Then they go on: the index takes more overflow buckets, and shares entries when it has no memory for
// those either. Operations on keys that have an entry do not wait.

const (
	// An index is crowded when its entries take indexShare of 20 parts of the memory, which is nearly half: what it has room for besides its main buckets is cheaper
	// than demotion. Records of a state that nearly fits are changed again soon: each would go to the cold tier and come back,
	// and demotion reads from disk whether what lies in the log is still the newest. Far beyond, keys would share entries.
	indexShare = 9
	// entryBytes is what an entry takes: buckets have 64 bytes and 7 slots, and about half of them an overflow bucket.
	entryBytes = 12

	crowded  = 1.00
	relieved = 0.95
	behind   = 1.05
	// maxTurns is how many rounds an operation waits for, and maxTurn how long for each, in case that somebody else compacts.
	maxTurns = 8
	maxTurn  = time.Second
	// maxRounds is how many rounds are made before the rest of housekeeping has its turn.
	maxRounds = 16
)

// relief is what is known of an index that may not grow.
type relief struct {
	full    atomic.Bool // the index was refused memory
	behind  atomic.Bool // operations that make entries wait
	hurried atomic.Bool // entries are made so fast that rounds are to be long, until the index is relieved
	broken  atomic.Bool // a demotion has failed; the next comes when the index is full once more, or after a commit
	active  bool        // of the job that demotes: it has begun, and goes on until the index is relieved

	mu   lock.Mutex[lock.Leaf]
	turn chan struct{} // of mu: closed at the end of the round under way, or of the next; nil: nobody waits
}

// relieves reports whether the store demotes by itself.
func (s *Store) relieves() bool { return s.writable && s.opts.ColdAfter >= 0 }

// indexFull notes that the index may not grow.
func (s *Store) indexFull() {
	if s.relieves() {
		s.relief.full.Store(true)
		s.kickMaintenance()
	}
}

// logGrown is called when the log has grown by a page.
func (s *Store) logGrown() {
	s.background.merges.Wake()
	if s.relief.full.Load() || s.opts.ColdAfter > 0 && !s.relief.broken.Load() {
		s.kickMaintenance()
	}
}

// reliefTarget returns up to where the log, which begins at begin, is to be demoted to relieve the index, if it is.
func (s *Store) reliefTarget(begin uint64) (target uint64, due bool) {
	r := &s.relief
	if !s.relieves() || !r.full.Load() {
		return 0, false
	}
	load, growing, ok := s.crowd()
	if !ok {
		return 0, false
	}
	if load < relieved/2 {
		r.full.Store(growing) // it has been allowed to grow since
	}
	least := crowded
	if r.active {
		least = relieved
	}
	target = s.log.Head()
	r.active = load >= least && target > begin
	r.hurried.Store(r.active && (r.hurried.Load() || load >= (crowded+behind)/2))
	if r.active && load >= behind {
		r.behind.Store(true)
		s.index().HoldUp()
	} else {
		r.behind.Store(false)
	}
	return target, r.active
}

// crowd returns how crowded the index is, and whether it grows; ok is false when the store is closed.
func (s *Store) crowd() (load float64, growing, ok bool) {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	if s.check() != nil {
		return 0, false, false
	}
	entries, growing := s.index().Crowd()
	return float64(entries*entryBytes) / float64(s.memory.entriesMax()), growing, true
}

// demotable reports whether the log of version m, which may be nil, can be demoted: there must be no image of old.
func demotable(m *checkpoint.Manifest) bool { return m == nil || m.Image == nil }

// awaitRelief lets demotion make room in the index, if that is behind. The session is outside the epoch.
func (s *Session) awaitRelief() {
	r := &s.store.relief
	if s.unpaced || s.unit != nil && s.unit.Active() {
		return // else demotion would wait for itself, or for a cut that waits for the unit
	}
	for range maxTurns {
		if !r.behind.Load() {
			return
		}
		turned := r.next()
		if !r.behind.Load() { // the round may have ended before
			return
		}
		s.store.background.work().Until(closed(turned), step.Chores)
		select {
		case <-turned:
		case <-s.store.life.Context().Done():
			return
		case <-time.After(maxTurn):
			return
		}
	}
}

// next returns a channel that is closed when a round of demotion has ended.
func (r *relief) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn == nil {
		r.turn = make(chan struct{})
	}
	return r.turn
}

// turned ends the wait of those who wait for the end of a round.
func (r *relief) turned() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn != nil {
		close(r.turn)
		r.turn = nil
	}
}

// failed says that a round has ended with an error: the next should not come at once.
func (r *relief) failed() {
	r.full.Store(false)
	r.broken.Store(true)
}

// rest says that there will be no round for some time.
func (r *relief) rest() {
	r.behind.Store(false)
	r.turned()
}
