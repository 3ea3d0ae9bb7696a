// Package coldcache keeps records that were read from disk in memory, so that cold keys which are read again come from
// there. It knows addresses and bytes: what a record looks like is not its business.
//
// What stands at an address of the log never changes and no address is used twice, hence nothing in the cache can be
// stale: a record leaves only to make room. All methods of [Cache] are safe for concurrent use, and none but [New] and
// [Cache.Resize] allocates.
//
// The cache is divided into shards by a hash of the address. A shard is one region of memory off the heap under one lock:
//
//	+--------------------------------------------+----------------+-------+
//	| ring: header, record, header, record, ...  | slots          | ghost |
//	+--------------------------------------------+----------------+-------+
//
// The ring is a queue of entries without gaps that wraps in the middle of one if need be. An entry that was read since it
// came in is put to the end once more instead of leaving (second chance, as in CLOCK). Slots is an open-addressing hash
// table of positions in the ring. Ghost remembers addresses that were refused: when the ring is full, a record comes in
// only at its second miss, so that a scan over many keys does not flush what is in use.
//
// Under the lock of a shard:
//
//	Q1  head and used bound the ring's entries, which follow each other without a gap.
//	Q2  Every entry has exactly one slot, and every slot leads to an entry; entries counts them.
//	Q3  A slot can be reached from its home without passing an empty one.
//	Q4  The regions of all shards, and shardOverhead for each, are together no larger than the limit. While Resize moves
//	    a shard, that shard counts twice.
package coldcache
