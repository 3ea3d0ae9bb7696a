// Package appendlog is a log-structured hash table after Bitcask (Sheehy and Smith 2010), with the levels that the
// AppendLog of Gavalas (TU Delft 2023) merges its files by: the baseline that never sorts.
//
//	Set ──► active file ── ThresholdBytes or a snapshot ──► level 0 ── MaxRuns of them ──► level 1 ──► level 2
//	index in memory: key ──► file, offset, size
//
// Every write is appended to the active file, through a buffer, and the index points to it. A Get is one look into the
// index and at most one read. A merge copies the records of the files of a level that the index still points to into one
// file of the next. The Set that fills the level pays for the merge, while readers go on.
//
// Level 0 files are records alone. A merged file is indexed by hints (Bitcask's hint file), from which the index in memory
// is rebuilt without reading the values: key and value length as varints and the key, one for each record.
//
// Invariants
//
//	A1  Files are ordered by age: replaying them from the oldest gives the index.
//	A2  The index has exactly the keys that are present. A deleted key takes no memory.
//	A3  A tombstone is dropped only when there is no file older than the merge, or the key is set again in a newer place.
//	A4  A file is closed only when no reader that may have picked it up is left (Log.reading).
package appendlog
