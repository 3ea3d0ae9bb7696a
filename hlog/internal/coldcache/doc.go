// Package coldcache keeps records that are not in the log's memory, by address: those that were used while they were
// there, and those that were read from disk more than once. It knows addresses and bytes: what a record looks like is not
// its business.
//
// What stands at an address of the log never changes and no address is used twice, hence nothing in the cache can be
// stale (what has an address beyond the log tells whether it is what was asked for): a record leaves to make room, or because it has been superseded and nobody will ask for it. All methods of [Cache]
// are safe for concurrent use, and none but [New], [NewEmpty] and [Cache.Resize] allocates.
//
// The cache is divided into shards by a hash of the address. A shard is one region of memory off the heap under one lock:
//
//	+-----------------------------------------------+----------------+-------+
//	| ring: header, record, gap, header, record, .. | slots          | ghost |
//	+-----------------------------------------------+----------------+-------+
//
// The ring is a queue of entries that wraps in the middle of one if need be. An entry has heat, which rises when it is read.
// The oldest one, when room is needed, is put to the end once more if it has heat, and loses one of it; else it leaves (the
// main queue of S3-FIFO, SOSP 2023). An entry whose record was superseded is taken out and leaves a gap, which is used for
// a record of the same size. Slots is an open-addressing hash table of positions in the ring. Ghost remembers the addresses
// of what was refused or has left: when the ring is full, a record that was read from disk comes in only if it is
// remembered twice, so that neither a scan over many keys nor what is read seldom flushes what is in use. Each shard watches
// whether the keys in use change; while they do, once is enough, and heat is good for one round (drift.go). What was read along
// with a record comes in as a guest, where guests are read (guests.go).
//
// Under the lock of a shard:
//
//	Q1  head and used bound the ring's entries and gaps, which follow each other without anything in between.
//	Q2  Every entry has exactly one slot, and every slot leads to an entry; entries counts them.
//	Q3  A slot can be reached from its home without passing an empty one.
//	Q4  The regions of all shards, and shardOverhead for each, are together no larger than the limit. While Resize moves
//	    a shard, that shard counts twice.
//	Q5  Every gap is in the list of its size, and the lists have nothing else.
//	Q6  The entries that are marked as guests are counted.
package coldcache
