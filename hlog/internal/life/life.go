package life

import (
	"context"
	"sync/atomic"
)

// Phase is where a store is in its life.
type Phase uint32

const (
	Opening Phase = iota
	Filling
	Open
	Closing
	Closed
	Failed
)

// Ends reports whether nothing new begins in the phase.
func (p Phase) Ends() bool { return p >= Closing }

// Over reports whether what the store has is given back in the phase.
func (p Phase) Over() bool { return p >= Closed }

// follows reports whether p may come after from (Y1).
func (p Phase) follows(from Phase) bool {
	switch p {
	case Filling:
		return from == Opening
	case Open, Failed:
		return from == Opening || from == Filling
	case Closing:
		return from == Open || from == Filling
	case Closed:
		return from == Closing
	}
	return false
}

func (p Phase) String() string {
	switch p {
	case Opening:
		return "opening"
	case Filling:
		return "filling"
	case Open:
		return "open"
	case Closing:
		return "closing"
	case Closed:
		return "closed"
	case Failed:
		return "failed"
	}
	return "no phase"
}

// Life is the phase of one store. Its methods may be called from any goroutine.
type Life struct {
	phase atomic.Uint32
	ctx   context.Context
	end   context.CancelFunc
}

// New returns the Life of a store that is being opened.
func New() *Life {
	l := &Life{}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// Phase returns the phase.
func (l *Life) Phase() Phase { return Phase(l.phase.Load()) }

// Move moves to a phase; it returns false, and changes nothing, if that does not follow the present one (Y1).
func (l *Life) Move(to Phase) bool {
	for {
		from := l.Phase()
		if !to.follows(from) {
			return false
		}
		if l.phase.CompareAndSwap(uint32(from), uint32(to)) {
			if to.Ends() {
				l.end()
			}
			return true
		}
	}
}

// Context ends when the store does not go on: with Closing or Failed.
func (l *Life) Context() context.Context { return l.ctx }
