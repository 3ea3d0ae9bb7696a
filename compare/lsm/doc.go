// Package lsm is a log-structured merge-tree after O'Neil, Cheng, Gawlick and O'Neil (1996), tiered like the engine of
// Gavalas (TU Delft 2023): the baseline that keeps its keys sorted.
//
//	Set ──► memtable (sorted) ── full ──► L0.3 L0.2 L0.1 ── MaxRuns of them ──► L1.1 ──► L2.1
//	          └ write-ahead log (optional)    runs: sorted, immutable, newest first
//
// A Get asks the memtable, then every run from the newest to the oldest; a Bloom filter spares most of the runs that do
// not have the key, a fence pointer to every Density-th key leads to the one block that can. Merges are not done in
// the background: the Set that fills the memtable pays for them, while readers go on.
//
// Invariants
//
//	L1  Runs are ordered by age: what a newer one says about a key hides what older ones say.
//	L2  A tombstone is dropped only by a merge that takes in the oldest run, or by a flush when there is none.
//	L3  A run's file is closed only when no reader that may have picked it up is left (Tree.reading).
//	L4  The memtable does not change while it is flushed; it is emptied in the step that makes its run visible.
//
// What is not of this tree alone is elsewhere under compare/internal: the sorted table (sorted), the block cache (cache), the
// encoding of records (record), and files, versions, the log's file and the rule of tiering (fileset).
package lsm
