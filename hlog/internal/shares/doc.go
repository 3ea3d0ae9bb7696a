// Package shares is the index on disk of a store: it has runs written of what the flusher tells, merges shares in the background,
// names for each version the shares that stand for it, and opens them again. Package index has the formats, and the invariants
// that make a list of shares an index (I12 to I20); package ledger says what their files live for. It sees no records, and not
// the table that operations use.
//
// Cold files are share files, too: a [Writer] makes both.
//
//	R2  The index on disk is made of what the flusher tells: hash, address and size of each record that it writes, which
//	    was published, or else is left out. By then all operations that might have been writing below have left (H2), so
//	    that what is told is what stands on disk for ever; what is written again, because a write or a sync has failed, is
//	    told again (I19). No chain is followed and the table is not looked at.
//	R3  A version names, when it is committed, the shares of records that belong to it (I18), and where the replay over them
//	    begins. A run may stand for log beyond the cut of the version that names it: the version names it as being of the
//	    log up to the cut, and of a stretch with records of two versions there is a share for each. Descendants go on from
//	    the shares of their parent; a restore goes back to those of its version, and nothing that was handed out before it,
//	    be it a run or a merge, is of any use after it (I20, B9).
//	R4  When a version is committed, no more than [MaxUncovered] of its log is left to be replayed, or twice that if records
//	    are long: the commit waits for a run if need be, or writes it. What an opening or a restore replays is told like what
//	    the flusher writes, and so is in the next run; a restore to an ancestor finds in memory what no run was begun for,
//	    above where the log begins: what lies below may not have been told. The flusher waits for a run when there are too
//	    many triples in memory.
//	R5  Nobody waits for a merge, but for R7. It replaces shares by others that stand for the same (I17); versions to come name
//	    those, and so does the current one when the store is closed. A merge ends with the context of the store.
//	R6  Background work that a commit does not wait for begins a piece only while no commit is under way, or after it has
//	    waited for one for maxRest. It holds nothing meanwhile: neither a lock nor a run that was handed out. A run that a
//	    commit wants (index.Disk.Wanted) is begun at once, and so is what operations wait for. A merge or a demotion that is
//	    under way lets a commit go first, too, between two writes, for as long as it has worked since it last did so: these
//	    are rests, for which T36 to T38 hold. Whoever writes a run yields between two writes, unless somebody waits for it.
//	    A cut that waits for units is given way to like a commit, also by who writes a run.
//	R7  Depth: a version that goes to a remote has no more than [MaxDepth] shares for each hash when it is committed, besides those
//	    of a stretch in which its cut was waited for: each is a request of whoever reads a first key there. Merges in the
//	    background see to that: a run that no commit wants is not begun before there is room for it, nor does the flusher go
//	    on without runs. Where they could not, because versions follow each other without a pause, or a store is closed as soon
//	    as it was opened, the commit does what is least: the merges of runs with each other that write least for each share
//	    less. A merge that fails keeps no version from being committed.
//	R8  What a merge or a demotion writes that nobody waits for is synced after each syncPortion of it, so that a commit waits at
//	    the device for no more than that. A sync that fails is the failure of the merge, whose files are dropped: no later sync makes it good.
//
// R6 is for the sake of commits. With few processors the background would keep a commit waiting several times, whenever it comes
// back from the disk, for the time slice of a goroutine each. A cut it would keep waiting whenever a unit that was descheduled
// has to come to run again, or one waits for another that was.
//
// Image and runs of a directory that was written before there were shares are read, and named by the versions to come along
// with the shares of the log behind them, until the log that they stand for has been compacted away.
package shares
