// Package testkit is what tests wait with. Only tests import it, and they sleep in no other way: internal/lint holds
// both.
//
// A test waits for something by asking for it again and again, up to [Limit]: [Eventually], [Within]. To show that a
// goroutine waits, as it should, it is not enough that nothing has happened for a while: on a machine that is busy
// nothing happens either if the code is wrong. The test waits for the goroutine to stand where it waits, which
// [Stands] finds out from the stacks of the process, or for what must not happen, and then looks which of the two it
// was:
//
//	testkit.Eventually(t, "a writer that waits for the flusher", func() bool {
//		return wrong() || testkit.Stands("[sync.Mutex.Lock", ").flush(")
//	})
//	if wrong() {
//		t.Error(...)
//	}
package testkit

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// Limit is how long tests wait for what has to happen. It limits how long a test hangs, and says nothing about speed.
const Limit = time.Minute

// Eventually returns when ok returns true. It fails the test with the message if that takes longer than [Limit].
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Soon(ok) {
		t.Fatalf("waited in vain for %s", what)
	}
}

// Soon waits for ok to return true, and reports whether it has within [Limit].
func Soon(ok func() bool) bool {
	const (
		spins   = 100
		longest = time.Millisecond
	)
	began, pause := time.Now(), 20*time.Microsecond
	for n := 0; ; n++ {
		switch {
		case ok():
			return true
		case n < spins:
			runtime.Gosched()
		case time.Since(began) > Limit:
			return false
		default:
			time.Sleep(pause)
			pause = min(2*pause, longest)
		}
	}
}

// Within returns when f has returned. It fails the test with the message if that takes longer than [Limit]. f runs in a
// goroutine of its own.
func Within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(Limit):
		t.Fatalf("%s hangs", what)
	}
}

// Closed reports whether c is closed.
func Closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Stands reports whether there is a goroutine whose stack, as the runtime prints it, has all of parts: functions that
// it is in, as ").Restore(" or "hlog.commit(", and what it waits for, as "[sync.Mutex.Lock", "[chan receive" or
// "[sleep".
func Stands(parts ...string) bool {
	all := make([]byte, 64<<10)
	n := runtime.Stack(all, true)
	for n == len(all) {
		all = make([]byte, 2*len(all))
		n = runtime.Stack(all, true)
	}
	for stack := range bytes.SplitSeq(all[:n], []byte("\n\n")) {
		if has(stack, parts) {
			return true
		}
	}
	return false
}

func has(stack []byte, parts []string) bool {
	for _, p := range parts {
		if !bytes.Contains(stack, []byte(p)) {
			return false
		}
	}
	return true
}

// Pause takes that long. It is for load that leaves gaps and for callbacks that are slow. That a time has passed shows
// nothing: no test may wait with it for something to happen, or not to happen.
func Pause(d time.Duration) { time.Sleep(d) }
