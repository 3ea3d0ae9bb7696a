// Package index is the hash index of the store: it says for the hash of a key at which address of the log the newest
// record of that hash's chain begins. It never sees a key. It follows the index of FASTER (Chandramouli et al.,
// SIGMOD 2018, section 3), with tags that make growing possible without reading a record, and with an image on disk
// that is loaded piece by piece.
//
// # Structure
//
// A table of 2^k buckets lies off the heap. A bucket is one cache line: seven entries ([word.Entry]) and a link to an
// overflow bucket of the same shape. The low k bits of a hash name its bucket; the tag of a fresh entry holds the 17
// bits above them.
//
//	hash      63                      k+17 k+16                k k-1            0
//	         +----------------------------+---------------------+----------------+
//	         |            unused          |      fresh tag      |     bucket     |
//	         +----------------------------+---------------------+----------------+
//
//	table     bucket 0   | e0 | e1 | e2 | e3 | e4 | e5 | e6 | link |
//	          bucket 1   | e0 | e1 | e2 | e3 | e4 | e5 | e6 | link ------> overflow bucket | e0 ... e6 | link |
//	          ...
//	          bucket 2^k-1
//
// An entry is specific when its tag holds at least one bit, and a catch-all when it holds none; it then matches every
// hash of its bucket. The owner of a hash is the specific entry of its bucket that matches it; if there is none, the
// catch-all; if there is none either, the hash has no owner. All records of a hash are reached from its owner's
// address along previous addresses. Other hashes may share the owner, so a reader of the chain compares keys.
//
// # Operations
//
// [Index.Find] compares all seven tags at once, and looks further only where none matches: one cache miss. It takes no
// lock and allocates nothing. [Index.Seek] is the first half of it, for callers that have a slower way anyway.
//
// [Index.FindOrCreate] makes an entry in two phases. It claims a free slot with a tentative entry, looks through the
// whole chain for another entry that matches, and makes its own final only if there is none. Of two that claim at the
// same time at least one sees the other: the one that comes later in the chain withdraws, the earlier one waits for
// that (I2). Whoever meets a tentative entry that matches waits; this takes no longer than looking through a chain.
//
// Memory is taken neither by Find nor by FindOrCreate, since taking it may have to wait and they run inside an epoch.
// When room is missing, FindOrCreate returns [NeedLoad]; the caller leaves the epoch, calls [Index.Load], and comes
// back. This happens about once per doubling.
//
// # Growth
//
// When more than a tenth as many overflow buckets as buckets are in use, the table doubles while everything goes on.
// A table with an old one behind it is published; each bucket b of the old one is moved, once, by the first who needs
// it, to the buckets b and b + 2^k:
//
//	old link word         . . 0 ---- claim ----> claimed ------------- moved
//	old entries           e  e  e  0 ....        Frozen Frozen ...     Frozen Frozen ...
//	new b, b + 2^k        untouched              written by the mover  in use
//
// The mover replaces each entry by [word.Frozen], whereby every compare-and-swap of somebody who still holds a [Slot]
// of the bucket fails and is retried, and divides the entries by the bit that moves from the tag into the bucket
// number ([word.Tag.Split]). No record is read for this. Whoever needs a bucket that is just being moved waits for it.
// Besides, the background job and each operation that makes an entry move a span of buckets, so that growth ends even
// if the background never runs. When all are moved the old table goes back to the system after the epoch drained.
//
// # Without memory for growth
//
// When Config.MaxBytes allows neither a doubled table nor another chunk of overflow buckets, a full bucket gets a
// catch-all: the entry in its first slot keeps its chain and takes in every hash that has no specific entry (I3). The
// store stays right and becomes slower. Splitting copies a catch-all into both halves; the two chains then share
// their older part.
//
// # Invariants
//
//	I1   Owner: every record of a hash is reached from its owner. A record is published by a compare-and-swap on the
//	     owner's slot, and nothing the index does by itself changes the set of chains that a hash's owner leads to.
//	I2   Antichain: no two specific entries of a bucket match one hash, that is, no tag is a prefix (low bits first)
//	     of another. A fresh tag is never shorter than any tag of the table, and it is made only where no entry
//	     matches it, so that it neither extends nor is extended by another. Taking the first bit off all tags
//	     that begin with it preserves this.
//	I3   Catch-all: there is at most one per bucket, in the first slot of the main bucket. Where there is one, no entry
//	     is made. It is never cleared. Every scan reads the first slot first.
//	I4   Tentative: a tentative entry has no address. Only who made it makes it final or withdraws it; only a mover
//	     may remove it besides, and then making it final fails.
//	I5   Moved: a slot of a claimed bucket becomes Frozen, and never changes again. The two buckets of the new table
//	     are untouched until the old one is marked as moved, and the old one is not looked at by anybody who sees
//	     the mark.
//	I6   Chains of overflow buckets only grow, at their end, and not at all once the bucket is claimed.
//	I7   Moving a bucket takes no more overflow buckets than its chain has.
//	I8   Memory is taken and given back only outside the epoch, and counted by Config.Reserve before it is taken.
//	I9   Granularity: a table into which records are replayed is at least as fine as the one they were written with.
//	I10  A bucket of an image with a catch-all keeps every specific entry, with its address or without.
//	I11  Settled: what the hot path looks at, Index.settled, is the newest table's buckets or, while that table has an old
//	     one behind it or blocks to load, nowhere. An operation that has read it before a growth began may still find
//	     entries in the old buckets: those that nobody has frozen yet, which are as they were (I5).
//
//	I12  Order: the entries of a run ascend by bit-reversed hash, beginning with the bits that name a block of an image.
//	     Those of a block, of whatever image, are neighbours, and runs are merged without regard to images. What a run
//	     says of a block is replayed into it before anybody else sees it; a replay only raises addresses, so that
//	     the order of runs, and what they have in common, does not matter.
//
// Why catch-alls lose nothing (I1, I3). Converting: the hashes that the entry's old tag matched had it as owner, and
// still have, since no other specific entry matches them (I2); every other hash without an owner had no record. An
// inserter that claimed its slot before the conversion may finish: whoever sees the catch-all scanned the first slot
// after the conversion, reads the claimed slot later still, and therefore sees the claim and waits for its outcome.
// One that claims after the conversion sees the catch-all when it looks through the chain, and withdraws. Splitting:
// both halves get the catch-all, so that every hash keeps its owner. A tag of one bit that loses it becomes a
// catch-all by itself; by I2 it was the only specific entry of its half and owned all of the half's hashes, so the
// copy of the older catch-all owns none there and is left out (its chain lives on in the other half).
//
// Why moving does not run out of overflow buckets (I7). n entries take c(n) = max(0, ceil(n/7)-1) overflow buckets.
// Splitting makes n+1 of n entries if there is a catch-all, else n. If one half gets all entries the other gets at
// most one: c(n) suffices. Otherwise write the halves as 7a+r and 7b+s with r, s from 1 to 7: they take a+b, and n is
// at least 7(a+b)+r+s-1 > 7(a+b), for which c(n) is at least a+b. A new table sets aside as many overflow buckets as
// the old one has.
//
// Why granularity matters (I9). Two hashes that agree in the k+17 bits a fresh entry knows share a chain. If the
// table had grown to k' > k when the records were written, they may have had a chain each; replayed with k, their one
// entry keeps the newer of the two addresses and the other chain is lost. The other direction is harmless: a chain
// may be reached from more owners than it needs. So [Index.Bits] belongs into what is remembered with a log, as it is
// after the last of its records was written; Config.InitialBits and [Index.Grow] bring it back. For the same reason
// [Index.Replay] makes no catch-all (it takes memory instead), and I10 holds: a replayed hash must not fall into a
// catch-all that it was not in. Lastly [Slot.Clear] asks for something: see there.
//
// # Image
//
// [Index.WriteImage] writes the table while operations go on. All integers are little-endian. Format 1:
//
//	header      0  magic "HLOGIDX\x00"
//	(64 bytes)  8  format, 4 bytes: 1
//	            12 k, 4 bytes: the table has 2^k buckets
//	            16 zero
//	            56 xxh3 of bytes 0..55
//	blocks      min(2^k, 1024) buckets each, 64 bytes per bucket as in memory, followed by the overflow buckets of
//	            that block in the order in which the chains use them. A link is the number of the overflow bucket in
//	            its block plus 1, and 0 at the end of a chain. No entry is tentative.
//	directory   per block 24 bytes: offset, length, xxh3
//	trailer     0  magic "HLOGIDXE"
//	(64 bytes)  8  length of the whole image
//	            16 offset of the directory
//	            24 number of blocks
//	            32 number of entries
//	            40 xxh3 of the directory
//	            48 xxh3 of the header
//	            56 xxh3 of bytes 0..55
//
// [OpenImage] reads header, trailer and directory and nothing else; a block is read and verified when a hash of it is
// first asked for. While blocks are missing the table does not grow.
//
// # Runs
//
// [WriteRun] writes what a replay of a stretch of log would be told, sorted, so that it does not have to be replayed when
// an image is opened: [OpenImage] takes the runs behind the image, and replays of each what concerns a block when that
// is loaded. All integers are little-endian. Format 1:
//
//	header      0  magic "HLOGRUN\x00"
//	(64 bytes)  8  format, 4 bytes: 1
//	            12 p, 4 bytes: the entries are divided into 2^p parts
//	            16 address that the log begins at, and 24 that it ends at
//	            32 number of entries
//	            40 length of the whole run
//	            48 zero
//	            56 xxh3 of bytes 0..55
//	directory   pieces that describe 128 parts each, or all if there are fewer:
//	            8 number of entries before the piece
//	            per part 16 bytes: number of entries up to its end, and the xxh3 of its entries
//	            8 xxh3 of the piece so far, with the header's checksum plus the number of the piece as seed
//	entries     8 bit-reversed hash, the lowest bit that names a block first; its first p bits are the number of the part
//	            4 address less that of the run, in units of 8
//
// [OpenRun] reads the header only. A part has about 256 entries; it and the piece that describes it are read and verified
// when a block needs them.
//
// A newer format of either is refused with [ErrFormat].
package index
