//go:build linux && amd64 && !race

package epoch

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// plainEnter says that this build can enter with a plain store, if the kernel has membarrier.
const plainEnter = true

// Commands of membarrier(2).
const (
	membarrierPrivateExpedited         = 1 << 3
	membarrierRegisterPrivateExpedited = 1 << 4
)

// membarrierWorks registers the process for expedited barriers, once, and reports whether it may use them.
var membarrierWorks = sync.OnceValue(func() bool {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterPrivateExpedited, 0, 0)
	return errno == 0 && membarrier()
})

// Prepare begins to register the process, which takes milliseconds once it has several threads. [New] waits for it:
// whoever calls Prepare early has the time for other work.
func Prepare() { go membarrierWorks() }

// membarrier makes the call without a word to the scheduler, which would take the processor away from a goroutine whose call
// takes its time, and give it back behind all that are ready to run. The call waits for nothing but interrupts.
func membarrier() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_MEMBARRIER, membarrierPrivateExpedited, 0, 0)
	return errno == 0
}

// fenceThreads makes every thread of the process execute a full memory barrier. It takes some 10 µs.
func fenceThreads() {
	if !membarrier() {
		// It worked when it was registered; a sandbox that was put up since may have taken it away.
		stopTheWorld()
	}
}

// stopTheWorld is a dearer barrier: every goroutine is stopped and started again through atomic operations.
func stopTheWorld() {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
}
