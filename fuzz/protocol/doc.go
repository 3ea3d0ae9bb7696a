// Package protocol explores a model of the engine: every order in which the steps of a few operations, the pager,
// checkpoints, compaction, growth of the index and a restore can follow each other. The model is a pure function from
// a state and an actor to the next state. Nothing in it waits, and no clock and no scheduler decides anything, so
// that a finding is a list of steps that can be read, and no finding means that there is none within the bounds.
//
// # What is modelled
//
//	sessions    two, with up to two operations each: get, set, delete, update (a token is appended), take (an
//	            update that deletes); session.go follows hlog's get.go, set.go, delete.go and rmw.go
//	keys        two, whose records share one chain
//	log         up to 12 records, each on a page of its own; an address is a record's number
//	pager       raises readOnly, waits, raises safeReadOnly and flushes, raises head, waits, reuses the frames
//	warming     of what is only on disk: lowers head
//	checkpoint  up to two: notes the tail, begins the next version, waits, moves the tail to the cut and covers the
//	            gap, raises readOnly, waits, flushes and commits, which raises begin
//	compaction  of the current version, whichever that is; conditional copies, dropped tombstones, freed entries
//	growth      publishes a table, claims the bucket, freezes it, moves its entries, waits, gives the old table back;
//	            the entry goes to one bucket, or is a catch-all and goes to two
//	units       the operations of a session may be one unit: it passes the gate, and leaves after the last of them; units.go
//	            follows hlog/internal/units. Checkpoint and restore shut the gate, wait for units, and open it when the next
//	            version has begun, or operations are paused; they may give up, and try again
//	carrying    an update that goes first is written in a later version than it has read in, unless a restore has come
//	            between; carry.go follows hlog's fairness.go
//	pages       may be held up while a compaction is under way; hold.go follows hlog's space.go. One is opened for each record
//	            that compaction goes over, when compaction itself waits for one, and when a cut waits for units
//	restore     pauses, waits, makes all read-only, rewinds the entries, goes on from a version of the base or from a
//	            checkpoint
//
// Not modelled: keys whose entries are being made by two sessions (package index explores that by itself), images,
// errors of the disk, restores to another branch (they rebuild the index and share nothing with the old one).
//
// # Steps
//
// A step is one access to shared memory, with Config.Fine. Otherwise steps of one actor are run together where the
// order in which others come in between makes no difference to anybody:
//
//	loading the entry and following the chain    links never change, and a change of the state word makes the
//	                                             compare-and-swap that follows fail (not while frames are reused)
//	sealing and allocating                       others either touch the state word or the tail: what comes in
//	                                             between can as well come before or after both
//	locking and writing                          nobody looks at a locked record
//	failing to publish and undoing the copy      others see a sealed record for a shorter time, and retry less often
//	reading, for a get or an update              what changes in between lets the update fail and start over
//
// An abandoned record is taken out of the log and the addresses above it move down: nobody ever looks at it, and
// addresses matter only by their order.
//
// An epoch's Synchronize is the set of guards that were inside when it began; it is over when each has left once.
//
// # What must hold
//
// In every state:
//
//	P1  A record does not change after it was flushed, and is not flushed while it is locked or its fate is open.
//	P2  Nobody reads or writes a frame after it was reused, nor an entry of a table that was given back.
//	P3  Somebody can do a step, unless everything has ended; and somebody else than compaction can, while a cut waits for
//	    units and pages are held up (K6).
//	P7  An update that goes first starts over only if what it has read was changed, has left memory, or was restored (H10).
//
// In every state in which everything has ended:
//
//	P4  Linearizability: there is an order of all operations and the restore, as if one ran after the other, in which
//	    each comes after those that had returned when it was called, each sees what the ones before it made, and which
//	    ends with what the keys hold. Every write has a token of its own, so that one that is lost, doubled or torn
//	    cannot be explained away.
//	P5  Durable prefix: recovering a version gives what the keys held at one moment of such an order. All that had
//	    returned when BeginCheckpoint was called comes before that moment, nothing that was called after it had
//	    returned does.
//	P6  Units are whole: there are such orders in which no version and no restore comes between two operations of a unit.
//
// In P5 an operation that has changed nothing (a get, a deletion of what is absent) must come after what it has seen,
// but may come after what it has not seen as well. More cannot be had without waiting: an operation of the old
// version may take effect after BeginCheckpoint has returned, and whoever looks in between sees the store without it
// although the version holds it. So a version is closed under causes, and is a moment in the history of all updates; it
// is not a moment in the history of all reads.
//
// # Planted mistakes
//
// A search that finds nothing proves something only if it would have found it. Each [Plant] leaves out one measure of
// the protocol and must be caught; some are bugs that the engine has had. Two mistakes are none: a restore need not
// begin a new log version, and an update may be carried over it. An update that has read
// before the restore and writes after it finds its record by an address that is never used again, compares its
// state, and would write to a record only if it held the same value in both worlds.
package protocol
