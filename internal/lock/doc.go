// Package lock has the mutexes of a store and the one order in which goroutines take them, so that no two can wait for
// each other.
//
//	O1  A goroutine takes a lock only while every lock that it holds has an earlier rank. So it takes no lock twice, and
//	    no two of the same rank.
//	O2  A lock is given back by the goroutine that took it.
//	O3  Whoever holds a Leaf takes no lock, except to wake the background.
//
// The order is the list in on.go. The rank is part of a lock's type, and so stands where the lock is declared; the
// zero value of a lock is ready:
//
//	type Dir struct {
//		writing lock.Mutex[lock.DirWriting] // held by every call that changes files
//	}
//
// With the build tag "invariants" every Lock and RLock that breaks the order panics and names both locks, and so does
// an Unlock by a goroutine that does not hold the lock. Without it a Mutex is a sync.Mutex and costs nothing more. A
// TryLock never waits and therefore may be out of order, but what is taken after it may not.
package lock
