// Package hlograft replicates a HybridLog store by Raft: it is an on-disk state machine for the replicas of dragonboat
// (statemachine.IOnDiskStateMachine). The program says what a batch of commands does to the state and what a query answers;
// this package does the rest.
//
//	replica, err := hlograft.Start(nodeHost, members, false, raftConfig, hlograft.Config{
//		Dir: "state/7",
//		Apply: func(b *hlograft.Batch) error {
//			counts, err := hlograft.Table[uint64, uint64](b)
//			for i, e := range b.Entries { ... }
//			return err
//		},
//		Query: func(r *hlograft.Reader, query any) (any, error) {
//			n, _, err := hlograft.Value[uint64, uint64](r, query.(uint64))
//			return n, err
//		},
//	})
//	result, err := nodeHost.SyncPropose(ctx, nodeHost.GetNoOPSession(7), command)
//
// # What a version holds
//
//	T1  A version has the effects of the entries up to the index in its cookie, and of none behind it. Cuts are taken by Sync,
//	    PrepareSnapshot and Close, which the library never calls while Update runs, so that none falls into a batch; a batch
//	    that has failed is rolled back before Close commits.
//	T2  Open returns the index of the version that the store opened at. The library then applies the entries behind it again,
//	    on the state before them.
//	T3  Sync returns when a version with the index of the last entry is durable. The library records that index (as that of
//	    a snapshot without content) and drops the log before it, so that no older version can be used any more.
//
// # What is refused, and when
//
// The library ends the process when Open returns an error, or less than it has recorded, or more than nothing for a replica
// whose log is new. It would do so again at every start. Therefore the state is opened and checked by [Prepare], before the
// library knows of the replica; what is handed to the library is open and checked.
//
//	T4  The record is a file that lies outside of the state, beside the log: the highest index that Sync has returned for. A
//	    state that is behind the record was rolled back or lost, and is ErrRolledBack. The record is written after the version
//	    is durable and before Sync returns: a crash in between leaves it lower than the state, never higher.
//	T5  A replica that the library knows has a record, since Prepare makes one before the first start: without it nothing can
//	    be said about the state (ErrRecord). A state with entries in it and no log is ErrLogLost.
//
// In these cases the replica is beyond repair, and the state machine of the others is whole: take the replica out of the
// shard (SyncRequestDeleteReplica), remove what is left of it ([Remove] and NodeHost.SyncRemoveData), and add a new one under
// an id that was never used. It gets a snapshot.
//
// # Snapshots
//
//	T6  A snapshot is the version that PrepareSnapshot has cut, written by hlog.View.WriteTo while Update goes on. It is
//	    pinned from the cut on.
//	T9  All snapshots of one index are the same bytes: they are written from one view. The library tells streams apart by
//	    the index, the sender and the receiver alone, and may put the beginning of one and the end of another together, which is
//	    a snapshot only if they are equal.
//	T7  The state is one of the numbered directories in Config.Dir, the one that the file CURRENT names. A snapshot is
//	    imported into a new one and opened; then CURRENT is replaced, atomically, and lookups go to the new store. After a
//	    crash the replica is whole at the old or the new state, and Prepare removes the other.
//	T8  A lookup reads one store from beginning to end. The old store is closed when the last lookup in it has ended. Lookups
//	    after Close return ErrClosed.
//
// Periodic snapshots of the library have no content: they call Sync, and PrepareSnapshot and SaveSnapshot only when a
// snapshot is streamed to another replica or exported.
package hlograft
