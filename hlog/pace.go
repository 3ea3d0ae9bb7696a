package hlog

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Demotion, compaction and merges of cold files read and write as fast as the device lets them, and a read that an operation
// waits for waits for theirs. So they work in pieces, and rest after a piece for as long as it has taken, if operations have
// read from disk meanwhile: they have half of the device's time then. The length of a piece follows the device by itself.
//
//	piece     rest      piece     rest      piece    piece    piece          time ->
//	[#######]           [#######]           [######][#######][######]
//	   operations read from disk            | none does, or there is haste
//
// There is haste when somebody waits for what is done: operations for room in the index, a caller of Compact, a restore or
// Close for the lock; or when it cannot wait: entries are made fast, the log is much longer than it should be, or there are
// so many cold files that lookups pay for them.
//
//	T36 A rest is at most maxRest long, and ends with the store. Who waits for compactor.running, or for a merge to end, waits
//	    for one rest at most, and for none that begins after him.
//	T37 Nobody rests who holds a lock that an operation, a commit or a cut takes: rests come while records are read, sorted
//	    into files or compared, and the tier is switched after the last of them.
//	T38 Nothing but time depends on a rest: where background work is done step by step there is none.

const (
	// minPiece is how long a piece is at the least, and maxRest how long a rest is at the most.
	minPiece = time.Millisecond
	maxRest  = 20 * time.Millisecond
	// pieceBytes is how much of the log a walk goes over between two looks at the clock.
	pieceBytes = 256 << 10
	// manyColdFiles is how many cold files over one hash make a merge urgent, and maxColdDepth how many there are at the most.
	manyColdFiles = 16
	maxColdDepth  = 20
)

// haste counts the reasons why background work must not rest.
type haste struct{ reasons atomic.Int64 }

// begin adds a reason, which ends with the call of end.
func (h *haste) begin() (end func()) {
	h.reasons.Add(1)
	return func() { h.reasons.Add(-1) }
}

// pace lets background work of one goroutine rest.
type pace struct {
	s     *Store
	haste func() bool                                // may be nil: a reason of the work's own
	rest  func(ctx context.Context, d time.Duration) // Store.rest, but in tests
	clock func() time.Time                           // time.Now, but in tests
	began time.Time                                  // of the piece
	reads int64                                      // that operations had made then
}

func (s *Store) newPace(haste func() bool) *pace {
	return &pace{s: s, haste: haste, rest: s.rest, clock: time.Now, began: time.Now(), reads: s.counters.coldReads.Value()}
}

// turn is called between two pieces, or more often. The error is that of ctx, or ErrClosed when the store closes.
func (p *pace) turn(ctx context.Context) error {
	took := p.clock().Sub(p.began)
	if took < minPiece {
		return nil
	}
	if p.s.counters.coldReads.Value() != p.reads && !p.hurries() {
		p.rest(ctx, min(took, maxRest))
	}
	p.began, p.reads = p.clock(), p.s.counters.coldReads.Value()
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.s.check()
}

// hurries reports whether there is haste.
func (p *pace) hurries() bool {
	return p.s.background.work() != nil || p.s.hurried() || p.haste != nil && p.haste()
}

// rest returns after d, or when ctx ends or the store closes.
func (s *Store) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-s.life.Context().Done():
	}
}

// walk is w.Walk with a rest now and then.
func (p *pace) walk(ctx context.Context, w *reclog.Walker, from, to uint64, fn reclog.Visit) error {
	at, told := from, from
	defer func() { p.s.wentOver(int64(at - told)) }()
	return w.Walk(ctx, from, to, func(a word.Address, rec record.Bytes, sh record.Shape, memory bool) (bool, error) {
		if at = uint64(a); at-told >= pieceBytes {
			p.s.wentOver(int64(at - told))
			told = at
			if err := p.turn(ctx); err != nil {
				return false, err
			}
		}
		return fn(a, rec, sh, memory)
	})
}
