// Package compare holds the minimal engines that the hybrid log is measured against, behind one interface and on equal
// terms: an LSM tree, an append log and a map in memory, after N. Gavalas, "Incremental Snapshotting in Transactional
// Dataflow SFaaS Systems" (TU Delft 2023).
//
// Equal terms are: the same record encoding with the same checksum (xxh3), verified on every read from disk; the same
// memory setting; the same rule of durability (a snapshot is durable when it returns, in between nothing is synced); the
// same versions, retention and remote; files read past the page cache, so that the memory setting means something; and no
// background work, but for the hybrid log, whose point that is. The baselines write through the page cache, which takes
// the waiting for the device off them until the next snapshot. The append log also reads its active file, a sixteenth of the memory,
// through it.
//
// Memory is what an engine says that it holds. The baselines keep it on the Go heap, so that the process has more resident: the LSM
// tree two to three times as much, for what the collector has not collected yet and for merges while they last. The hybrid
// log keeps nearly all of it off the heap.
//
// Minimal does not mean careless. Package enginetest is the suite that every engine passes: it looks for each defect
// that was found in the thesis' own engines.
//
//	engine     kept in memory               written by a snapshot                  found in
//	lsm        memtable, fences, filters    the memtable as a run, due merges      compare/lsm
//	appendlog  every key                    the end of the log, due merges         compare/appendlog
//	memonly    everything                   everything                             compare/memonly
//	hybridlog  index, newest records        records changed since the last one     hlog; compare/hybridlog fits it in
package compare
