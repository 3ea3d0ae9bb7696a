package index

import (
	"runtime"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/invariant"
)

// stepper is what a test puts in the way of every step, see step. waiting says that the goroutine cannot go on before
// another one has done something.
var stepper atomic.Pointer[func(waiting bool)]

// step stands before each access to memory that another goroutine may be changing, outside the hot path. In the
// invariants build a test decides here who goes on, and otherwise the goroutine sometimes lets others run. In every
// other build it is nothing.
func step() {
	if !invariant.Enabled {
		return
	}
	if f := stepper.Load(); f != nil {
		(*f)(false)
	} else if invariant.Sometimes(1) {
		runtime.Gosched()
	}
}

// stepWaiting is step for a goroutine that waits; it reports whether a test has done the waiting.
func stepWaiting() bool {
	if !invariant.Enabled {
		return false
	}
	f := stepper.Load()
	if f != nil {
		(*f)(true)
	}
	return f != nil
}
