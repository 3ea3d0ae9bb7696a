// Package epoch tells when nobody can be looking at something any more: a page frame that is to be reused, a bucket
// array that was replaced, a version whose operations must have ended. It is the epoch protection of FASTER
// (Chandramouli et al., SIGMOD 2018, section 2.3), with guards that cost what two plain stores cost.
//
// # Terms
//
// The epoch is a counter that only grows. A [Guard] is a cell of 64 bits on a cache line of its own (two, because
// the hardware fetches lines in pairs) that one goroutine uses at a time. Between [Guard.Enter] and [Guard.Exit] the
// goroutine is inside, and what it finds through shared pointers stays valid; outside the cell is 0, inside it
// holds the epoch that Enter saw:
//
//	epoch      5        6                       7
//	           |        |                       |
//	guard A  0 | 5 . . .|. . . . 0              |           Synchronize (5 -> 6) waits for A ...
//	guard B  0 |        | 6 . . . . . . . . . . | . . 0     ... not for B, which entered after the bump
//	guard C  0 |        |                       |           ... and never for C, which is outside
//	                    +-- Synchronize ---> returns when A has left
//
// [Manager.Synchronize] adds one to the epoch and waits until no cell holds an older one. [Manager.Defer] hands an
// action to a goroutine that does the waiting; the goroutine exists only while actions are pending.
//
// The writer's side is always the same three steps:
//
//  1. take the thing out of every shared place where it can be found, by an atomic operation;
//  2. Synchronize (or Defer the third step);
//  3. reuse it.
//
// # Invariants
//
//	E1  A cell is 0 while its guard is outside, and holds a value the epoch had at or before Enter while it is inside.
//	E2  When Synchronize returns, every guard that was inside when it was called has been outside since. So whatever
//	    was taken out of reach before the call is reached by nobody after it.
//	E3  An action runs exactly once, after E2 holds for its Defer, and never at the same time as another action.
//	E4  A cell belongs to at most one guard; it is 0 when it goes back to the free list.
//	E5  Enter and Exit never wait. Guards that are idle, leaked, blocked or being registered stop no other guard; one
//	    that stays inside holds up Synchronize and the actions, and nothing else.
//	E6  A guard is not collected as garbage between Enter and Exit.
//	E7  A tally is never set back: a guard that gets a used cell counts on from where the one before it ended. So the sums
//	    over all cells hold what every guard has counted, those that were released or forgotten included.
//	E8  A guard that Mark has counted and that calls TakeMark after its Exit finds the mark, once. Mark sets the mark and
//	    then looks whether the guard is inside; the guard exits and then looks for the mark, by an atomic operation that no
//	    earlier store of it passes. One of the two sees the other.
//
// # Why plain stores are enough on amd64
//
// The danger is one reordering. Enter stores the cell and then the goroutine loads shared pointers; a machine may
// make the load first and let the store wait in its buffer. A Synchronize that scans the cells in that instant finds
// 0, returns, and the thing is reused under the reader. The usual remedy, a fence in every Enter, costs 4 ns, and
// worse, keeps the CPU from overlapping the cache misses of neighbouring operations.
//
// The fence can be moved to the rare side. membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) makes every running thread of
// the process execute a full barrier before it returns (threads that are not running execute one when they are
// switched to). Let U be the step that takes a thing out of reach, M the membarrier, S the scan, in this order; for
// a reader let C be the store to its cell and L its later loads. M falls somewhere into the reader's program order:
//
//	reader:  C  L           the barrier is after C: C is visible to S, which waits for the reader     (E2)
//	            ^ M
//	reader:     C  L        the barrier is before C, so before L: U is visible to L, which cannot     (E2)
//	         ^ M            find the thing
//
// Exit stores 0 plainly: amd64 never lets a store pass older loads or stores, so a scan that sees the 0 comes after
// everything the reader did. The value that Enter stores may be old, if the goroutine was descheduled between
// reading the epoch and storing it. Then a Synchronize waits for it although it need not; the argument above does
// not use the value, only that it is neither 0 nor newer than the epoch. A reader that stores the newest epoch, for
// which S does not wait, has read it from the bump, which comes after U.
//
// Go adds two things to this. The compiler keeps a store before every later atomic load and after every earlier
// one, so U and the first of L must be atomic operations; internal/mem has no other kind. And a goroutine may
// continue on another thread; the scheduler hands it over through locked instructions, which are full barriers.
//
// Where membarrier is missing (other systems, kernels before 4.14, sandboxes that forbid it), on other machines, and
// under the race detector, which must see the edges, Enter stores sequentially consistent. On arm64 that is a
// store-release, which the load-acquires of internal/mem do not pass.
//
// # Guards that are forgotten
//
// A guard that becomes unreachable while registered is given back by the garbage collector, even if it was left
// inside: its cell is cleared, and who waited for it goes on. E6 makes that sound, because Exit keeps the guard
// reachable: a guard that is collected inside will never execute another Exit, hence nobody is between the two.
package epoch
