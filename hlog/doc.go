// Package hlog is an embedded key-value store for update-heavy hot state: a concurrent hash index over a hybrid log,
// after FASTER. Hot records are updated in place in memory, the rest of a state that may be far larger than memory lies
// in segment files, and versions of the state are committed at a cost that follows what has changed.
//
//	store, err := hlog.Open(dir, nil)
//	counts, err := hlog.NewTable[uint64, uint64](store.NewSession())
//	err = counts.Update(42, func(n *uint64, existed bool) { *n++ })
//	info, err := store.Checkpoint(ctx, hlog.WithCookie(offsets))
//
// The methods of [Store] may be called from any goroutine. A [Session] has the same operations for the loop of one
// goroutine, and Multi calls for many keys at a time; a [Table] is a typed view of a session, without encoding. All of
// them see the same keys, and every single-key operation is linearizable. [Session.Unit] keeps several operations together
// in one version.
//
// A write is in memory when it returns. It is durable once a version that holds it is: after a crash the store opens at
// the newest version whose [PendingCheckpoint.Wait] or [Store.Checkpoint] returned nil, or at a later one.
// [Store.Close] commits a version. [Store.Restore] takes the running store back to any version that is kept, and
// [Store.OpenVersion] reads one while the store goes on.
//
// A store that is running is copied by [View.WriteTo]: it writes a version, which stays whole for as long as the view is open,
// as one stream, out of which [Import] makes a directory elsewhere; [View.WriteDelta] then brings it to a later version. Or
// give the store a remote (Options.Remote) and open an empty directory with that, or none at all: [OpenRemote] reads a version
// where it lies, and a [Follower] goes where the remote goes. Package checkpoint has the format of streams. A copy made file by
// file (cp, tar, rsync) beside a running store may lack files: Open refuses it with ErrCorrupt, or opens it at a version that it
// has got, and never takes it for a new store.
//
// Errors are matched with [errors.Is] against the variables of this package; those of the file system and of a context
// come through as they are. Damage is never returned as a value or as ErrNotFound: it is ErrCorrupt, for the keys it
// affects only.
//
// What follows is for those who work on the package.
//
// # The log
//
// Addresses are byte offsets in one endless log. Memory holds its newest part in a ring of page frames:
//
//	begin            head        safeReadOnly  readOnly             tail   limit
//	  |  on disk       |  read-only    |  fuzzy    |    mutable       |      |
//	  +----------------+---------------+-----------+------------------+------+
//	  read from disk,   copied to the   sealed and   updated in place   open for
//	  outside the epoch tail to change  copied       under their lock   allocation
//
// The index maps a hash to the newest record of a chain; a record's link leads to the next older one, of any key that
// shares the entry. What a record is made of, and how it is read and changed in place, is in package record, with the
// rules about a single record (W1 to W5). How the regions move, and the way to the disk and back, is in package reclog,
// with the rules about frames, blocks and buffers (H2, H3, H8, D1 to D4).
//
//	H1  Addresses strictly descend along a chain, and versions never ascend. Address order is the order of effect.
//	H4  A record at or above safeReadOnly is sealed, by compare-and-swap of its state, before a copy that supersedes it
//	    is published; in-place updates fail on a sealed record. So none is lost between copy and publication, and a
//	    record there that is unsealed and unchanged is the newest of its key.
//	H6  Nobody waits inside the epoch: for a page, for disk, for a restore, for a callback.
//	H10 A user's callback runs outside the epoch and holds nothing. Its result is written only if the record is in the
//	    state, and the store in the version, that its input was read in. An update that checkpoints have kept from that
//	    many times is written in a later version, unless the store was restored meanwhile (fairness.go).
//
// One write, in order: find the entry; find the key's newest record down to safeReadOnly. Is it mutable, of the
// operation's version and large enough: lock it, write, unlock with the next sequence. Otherwise seal it, allocate at
// the tail, write the new record with the entry's address as its link, and swap the entry; if that fails, abandon the
// allocation, unseal, and start over. A write to a key whose record is not in memory does not read it.
//
// # Versions
//
// A checkpoint folds the log over: it makes everything so far read-only and waits until it is on disk, while the store
// goes on (concurrent prefix recovery, SIGMOD 2019). The control word holds the log version, which each operation
// loads once when it enters.
//
//	C1  BeginCheckpoint adds one to the log version. What returned before belongs to the old version, what starts after
//	    to the new one.
//	C2  A record is changed in place only by operations of the version it was written in; later ones copy it.
//	C3  An operation that meets a record of the version after its own has been overtaken: it starts over, in the new
//	    version. No more than two versions have operations under way: the next cut waits for the one before.
//	C4  When the last operation of the old version has left, the tail is the cut: log below it belongs to the version,
//	    except for records of the next version at or above the tail of C1 (the fuzzy end). Recovery, views and restores
//	    skip those; by C3 and H1 they are at the head of their chains, so that following links finds what they hide.
//	C5  The manifest gets its name last, after the log and the index files it names are durable, and so is the manifest (V14).
//	    A sync that has failed is never made good by a later one: what it covered is written again, or no version is
//	    committed any more.
//
// Recovery opens the newest manifest and the shares of the index that it names (blocks of the index are filled when they are
// asked for, from all shares that stand for them; what is read is verified then) and replays the log that the shares do not
// stand for. Package checkpoint has the formats of manifests and the rules of lineage, package index those of shares, with
// the invariants that make a list of them an index (I12 to I22).
//
//	R1  An index that is replayed into is never coarser than the one the log was written under: hashes that had a chain
//	    each do not meet in one entry, which would keep only the newer chain.
//
// Package shares writes and merges the index on disk (R2 to R6).
//
// Restore stops the store for as long as it takes to rewind what has changed: the entries of all records written since
// the version follow their links back to the first record that belongs to it. A version on another branch is opened
// like after a crash instead. The tail never goes back, so addresses are never used twice.
//
// Compaction copies the live records of the oldest log to the tail.
//
//	K1  A record is moved only if it is the newest of its key at the moment of the swap: the chain was followed to it,
//	    and the swap fails if the chain has changed since. A move never covers anything newer and never revives a
//	    delete.
//	K2  The emptied log leaves the lineage with the next manifest, and the disk when no version, view or scan needs it.
//	K3  A tombstone below the new beginning is dropped: what it hides is older, and leaves with it. Its index entry
//	    goes after the commit. A version that begins below the log that the index has forgotten so is restored by
//	    opening its own index, never by rewinding this one.
//	K5  Pages take every record of the log that is known: each version knows which pages its records need, Open raises
//	    the size of pages or refuses, and Restore refuses. Only a directory of a store that took no notes of that may
//	    have a record where compaction ends, with an error that says so.
//	K7  Where the chain of a record leaves memory above it, it is dead if the index on disk knows its key by the hash alone,
//	    as that of 8 bytes is known (hash.go), and has a newer record of that hash (I21). Only of others the chain is read.
//	    What the index has is of the lineage that is being compacted: a restore, which replaces it, waits for a compaction.
//
// Where writers are much faster than compaction, they wait for it (space.go, with rule K6).
//
// # The cold tier
//
// When the index may not grow any more (relief.go), or the log is longer than Options.ColdAfter, the records of the oldest log,
// committed or not, go into the cold tier (package cold, with rules T21 to T35 and T39; demote.go), which stands for all log below its
// begin: chains end there, and who finds nothing above asks the tier. It is one immutable value behind one pointer, loaded
// once for each stay in the epoch, together with the entry. Where a store has one, compaction is demotion, and tombstones go
// into the tier (K3 is for stores without). A demotion needs no version and raises none: an update which rests on a cold read
// has the generation of the tier as its only witness (T28). A scan is not demoted under (T33), and a demotion that finds one, or
// a cut, does nothing.
//
// A version names its cold files like those of its index: they are files of one kind to packages checkpoint and ledger, and
// travel, are verified, kept and collected as those are. A version that is begun takes over the tier that stands (T30), a
// restore opens that of its version unless the one that stands begins where it does (T31).
//
// # Units
//
// What a session does in a unit is in one version. Single operations have no part in what follows, and pay nothing for it:
// only units and those who take cuts look at the gate between them (package units).
//
//	U1  A unit is under way from when it has passed the gate until its function has returned or panicked, or its session
//	    was closed or collected. Meanwhile the session's guard is inside the epoch of the units, which is not that of the
//	    operations: a unit that takes its time delays no cut, flush or reuse of memory that is under way.
//	U2  The log version is raised (C1), and operations are paused for a restore, only while the gate is shut and no unit is
//	    under way. So all operations of a unit belong to one version, and are before or behind a restore together.
//	U3  A unit says that it is under way before it looks at the gate; whoever shuts the gate does so before he looks for
//	    units. One of the two sees the other (E2).
//	U4  The gate is shut for a second at most, in which units under way have to end and Options.Cookie has to return. The
//	    call that has shut it opens it, whatever it returns. A unit waits at a gate that is shut in vain once: whoever gives
//	    up lets those in who wait, before it can be shut again.
//	U5  Nothing that a unit waits for waits for the gate. Whoever shuts it holds the lock Cut. He has waited for the cut
//	    before and, for a restore, for the commits before, and waits for nothing but units and Options.Cookie meanwhile.
//	U6  The last version, too, holds units whole: Close lets none begin, waits for those under way for a second, and commits
//	    no last version if one has not ended.
//	U7  Options.Cookie is called while the gate is shut and no unit is under way, after the store has closed if it is Close
//	    that asks, and the log version is raised before the gate opens: so the version holds the units that have ended
//	    before the call, and no others.
//
// U5, wait by wait. Operations, the pager, the flusher, the index, and commits and cuts that have begun take neither Cut nor
// Compacting, the lock of a compaction or restore (package lock has the list): so none of them waits for somebody who waits
// at the gate. An operation waits
//
//	for a page        of the pager, which waits for flushes, a sync under way, and operations inside the epoch (H3), and holds up
//	                  none while units are waited for (K6)
//	for the disk      a record or a part of the index that is read; a descriptor, which calls of other stores hold (package
//	                  fsx)
//	for the index     its lock Table, which a restore takes for a moment when no unit is under way (U2), and growth, which
//	                  waits for operations inside the epoch
//	for an update     that holds a record, for some instructions; or that takes precedence, which ends by itself
//	for a restore     which pauses operations after it has found no unit under way (U2)
//	for memory        that of a page, and no other: the index takes what it needs, and keeps until the next commit the
//	                  entries that only a commit lets go
//
// Writers of the index on disk and of the cold tier let units end that a cut waits for, but not while somebody waits for them,
// and for some milliseconds between two writes at the most (R6): who comes to wait meanwhile waits for so much.
//
// Compaction frees log, not memory that an operation needs, and waits for pages like an operation. A unit that begins waits
// for the gate, and so for other units: that is why a unit must not wait for another one.
//
// # Filling a directory from a remote
//
// An empty directory with a remote opens at once: reads go to a view of the remote's head (openremote.go) until a job has
// fetched the same version, after which the store is recovered as by any Open. fill.go has the rules (Y3 to Y7). What makes
// them simple is that nothing is written to the directory before. What operations write is kept in memory and moved into the
// log before anybody operates there (early.go, Y8 to Y11).
//
// # Memory
//
// Options.MemoryBytes is divided among index, frames, flush buffers, the cache of cold records, and the triples that are in
// no run yet (budget.go). The index takes what it needs up to its share; frames and cache share by use what the others leave.
// Which records keep a place in memory, and the rules for that (H12, H13), is in keep.go; which come in beside those that are
// read, in guests.go.
package hlog
