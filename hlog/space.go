package hlog

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// A log whose records are replaced all the time consists of dead records for the most part, and compaction empties it. Where the
// index on disk does not know keys by their hashes (K7), it often has to read the newest record of a key from disk to tell whether
// another is that, and writers read nothing: so they are faster, and without more the log would grow as long as they go on.
//
//	bytes of log, where 1 is the space budget: the live bytes, and spaceBudget times as much
//	   0 ............ 1 .................... hastyAt .............. heldAt ..............
//	     no compaction   a round for each      rounds without end     pages of log are opened
//	                     version, with rests   or rests, with more    as fast as compaction
//	                                           memory                 goes over old ones
//
// A log that is no longer than memory is not held up.
//
//	K6  A page is held up only while a round of compaction is under way or follows at once, and for maxHeld at the most; never when
//	    compaction itself waits for one, nor when a cut waits for units. So nobody waits for a version, or for a compaction that has
//	    nothing to do: who waits for a page waits as he does for a slow disk.

const (
	// spaceBudget is how many bytes of log, beyond the live ones, the store tolerates per live byte before it compacts.
	spaceBudget = 2
	hastyAt     = 1.5
	heldAt      = 2
	// maxHeld is how long the opening of a page is held up at the most.
	maxHeld = 200 * time.Millisecond
	// leastPart says that for each byte of log that compaction goes over at least an eighth of one is opened.
	leastPart = 8
	// minCompactSegments is the least log that is worth compacting, in segments.
	minCompactSegments = 2
)

// space holds up the opening of pages while compaction is far behind.
type space struct {
	held   atomic.Int64 // bytes of pages that are opened for each KiB of log that compaction goes over; 0: nothing is held up
	credit atomic.Int64 // bytes of pages that may be opened
	urgent atomic.Int64 // how many wait for a page on behalf of compaction

	opened time.Time        // of the pager: when pages were opened last
	wake   *time.Timer      // of the pager: asks it to look again
	clock  func() time.Time // time.Now, but in tests
}

// compactIfDue makes a round of compaction if the log is larger than the space budget allows. more reports that another one
// should follow at once.
func (s *Store) compactIfDue(ctx context.Context) (more bool, err error) {
	target, size := s.compactTarget()
	s.holdPages(target > 0 && s.log.Tail()-s.log.Begin() > uint64(s.memory.limit()), size)
	if target == 0 {
		return false, nil
	}
	hasty := size > hastyAt
	if hasty {
		defer s.compactor.haste.begin()()
	}
	before := s.ledger.EmptyBelow()
	err = s.compactTo(ctx, target, hasty)
	if err != nil || s.ledger.EmptyBelow() == before { // a scan keeps it from demoting
		s.holdPages(false, 0)
		return false, err
	}
	return hasty, nil
}

// holdPages is hold, and has the log open at once what is held up no more.
func (s *Store) holdPages(may bool, size float64) {
	p := &s.compactor.space
	before := p.held.Load()
	p.hold(may, size)
	if before > 0 && p.held.Load() == 0 {
		s.log.Kick()
	}
}

// compactTarget returns up to where the log is to be compacted next, 0 if it is not, and how large it is, where 1 is the space
// budget. What has been emptied belongs to the version until the next one, which leaves it out, and counts no more.
func (s *Store) compactTarget() (target uint64, size float64) {
	m := s.current()
	if m == nil || len(m.Extents) == 0 {
		return 0, 0
	}
	segment := s.segments.Bytes()
	begin := max(m.Extents[0].Start, s.ledger.EmptyBelow())
	log := checkpoint.Log(checkpoint.Trim(m.Extents, begin))
	left := log.Bytes()
	if left < minCompactSegments*int64(segment) {
		return 0, 0
	}
	size = float64(left) / float64(max((1+spaceBudget)*s.disk.LiveBytes(m), 1))
	if size <= 1 || begin > m.Extents[0].Start && size <= hastyAt {
		return 0, size
	}
	// An eighth of the log at a time, whole segments.
	target = min(begin+max(uint64(left)/8, segment), m.Cut) / segment * segment
	if target <= begin {
		return 0, size
	}
	return target, size
}

// hold has pages held up, or not, now that the log is so large. As many bytes are opened as compaction goes over, and the fewer
// the larger the log is, down to one in leastPart, so that it becomes shorter.
func (p *space) hold(may bool, size float64) {
	if !may || size <= heldAt {
		p.held.Store(0)
		return
	}
	if p.held.Load() == 0 {
		p.credit.Store(0) // none for what was gone over before
	}
	p.held.Store(max(int64(1024*heldAt/size), 1024/leastPart))
}

// wentOver says that compaction or demotion has gone over n bytes of log.
func (s *Store) wentOver(n int64) {
	p := &s.compactor.space
	if held := p.held.Load(); held > 0 {
		p.credit.Add(n / 1024 * held)
		s.log.Kick()
	}
}

// mayOpen is the log's hook Opens (K6). Where background work is done step by step nothing is held up.
func (s *Store) mayOpen(n int64) int64 {
	p := &s.compactor.space
	if p.held.Load() == 0 || s.units.IsShut() || s.background.work() != nil {
		return n
	}
	if p.urgent.Load() > 0 {
		// Others take most of what is opened for compaction, and wait the longer afterwards.
		if left := p.credit.Add(-n); left < -n {
			p.credit.Add(-n - left)
		}
		return n
	}
	page := int64(s.log.PageBytes())
	granted := min(max(p.credit.Load(), 0)/page*page, n)
	p.credit.Add(-granted)
	left := maxHeld - p.now().Sub(p.opened)
	if granted == 0 && left <= 0 {
		granted = page
	}
	if granted > 0 {
		p.opened = p.now()
		return granted
	}
	if p.wake == nil {
		p.wake = time.AfterFunc(left, s.log.Kick)
	} else {
		p.wake.Reset(left)
	}
	return 0
}

// releasePages has the log ask again for pages that are held up, if any are: units are waited for, and one may wait for a page.
func (s *Store) releasePages() {
	if s.compactor.space.held.Load() > 0 {
		s.log.Kick()
	}
}

// urgently is called by who waits for a page on behalf of compaction, and done when he has it.
func (p *space) urgently() (done func()) {
	p.urgent.Add(1)
	return func() { p.urgent.Add(-1) }
}

func (p *space) now() time.Time {
	if p.clock != nil {
		return p.clock()
	}
	return time.Now()
}
